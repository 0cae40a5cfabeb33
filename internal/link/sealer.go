package link

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/virtuoso-vnet/virtuoso/internal/link/gcm"
	"github.com/virtuoso-vnet/virtuoso/internal/link/sum"
)

// sealer is a cipher under one key, for datagrams.
type sealer interface {
	// Seal encrypts src to dst, which has room for tagLen bytes more, and authenticates it and head. dst begins where src
	// does or does not overlap it.
	Seal(dst, src []byte, nonce *[nonceLen]byte, head *[headerLen]byte)
	// Open decrypts src, the tag at its end, to dst, which has room for as much; false when it was not sealed so. dst begins
	// where src does, or does not overlap it, or, if not with library, begins before it.
	Open(dst, src []byte, nonce *[nonceLen]byte, head *[headerLen]byte) bool
}

func newSealer(c Cipher, key []byte) (sealer, error) {
	switch {
	case c == ChaCha20:
		return standard(chacha20poly1305.New(key))
	case !c.known():
		return nil, fmt.Errorf("%v is unknown", c)
	}
	form, err := newGCM(key)
	if c == Trusted && err == nil {
		form = openly{mac: form}
	}
	return form, err
}

// newGCM is AES-GCM in the fastest form that this processor has.
func newGCM(key []byte) (sealer, error) {
	if gcm.Available() {
		return gcm.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return standard(cipher.NewGCM(block))
}

// library is a cipher of the standard library, or one like it.
type library struct{ aead cipher.AEAD }

func standard(aead cipher.AEAD, err error) (sealer, error) { return library{aead}, err }

func (l library) Seal(dst, src []byte, nonce *[nonceLen]byte, head *[headerLen]byte) {
	l.aead.Seal(dst[:0], nonce[:], src, head[:])
}

func (l library) Open(dst, src []byte, nonce *[nonceLen]byte, head *[headerLen]byte) bool {
	_, err := l.aead.Open(dst[:0], nonce[:], src, head[:])
	return err == nil
}

// openly is the form of a trusted link. The text is only copied. The tag is that of AES-GCM over the head alone (GMAC, NIST
// SP 800-38D), with the CRC32C of the text (RFC 9260 appendix A) added to its last four bytes: who has no key can make no
// head, and chance damages no text unnoticed.
type openly struct{ mac sealer } // mac is of nothing but the head

func (o openly) Seal(dst, src []byte, nonce *[nonceLen]byte, head *[headerLen]byte) {
	var tag [tagLen]byte
	o.mac.Seal(tag[:], nil, nonce, head)
	sealOpenly(dst, nil, src, &tag)
}

func (o openly) Open(dst, src []byte, nonce *[nonceLen]byte, head *[headerLen]byte) bool {
	var tag [tagLen]byte
	o.mac.Seal(tag[:], nil, nonce, head) // before the text may be copied to where the head is
	return openOpenly(dst, src, 0, &tag)
}

// sealOpenly is Seal of a trusted link for a head with this tag, and a text in two parts.
func sealOpenly(dst, lead, rest []byte, tag *[tagLen]byte) {
	crc := sum.Copy(dst, lead, dst[len(lead):], rest)
	end := dst[len(lead)+len(rest):][:tagLen]
	binary.BigEndian.PutUint64(end, binary.BigEndian.Uint64(tag[:]))
	binary.BigEndian.PutUint64(end[8:], binary.BigEndian.Uint64(tag[8:])^uint64(crc))
}

// openOpenly is Open of a trusted link for a head with this tag, but that so many bytes, lead, stay where they are.
func openOpenly(dst, src []byte, lead int, tag *[tagLen]byte) bool {
	n := len(src) - tagLen
	end := src[n:]
	first, last := binary.BigEndian.Uint64(end), binary.BigEndian.Uint64(end[8:]) // which the text may be copied over
	last ^= uint64(sum.Copy(src, src[:lead], dst, src[lead:n]))
	return (first^binary.BigEndian.Uint64(tag[:]))|(last^binary.BigEndian.Uint64(tag[8:])) == 0
}
