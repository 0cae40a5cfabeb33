package vttif

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// Counter counts the frames of one worker by (source, destination). It is open addressing over a fixed array: no lock, no
// allocation, no growth. Exactly one goroutine may call At, Offered and Delivered; any may call Collect and Other meanwhile.
// A reader may see the bytes of a frame before its frame count; the next reading puts that right.
//
// Where a new pair finds no free slot it takes that of a pair that has fallen silent, or else of the one that carried least:
// so a flood of addresses recycles its own slots and an application that starts in the middle of it is still seen. What the
// pair that gave way had counted goes to Other, as far as it was not reported.
type Counter struct {
	slots  []slot
	mask   uint64
	gone   slot                  // tallies of pairs that gave way, whole
	now    uint32                // ms, of the batch under way; the writer's
	turns  atomic.Uint64         // how often At was called
	traced []atomic.Uint32       // by slot: 1 + which series its bytes go to, 0 for none; the collector's
	series [maxSeries]series     // bins of the strongest pairs
	tracks [maxSeries]seriesUser // who has them; the collector's
}

// slot is one cache line. keyB is stored last: it carries the present bit, so a reader who sees it sees the key, and the
// number of the slot's tenant, so a reader who sees the same keyB before and after has read one tenant's counts.
type slot struct {
	keyA, keyB      atomic.Uint64
	offeredBytes    atomic.Uint64
	offeredFrames   atomic.Uint64
	offeredBare     atomic.Uint64
	deliveredBytes  atomic.Uint64
	deliveredFrames atomic.Uint64
	used            uint32 // Counter.now of the last frame; the writer's
	_               [4]byte
}

const (
	// DefaultPairs is the capacity that NewCounter takes for 0: some hundred VMs that each talk to some dozens, in 512 KiB.
	DefaultPairs = 4096
	// maxProbe bounds a lookup however the addresses were chosen; at half load a random pair needs 2.5 on average.
	maxProbe = 16
	// silentAfter in ms is how long a pair must be silent to give way before any that still talks.
	silentAfter = 30_000
	// present marks a slot in use: a MAC has 48 bits, so bits 48 to 63 of a key are free.
	present = 1 << 63
	tenant  = 1 << 48 // lowest of the 15 bits that number a slot's tenants
	macBits = 1<<48 - 1
)

// NewCounter makes a counter for about capacity pairs (0: DefaultPairs). It takes 128 to 256 bytes a pair, and 64 KiB.
func NewCounter(capacity int) *Counter {
	if capacity <= 0 {
		capacity = DefaultPairs
	}
	n := uint64(1) << bits.Len(uint(2*capacity-1)) // half full at capacity, so that a miss ends soon
	return &Counter{slots: make([]slot, n), traced: make([]atomic.Uint32, n), mask: n - 1}
}

// At tells the time, in ms of the node's own clock, of the frames that follow.
// It is called once for frames that come together, a batch, and before every one of them.
func (c *Counter) At(ms uint32) {
	c.now = ms
	bump(&c.turns, 1)
}

// Offered counts frames that a local port handed in: their bytes on the wire, how many, and whether they are bare
// acknowledgements (ether.Frame.Bare).
func (c *Counter) Offered(src, dst ether.MAC, bytes, frames uint64, bare bool) {
	at := c.slot(src, dst)
	s := &c.slots[at]
	bump(&s.offeredBytes, bytes)
	bump(&s.offeredFrames, frames)
	if bare {
		bump(&s.offeredBare, frames)
	} else if t := c.traced[at].Load(); t != 0 {
		c.series[t-1].add(c.now, bytes)
	}
}

// Delivered counts frames that a local port took.
func (c *Counter) Delivered(src, dst ether.MAC, bytes, frames uint64) {
	at := c.slot(src, dst)
	s := &c.slots[at]
	bump(&s.deliveredBytes, bytes)
	bump(&s.deliveredFrames, frames)
	if t := c.traced[at].Load(); t != 0 && bytes > frames*bareMost && s.offeredFrames.Load() == 0 {
		c.series[t-1].add(c.now, bytes) // of a pair that is not offered here, so that a series is one or the other
	}
}

// Collect calls f for each pair with what was counted of it since it was entered.
func (c *Counter) Collect(f func(Pair, Tally)) {
	c.each(func(_ int, p Pair, t Tally) { f(p, t) })
}

func (c *Counter) each(f func(at int, p Pair, t Tally)) {
	for i := range c.slots {
		s := &c.slots[i]
		b := s.keyB.Load()
		if b == 0 {
			continue
		}
		p, t := Pair{Src: macOf(s.keyA.Load()), Dst: macOf(b & macBits)}, s.tally()
		if s.keyB.Load() == b { // else it changed hands; the next reading finds the new tenant
			f(i, p, t)
		}
	}
}

// slot finds the pair's place, or makes one.
func (c *Counter) slot(src, dst ether.MAC) uint64 {
	a, b := keyOf(src), keyOf(dst)
	at := hash(a, b)
	for range maxProbe {
		s := &c.slots[at&c.mask]
		key := s.keyB.Load()
		switch {
		case key == 0:
			s.keyA.Store(a)
			s.keyB.Store(b | present)
			s.used = c.now
			return at & c.mask
		case key&macBits == b && s.keyA.Load() == a:
			s.used = c.now
			return at & c.mask
		}
		at++
	}
	return c.recycle(a, b, at-maxProbe)
}

// recycle gives the pair the slot of another, among those where it may be found.
func (c *Counter) recycle(a, b, at uint64) uint64 {
	victim, least := at&c.mask, ^uint64(0)
	for range maxProbe {
		s := &c.slots[at&c.mask]
		weight := uint64(0)
		if c.now-s.used < silentAfter {
			weight = s.offeredBytes.Load() + s.deliveredBytes.Load()
		}
		if weight < least {
			victim, least = at&c.mask, weight
		}
		at++
	}
	s := &c.slots[victim]
	key := s.keyB.Load()
	s.keyB.Store(0) // readers look away
	for _, move := range [...]struct{ from, to *atomic.Uint64 }{
		{&s.offeredBytes, &c.gone.offeredBytes}, {&s.offeredFrames, &c.gone.offeredFrames}, {&s.offeredBare, &c.gone.offeredBare},
		{&s.deliveredBytes, &c.gone.deliveredBytes}, {&s.deliveredFrames, &c.gone.deliveredFrames},
	} {
		bump(move.to, move.from.Load())
		move.from.Store(0)
	}
	s.keyA.Store(a)
	s.keyB.Store(b | present | (key+tenant)&^macBits)
	s.used = c.now
	return victim
}

// Gone is what pairs that gave way had counted, whether it was reported meanwhile or not.
func (c *Counter) Gone() Tally { return c.gone.tally() }

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
