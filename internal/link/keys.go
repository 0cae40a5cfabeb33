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
	if form, ok := k.form.(openly); ok {
		k.bare, _ = form.mac.(*gcm.Key)
	}
	return k, nil
}

// scratch is the memory that sealing and opening need. It belongs to one goroutine.
type scratch struct {
	nonce [nonceLen]byte
	ahead heads
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

// sealApart is sealFrom for a text in two parts, neither of which lies in d, under a key that is bare.
func (k *epochKey) sealApart(d, lead, rest []byte, h *header, s *scratch) {
	h.epoch = uint8(k.epoch)
	h.write(d)
	sealOpenly(d[headerLen:], lead, rest, s.ahead.tag(k, h))
}

// open decrypts a datagram in place and returns what it carried; ok is false when it was not sealed with this key.
func (k *epochKey) open(d []byte, h header, s *scratch) (body []byte, ok bool) {
	return k.openTo(d[headerLen:], d, 0, &h, s)
}

// openTo decrypts to dst, which has room for all of the datagram but its header and is that part of it or lies elsewhere, or,
// with a cipher that slides, begins before it. With a key that is bare so many bytes, lead, may be left out.
func (k *epochKey) openTo(dst, d []byte, lead int, h *header, s *scratch) (body []byte, ok bool) {
	if k.bare != nil {
		ok = openOpenly(dst, d[headerLen:], lead, s.ahead.tag(k, h))
	} else {
		k.nonce(&s.nonce, h.lane, h.counter)
		ok = k.form.Open(dst, d[headerLen:], &s.nonce, (*[headerLen]byte)(d))
	}
	return dst[:len(d)-headerLen-lead-tagLen], ok
}
