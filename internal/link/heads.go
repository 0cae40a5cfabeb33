package link

import (
	"encoding/binary"

	"github.com/virtuoso-vnet/virtuoso/internal/link/gcm"
)

// heads has the tags of the headers that come next on a trusted link: they depend on nothing but the header, whose counter goes
// up by one, and four take as long to make as one. It belongs to one goroutine; its zero value is ready.
type heads struct {
	key     *epochKey
	first   uint64 // the first half of all
	counter uint64 // of the first
	made    gcm.Heads
}

// tag is the tag of a header under a key that is bare. It is valid until the next call.
func (a *heads) tag(k *epochKey, h *header) *[tagLen]byte {
	i, first := h.counter-a.counter, h.first()
	if i >= uint64(len(a.made.Tags)) || a.key != k || a.first != first {
		a.make(k, first, h.lane, h.counter)
		i = 0
	}
	return &a.made.Tags[i]
}

func (a *heads) make(k *epochKey, first uint64, lane uint16, counter uint64) {
	a.key, a.first, a.counter = k, first, counter
	front, mask := uint64(uint32(lane)^binary.BigEndian.Uint32(k.iv[:])), binary.BigEndian.Uint64(k.iv[4:])
	for i := range a.made.Heads {
		binary.BigEndian.PutUint64(a.made.Heads[i][:], first)
		binary.BigEndian.PutUint64(a.made.Heads[i][8:], counter)
		masked := counter ^ mask
		binary.BigEndian.PutUint64(a.made.Nonces[i][:], front<<32|masked>>32)
		binary.BigEndian.PutUint64(a.made.Nonces[i][8:], masked<<32)
		counter++
	}
	k.bare.Tag(&a.made)
}
