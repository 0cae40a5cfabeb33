package link

import "github.com/virtuoso-vnet/virtuoso/internal/link/gcm"

// heads has the tags of the headers that come next on a trusted link: they depend on nothing but the header, whose counter goes
// up by one, and four take as long to make as one. It belongs to one goroutine; its zero value is ready.
type heads struct {
	key  *epochKey
	head header // the first
	at   gcm.Heads
}

// tag is the tag of a header under a key that is bare. It is valid until the next call.
func (a *heads) tag(k *epochKey, h header) *[tagLen]byte {
	i := h.counter - a.head.counter
	h.counter = a.head.counter
	if i >= uint64(len(a.at.Tags)) || a.key != k || a.head != h {
		h.counter += i
		i = 0
		a.make(k, h)
	}
	return &a.at.Tags[i]
}

func (a *heads) make(k *epochKey, h header) {
	a.key, a.head = k, h
	for i := range a.at.Heads {
		h.put(a.at.Heads[i][:])
		k.nonce((*[nonceLen]byte)(a.at.Nonces[i][:]), h.lane, h.counter)
		h.counter++
	}
	k.bare.Tag(&a.at)
}
