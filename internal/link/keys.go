package link

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/cpu"
)

// suite is the AEAD of a link.
type suite uint8

const (
	suiteAES    suite = 1 // AES-128-GCM: the fastest where the processor has AES
	suiteChaCha suite = 2 // ChaCha20-Poly1305: constant time and three times faster than AES without hardware
	suiteAES256 suite = 3 // AES-256-GCM: where somebody's rules ask for it; never chosen unasked
)

func (s suite) String() string {
	switch s {
	case suiteAES:
		return "aes-128-gcm"
	case suiteChaCha:
		return "chacha20-poly1305"
	case suiteAES256:
		return "aes-256-gcm"
	}
	return fmt.Sprintf("suite %d", uint8(s))
}

// keyLen is the length of its key in bytes.
func (s suite) keyLen() int {
	if s == suiteAES {
		return 16
	}
	return 32
}

// preferred lists the suites of this machine, the faster one first.
func preferred() []suite {
	if cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ || cpu.ARM64.HasAES && cpu.ARM64.HasPMULL || cpu.S390X.HasAESGCM {
		return []suite{suiteAES, suiteChaCha}
	}
	return []suite{suiteChaCha, suiteAES}
}

// chooseSuite picks AES only when both ends put it first: the slower end decides what a link can carry.
func chooseSuite(ours, theirs []suite) (suite, error) {
	both := func(s suite) bool { return contains(ours, s) && contains(theirs, s) }
	first := len(ours) > 0 && len(theirs) > 0 && ours[0] == suiteAES && theirs[0] == suiteAES
	switch {
	case first, both(suiteAES) && !both(suiteChaCha):
		return suiteAES, nil
	case both(suiteChaCha):
		return suiteChaCha, nil
	}
	return 0, fmt.Errorf("cannot agree on a cipher: this node has %v, the peer %v", ours, theirs)
}

func contains(list []suite, s suite) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

const (
	secretLen = 32 // bytes: the exporter's output and each epoch's secret
	nonceLen  = 12 // bytes, of both suites
)

// epochKey is one direction's key during one epoch. It is immutable; its users bring their own nonce memory.
type epochKey struct {
	epoch  uint64
	suite  suite
	form   sealer
	iv     [nonceLen]byte
	secret [secretLen]byte // the next epoch's secret is derived from this one
}

// firstKey is the key of epoch 0, from the secret exported for its direction.
func firstKey(s suite, secret []byte) (*epochKey, error) { return newEpochKey(s, 0, secret) }

// next is the key of the following epoch. The old secret cannot be computed from the new one.
func (k *epochKey) next() (*epochKey, error) {
	secret, err := hkdf.Expand(sha256.New, k.secret[:], "vnet/1 next epoch", secretLen)
	if err != nil {
		return nil, fmt.Errorf("cannot derive the next epoch: %w", err)
	}
	return newEpochKey(k.suite, k.epoch+1, secret)
}

func newEpochKey(s suite, epoch uint64, secret []byte) (*epochKey, error) {
	k := &epochKey{epoch: epoch, suite: s}
	copy(k.secret[:], secret)
	key, err := hkdf.Expand(sha256.New, secret, "vnet/1 key "+s.String(), s.keyLen())
	if err != nil {
		return nil, fmt.Errorf("cannot derive a key: %w", err)
	}
	iv, err := hkdf.Expand(sha256.New, secret, "vnet/1 iv", nonceLen)
	if err != nil {
		return nil, fmt.Errorf("cannot derive an initial vector: %w", err)
	}
	copy(k.iv[:], iv)
	if k.form, err = newSealer(s, key); err != nil {
		return nil, fmt.Errorf("cannot set up %v: %w", s, err)
	}
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

// openTo decrypts to dst, which has room for all of the datagram but its header and is that part of it or lies elsewhere.
func (k *epochKey) openTo(dst, d []byte, h header, n *[nonceLen]byte) (body []byte, ok bool) {
	k.nonce(n, h.lane, h.counter)
	ok = k.form.Open(dst, d[headerLen:], n, (*[headerLen]byte)(d))
	return dst[:len(d)-headerLen-tagLen], ok
}
