package link

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
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
	slides bool // form decrypts to memory that begins before the datagram and overlaps it
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
	return k, nil
}

// nonce writes lane and counter, masked by the epoch's iv, to n: a pair is never used twice under one key.
func (k *epochKey) nonce(n *[nonceLen]byte, lane uint16, counter uint64) {
	binary.BigEndian.PutUint32(n[:], uint32(lane)^binary.BigEndian.Uint32(k.iv[:]))
	binary.BigEndian.PutUint64(n[4:], counter^binary.BigEndian.Uint64(k.iv[4:]))
}

// seal encrypts d[headerLen:] in place, authenticates the header in front of it and returns d with the tag appended;
// d must have tagLen bytes of spare capacity. n is the caller's memory for the nonce.
func (k *epochKey) seal(d []byte, h header, n *[nonceLen]byte) []byte {
	end := len(d)
	d = d[:end+tagLen]
	k.sealFrom(d, d[headerLen:end], h, n)
	return d
}

// sealFrom makes d, which has the right length, the datagram that carries text. The text lies where it goes already, or
// nowhere in d.
func (k *epochKey) sealFrom(d, text []byte, h header, n *[nonceLen]byte) {
	h.epoch = uint8(k.epoch)
	h.put(d)
	k.nonce(n, h.lane, h.counter)
	k.form.Seal(d[headerLen:], text, n, (*[headerLen]byte)(d))
}

// open decrypts a datagram in place and returns what it carried; ok is false when it was not sealed with this key.
func (k *epochKey) open(d []byte, h header, n *[nonceLen]byte) (body []byte, ok bool) {
	return k.openTo(d[headerLen:], d, h, n)
}

// openTo decrypts to dst, which has room for all of the datagram but its header and is that part of it or lies elsewhere, or,
// with a cipher that slides, begins before it.
func (k *epochKey) openTo(dst, d []byte, h header, n *[nonceLen]byte) (body []byte, ok bool) {
	k.nonce(n, h.lane, h.counter)
	ok = k.form.Open(dst, d[headerLen:], n, (*[headerLen]byte)(d))
	return dst[:len(d)-headerLen-tagLen], ok
}
