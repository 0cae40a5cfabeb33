package seal

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// Sender seals frames for one peer. Each lane belongs to one worker; the rest is constant.
type Sender struct {
	Peer Peer
	ID   ID
	Born time.Time

	key   *key
	lanes [maxLanes + 1]laneCounter
}

// laneCounter is a lane's last counter; only its worker writes it.
type laneCounter struct {
	last atomic.Uint64
	_    [56]byte // keeps the next worker's off this cache line
}

// Frames is how many were sealed.
func (s *Sender) Frames() (n uint64) {
	for i := range s.lanes {
		n += s.lanes[i].last.Load()
	}
	return n
}

// Tired says that it is time for a fresh key.
func (s *Sender) Tired(now time.Time) bool {
	return now.Sub(s.Born) >= KeyTime || s.Frames() >= KeyFrames
}

// SealedLen is how many bytes the packet has when it is sealed.
func SealedLen(p *ether.Packet) int {
	n := len(p.Frame) + headLen - addresses + flagsLen + tagLen
	if p.Offload.Partial() {
		n += marksLen
	}
	return n
}

// Seal writes the sealed form of a packet that is no super-frame to dst, which has SealedLen bytes, and says whether the key
// may still be used. It changes nothing of the packet.
func (s *Sender) Seal(dst []byte, p *ether.Packet, lane int, m *Scratch) bool {
	c := &s.lanes[lane].last
	counter := c.Load() + 1
	if counter > mostFrames/maxLanes {
		return false
	}
	c.Store(counter)
	copy(dst, p.Frame[:addresses])
	putHead(dst, s.ID, uint8(lane), counter)
	text := dst[headLen:]
	text[0] = 0
	at := flagsLen
	if p.Offload.Partial() {
		text[0] = flagPartial
		binary.BigEndian.PutUint16(text[1:], p.Offload.CsumStart)
		binary.BigEndian.PutUint16(text[3:], p.Offload.CsumOffset)
		at += marksLen
	}
	at += copy(text[at:], p.Frame[addresses:])
	copy(m.head[:], dst)
	s.key.aead.Seal(text[:0], s.key.nonce(m, uint8(lane), counter), text[:at], m.head[:])
	return true
}

// putHead writes what is between the addresses and the ciphertext.
func putHead(f []byte, id ID, lane uint8, counter uint64) {
	binary.BigEndian.PutUint16(f[addresses:], EtherType)
	f[ether.HeaderLen], f[ether.HeaderLen+1] = version, lane
	binary.BigEndian.PutUint32(f[ether.HeaderLen+2:], uint32(id))
	binary.BigEndian.PutUint64(f[ether.HeaderLen+6:], counter)
}

// errWorn says that a key must not be used any more.
var errWorn = errors.New("cannot seal: the key is worn out, and no fresh one could be agreed on")

// Note seals a message to the peer that no guest sent. One goroutine calls it.
func (s *Sender) Note(text []byte) ([]byte, error) {
	c := &s.lanes[noteLane].last
	counter := c.Load() + 1
	if counter > mostFrames/maxLanes {
		return nil, errWorn
	}
	c.Store(counter)
	out := make([]byte, headLen, headLen+len(text)+tagLen)
	putHead(out, s.ID, noteLane, counter)
	var m Scratch
	return s.key.aead.Seal(out, s.key.nonce(&m, noteLane, counter), text, out), nil
}
