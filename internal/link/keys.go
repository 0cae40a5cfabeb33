package link

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/virtuoso-vnet/virtuoso/internal/link/gcm"
)

const (
	secretLen = 32 // bytes: the exporter's output and each epoch's secret
	nonceLen  = 12 // bytes, of every cipher
)

// epochKey is one direction's key during one epoch. It is immutable; its users bring their own nonce memory.
type epochKey struct {
	epoch  uint64
	cipher Cipher
	form   sealer
	slides bool     // form decrypts to memory that begins before the datagram and overlaps it
	bare   *gcm.Key // form's, where the link is trusted and the processor makes tags of several headers at once; else nil
	wide   *gcm.Key // form itself, where it is one that takes texts in two parts; else nil
	iv     [nonceLen]byte
	secret [secretLen]byte // the next epoch's secret is derived from this one
}

// firstKey is the key of epoch 0, from the secret exported for its direction.
func firstKey(c Cipher, secret []byte) (*epochKey, error) { return newEpochKey(c, 0, secret) }

// next is the key of the following epoch. The old secret cannot be computed from the new one.
func (k *epochKey) next() (*epochKey, error) {
	secret, err := hkdf.Expand(sha256.New, k.secret[:], "vnet/1 next epoch", secretLen)
	if err != nil {
		return nil, fmt.Errorf("cannot derive the next epoch: %w", err)
	}
	return newEpochKey(k.cipher, k.epoch+1, secret)
}

func newEpochKey(c Cipher, epoch uint64, secret []byte) (*epochKey, error) {
	k := &epochKey{epoch: epoch, cipher: c}
	copy(k.secret[:], secret)
	key, err := hkdf.Expand(sha256.New, secret, "vnet/1 key "+c.String(), c.keyLen())
	if err != nil {
		return nil, fmt.Errorf("cannot derive a key: %w", err)
	}
	iv, err := hkdf.Expand(sha256.New, secret, "vnet/1 iv", nonceLen)
	if err != nil {
		return nil, fmt.Errorf("cannot derive an initial vector: %w", err)
	}
	copy(k.iv[:], iv)
	if k.form, err = newSealer(c, key); err != nil {
		return nil, fmt.Errorf("cannot set up %v: %w", c, err)
	}
	_, strict := k.form.(library)
	k.slides = !strict
	k.wide, _ = k.form.(*gcm.Key)
	if form, ok := k.form.(openly); ok {
		k.bare, _ = form.mac.(*gcm.Key)
	}
	return k, nil
}

// scratch is the memory that sealing and opening need. It belongs to one goroutine.
type scratch struct {
	nonce [nonceLen]byte
	ahead heads
	lead  [leadMost]byte // of the text that was opened last, where it was to be apart
}

// nonce writes lane and counter, masked by the epoch's iv, to n: a pair is never used twice under one key.
func (k *epochKey) nonce(n *[nonceLen]byte, lane uint16, counter uint64) {
	binary.BigEndian.PutUint32(n[:], uint32(lane)^binary.BigEndian.Uint32(k.iv[:]))
	binary.BigEndian.PutUint64(n[4:], counter^binary.BigEndian.Uint64(k.iv[4:]))
}

// seal encrypts d[headerLen:] in place, authenticates the header in front of it and returns d with the tag appended;
// d must have tagLen bytes of spare capacity.
func (k *epochKey) seal(d []byte, h header, s *scratch) []byte {
	end := len(d)
	d = d[:end+tagLen]
	k.sealFrom(d, d[headerLen:end], &h, s)
	return d
}

// sealFrom makes d, which has the right length, the datagram that carries text. The text lies where it goes already, or
// nowhere in d.
func (k *epochKey) sealFrom(d, text []byte, h *header, s *scratch) {
	h.epoch = uint8(k.epoch)
	h.write(d)
	if k.bare != nil {
		sealOpenly(d[headerLen:], nil, text, s.ahead.tag(k, h))
		return
	}
	k.nonce(&s.nonce, h.lane, h.counter)
	k.form.Seal(d[headerLen:], text, &s.nonce, (*[headerLen]byte)(d))
}

// leadMost is the capacity, in bytes, of a text's first part.
const leadMost = 128

// apart tells whether a text may be opened in two parts, of so many bytes.
func (k *epochKey) apart(lead, rest int) bool {
	return k.bare != nil || k.wide != nil && gcm.LeadLeast <= lead && lead <= gcm.LeadMost && rest >= gcm.RestLeast
}

// sealApart is sealFrom for a text whose first bytes are those of lead, which has a capacity of leadMost at least. Neither lies in d.
func (k *epochKey) sealApart(d, lead, text []byte, h *header, s *scratch) {
	h.epoch = uint8(k.epoch)
	h.write(d)
	n := len(lead)
	if k.bare != nil {
		sealOpenly(d[headerLen:], lead, text[n:], s.ahead.tag(k, h))
		return
	}
	k.nonce(&s.nonce, h.lane, h.counter)
	if k.apart(n, len(text)-n) {
		k.wide.SealApart(d[headerLen:], (*[leadMost]byte)(lead[:leadMost]), n, text, &s.nonce, (*[headerLen]byte)(d))
		return
	}
	in := d[headerLen : len(d)-tagLen]
	copy(in, lead)
	copy(in[n:], text[n:])
	k.form.Seal(d[headerLen:], in, &s.nonce, (*[headerLen]byte)(d))
}

// open decrypts a datagram in place and returns what it carried; ok is false when it was not sealed with this key.
func (k *epochKey) open(d []byte, h header, s *scratch) (body []byte, ok bool) {
	return k.openTo(d[headerLen:], d, 0, &h, s)
}

// openTo decrypts to dst, which has room for all of the datagram but its header and is that part of it or lies elsewhere, or,
// with a cipher that slides, begins before it. So many first bytes, lead, stay where they are under a key that is bare; under
// another they go to s.lead, if the text may be apart. What is in their place in dst stays.
func (k *epochKey) openTo(dst, d []byte, lead int, h *header, s *scratch) (body []byte, ok bool) {
	switch {
	case k.bare != nil:
		ok = openOpenly(dst[lead:], d[headerLen:], lead, s.ahead.tag(k, h))
	case lead > 0:
		k.nonce(&s.nonce, h.lane, h.counter)
		ok = k.wide.OpenApart(dst, &s.lead, lead, d[headerLen:], &s.nonce, (*[headerLen]byte)(d))
	default:
		k.nonce(&s.nonce, h.lane, h.counter)
		ok = k.form.Open(dst, d[headerLen:], &s.nonce, (*[headerLen]byte)(d))
	}
	return dst[:len(d)-headerLen-tagLen], ok
}
