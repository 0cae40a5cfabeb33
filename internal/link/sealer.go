package link

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/virtuoso-vnet/virtuoso/internal/link/gcm"
)

// sealer is a cipher under one key, for datagrams.
type sealer interface {
	// Seal encrypts src to dst, which has room for tagLen bytes more, and authenticates it and head. dst begins where src
	// does or does not overlap it.
	Seal(dst, src []byte, nonce *[nonceLen]byte, head *[headerLen]byte)
	// Open decrypts src, the tag at its end, to dst, which has room for as much; false when it was not sealed so.
	Open(dst, src []byte, nonce *[nonceLen]byte, head *[headerLen]byte) bool
}

func newSealer(s suite, key []byte) (sealer, error) {
	switch {
	case s == suiteChaCha:
		return standard(chacha20poly1305.New(key))
	case s != suiteAES && s != suiteAES256:
		return nil, fmt.Errorf("%v is unknown", s)
	case gcm.Available():
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
