//go:build !amd64 || purego

package gcm

import "errors"

// Available says that this build has no vector form.
func Available() bool { return false }

// Key exists on amd64 only.
type Key struct{}

// New refuses: see Available.
func New([]byte) (*Key, error) {
	return nil, errors.New("cannot use AES-GCM on vectors: this build has none")
}

// Seal is never called: there is no Key.
func (*Key) Seal(_, _ []byte, _ *[NonceLen]byte, _ *[HeadLen]byte) {
	panic("gcm: a key that New did not make")
}

// Tag is never called: there is no Key.
func (*Key) Tag(*Heads) {
	panic("gcm: a key that New did not make")
}

// SealApart is never called: there is no Key.
func (*Key) SealApart(_ []byte, _ *[128]byte, _ int, _ []byte, _ *[NonceLen]byte, _ *[HeadLen]byte) {
	panic("gcm: a key that New did not make")
}

// OpenApart is never called: there is no Key.
func (*Key) OpenApart(_ []byte, _ *[128]byte, _ int, _ []byte, _ *[NonceLen]byte, _ *[HeadLen]byte) bool {
	panic("gcm: a key that New did not make")
}

// Open is never called: there is no Key.
func (*Key) Open(_, _ []byte, _ *[NonceLen]byte, _ *[HeadLen]byte) bool {
	panic("gcm: a key that New did not make")
}
