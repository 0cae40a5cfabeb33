package pki

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Key is the SHA-256 of a public key (SubjectPublicKeyInfo): what a node is known by, since names can be given away.
type Key [32]byte

const keyPrefix = "SHA256:" // as ssh-keygen prints fingerprints

// String is the fingerprint as people compare it.
func (k Key) String() string { return keyPrefix + base64.RawStdEncoding.EncodeToString(k[:]) }

// ParseKey reads what String printed.
func ParseKey(text string) (k Key, err error) {
	body, ok := strings.CutPrefix(text, keyPrefix)
	raw, err := base64.RawStdEncoding.Strict().DecodeString(body)
	if !ok || err != nil || len(raw) != len(k) {
		return k, fmt.Errorf("cannot read fingerprint %q: want %s and 43 characters, as `vnet nodes fingerprint` prints it", text, keyPrefix)
	}
	return Key(raw), nil
}

// MarshalText writes the fingerprint into JSON.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads it from there.
func (k *Key) UnmarshalText(text []byte) (err error) {
	*k, err = ParseKey(string(text))
	return err
}

// KeyOf is the key that the other end of a connection has proved to hold.
func KeyOf(cs tls.ConnectionState) (Key, error) {
	if len(cs.PeerCertificates) == 0 {
		return Key{}, errors.New("cannot name the peer's key: it showed no certificate")
	}
	return fingerprint(cs.PeerCertificates[0]), nil
}

// keyOfRequest is the key in a certificate request whose sender holds it.
func keyOfRequest(csrDER []byte) (Key, error) {
	pub, err := csrKey(csrDER)
	if err != nil {
		return Key{}, err
	}
	return keyOf(pub)
}

func keyOf(pub *ecdsa.PublicKey) (Key, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return Key{}, fmt.Errorf("cannot encode the key: %w", err)
	}
	return sha256.Sum256(der), nil
}
