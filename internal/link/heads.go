package link

import (
	"encoding/binary"

	"github.com/virtuoso-vnet/virtuoso/internal/link/gcm"
)

// heads has the tags of the headers that come next on a trusted link: they depend on nothing but the header, whose counter goes
// up by one, and eight take about as long to make as one. It belongs to one goroutine; its zero value is ready.
type heads struct {
	key  *epochKey
	made gcm.Heads
}

// tag is the tag of a header under a key that is bare. It is valid until the next call.
func (a *heads) tag(k *epochKey, h *header) *[tagLen]byte {
	i, first := h.counter-a.made.Counter, h.first()
	if i >= uint64(len(a.made.Tags)) || a.key != k || a.made.First != first {
		a.make(k, h)
		i = 0
	}
	return &a.made.Tags[i]
}

func (a *heads) make(k *epochKey, h *header) {
	a.key, a.made.First, a.made.Counter = k, h.first(), h.counter
	a.made.Front = uint64(uint32(h.lane)^binary.BigEndian.Uint32(k.iv[:])) << 32
	a.made.Mask = binary.BigEndian.Uint64(k.iv[4:])
	k.bare.Tag(&a.made)
}
