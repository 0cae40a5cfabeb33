package vttif

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// Counter counts the frames of one worker by (source, destination). It is open addressing over a fixed array: no lock, no
// allocation, no growth. Exactly one goroutine may call Offered and Delivered; any may call Collect and Other meanwhile.
// A reader may see the bytes of a frame before its frame count; the next reading puts that right.
type Counter struct {
	slots []slot
	mask  uint64
	room  int  // pairs that may still be entered; the writer's
	other slot // pairs that found no room
}

// slot is one cache line. keyB is stored last and carries the present bit, so a reader who sees the bit sees the key.
type slot struct {
	keyA, keyB      atomic.Uint64
	offeredBytes    atomic.Uint64
	offeredFrames   atomic.Uint64
	offeredBare     atomic.Uint64
	deliveredBytes  atomic.Uint64
	deliveredFrames atomic.Uint64
	_               [8]byte
}

const (
	// DefaultPairs is the capacity that NewCounter takes for 0: some hundred VMs that each talk to some dozens, in 512 KiB.
	DefaultPairs = 4096
	// maxProbe bounds a lookup however the addresses were chosen; at half load a random pair needs 2.5 on average.
	maxProbe = 32
	// present marks a slot in use: a MAC has 48 bits, so bit 63 of a key is free.
	present = 1 << 63
)

// NewCounter makes a counter for at least capacity pairs (0: DefaultPairs). It takes 128 to 256 bytes a pair.
func NewCounter(capacity int) *Counter {
	if capacity <= 0 {
		capacity = DefaultPairs
	}
	n := uint64(1) << bits.Len(uint(2*capacity-1)) // at most half full, so that a miss ends soon
	return &Counter{slots: make([]slot, n), mask: n - 1, room: capacity}
}

// Offered counts frames that a local port handed in: their bytes on the wire, how many, and whether they are bare
// acknowledgements (ether.Frame.Bare).
func (c *Counter) Offered(src, dst ether.MAC, bytes, frames uint64, bare bool) {
	s := c.slot(src, dst)
	bump(&s.offeredBytes, bytes)
	bump(&s.offeredFrames, frames)
	if bare {
		bump(&s.offeredBare, frames)
	}
}

// Delivered counts frames that a local port took.
func (c *Counter) Delivered(src, dst ether.MAC, bytes, frames uint64) {
	s := c.slot(src, dst)
	bump(&s.deliveredBytes, bytes)
	bump(&s.deliveredFrames, frames)
}

// Collect calls f for each pair with what was counted of it since the counter was made.
func (c *Counter) Collect(f func(Pair, Tally)) {
	for i := range c.slots {
		s := &c.slots[i]
		if b := s.keyB.Load(); b != 0 {
			f(Pair{Src: macOf(s.keyA.Load()), Dst: macOf(b)}, s.tally())
		}
	}
}

// Other is what was counted for pairs that found no room.
func (c *Counter) Other() Tally { return c.other.tally() }

func (c *Counter) slot(src, dst ether.MAC) *slot {
	a, b := keyOf(src), keyOf(dst)|present
	at := hash(a, b)
	for range maxProbe {
		s := &c.slots[at&c.mask]
		switch s.keyB.Load() {
		case b:
			if s.keyA.Load() == a {
				return s
			}
		case 0:
			if c.room == 0 {
				return &c.other
			}
			c.room--
			s.keyA.Store(a)
			s.keyB.Store(b)
			return s
		}
		at++
	}
	return &c.other
}

func (s *slot) tally() Tally {
	return Tally{
		OfferedBytes:    s.offeredBytes.Load(),
		OfferedFrames:   s.offeredFrames.Load(),
		OfferedBare:     s.offeredBare.Load(),
		DeliveredBytes:  s.deliveredBytes.Load(),
		DeliveredFrames: s.deliveredFrames.Load(),
	}
}

// bump adds without a locked read-modify-write: there is one writer.
func bump(v *atomic.Uint64, n uint64) { v.Store(v.Load() + n) }

// hash spreads the two keys by one 64×64→128 multiplication; the constants are odd and without pattern (fractions of the
// golden ratio and of √2).
func hash(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, b^0x6a09e667f3bcc909)
	return hi ^ lo
}

func keyOf(m ether.MAC) uint64 {
	return uint64(binary.LittleEndian.Uint32(m[:4])) | uint64(binary.LittleEndian.Uint16(m[4:]))<<32
}

func macOf(key uint64) (m ether.MAC) {
	binary.LittleEndian.PutUint32(m[:4], uint32(key))
	binary.LittleEndian.PutUint16(m[4:], uint16(key>>32))
	return m
}
