package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// identityFile holds a node's key, its certificate and the CA's certificate together, so that one rename replaces all.
const identityFile = "identity.pem"

// Identity is who this node is, and whom it believes. It is immutable and safe for concurrent use.
type Identity struct {
	Overlay string
	Name    string
	Role    Role
	Cert    tls.Certificate
	Roots   *x509.CertPool // the overlay's CA and nothing else
	CA      Key            // fingerprint of the CA, as in tokens

	// Trust is what the node knows beyond certificates; nil means nothing.
	Trust *Trust
	// Time is the clock certificates are judged by; nil means time.Now.
	Time func() time.Time
}

// NewIdentity puts a key together with the certificate signed for it, after checking that key, certificate and CA belong
// together. It does not look at dates: an expired identity can still be loaded and shown.
func NewIdentity(key *ecdsa.PrivateKey, leafDER, caDER []byte) (*Identity, error) {
	leaf, err := x509.ParseCertificate(leafDER)
	if err != nil {
		return nil, fmt.Errorf("cannot read the node's certificate: %w", err)
	}
	ca, err := x509.ParseCertificate(caDER)
	if err != nil {
		return nil, fmt.Errorf("cannot read the CA's certificate: %w", err)
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("cannot use the node's certificate: it was signed for another key")
	}
	overlay, name, role, err := nameOf(leaf)
	if err != nil {
		return nil, err
	}
	if err := leaf.CheckSignatureFrom(ca); err != nil {
		return nil, fmt.Errorf("cannot use the node's certificate: it is not signed by the overlay's CA: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	return &Identity{Overlay: overlay, Name: name, Role: role, Cert: pair(key, leaf, ca), Roots: roots, CA: fingerprint(ca)}, nil
}

// LoadIdentity reads what Save wrote. The error is fs.ErrNotExist when this machine has not joined.
func LoadIdentity(dir string) (*Identity, error) {
	path := filepath.Join(dir, identityFile)
	b, err := readBundle(path)
	if err != nil {
		return nil, fmt.Errorf("cannot load the node's identity: %w", err)
	}
	if b.key == nil || len(b.certs) != 2 {
		return nil, fmt.Errorf("cannot load the node's identity: %s does not hold a key and two certificates", path)
	}
	id, err := NewIdentity(b.key, b.certs[0].Raw, b.certs[1].Raw)
	if err != nil {
		return nil, fmt.Errorf("cannot load the node's identity from %s: %w", path, err)
	}
	return id, nil
}

// Save writes the identity to dir, readable by its owner only, replacing an older one in one step.
func (id *Identity) Save(dir string) error {
	text, err := id.Encode()
	if err == nil {
		err = writeSecret(filepath.Join(dir, identityFile), text)
	}
	if err != nil {
		return fmt.Errorf("cannot save the node's identity: %w", err)
	}
	return nil
}

// Encode is the key and the certificates in PEM: a secret.
func (id *Identity) Encode() ([]byte, error) {
	key, ok := id.Cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("cannot encode the identity: its key is a %T", id.Cert.PrivateKey)
	}
	b := bundle{key: key}
	for _, der := range id.Cert.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("cannot encode the identity: %w", err)
		}
		b.certs = append(b.certs, cert)
	}
	return b.encode()
}

// DecodeIdentity reads what Encode wrote.
func DecodeIdentity(text []byte) (*Identity, error) {
	b, err := decodeBundle(text)
	if err != nil {
		return nil, fmt.Errorf("cannot read the identity: %w", err)
	}
	if b.key == nil || len(b.certs) != 2 {
		return nil, errors.New("cannot read the identity: it does not hold a key and two certificates")
	}
	return NewIdentity(b.key, b.certs[0].Raw, b.certs[1].Raw)
}

// Expires is when other nodes stop believing this identity.
func (id *Identity) Expires() time.Time { return id.Cert.Leaf.NotAfter }

// RenewAt is when its certificate is to be renewed.
func (id *Identity) RenewAt() time.Time {
	return RenewAt(id.Cert.Leaf.NotBefore, id.Cert.Leaf.NotAfter)
}

// Early says that its certificate is not good yet: it was made while a clock, the Proxy's or this one, was wrong. A fresh one
// mends that.
func (id *Identity) Early(now time.Time) bool {
	return now.Before(id.Cert.Leaf.NotBefore.Add(-ClockSkew))
}

// Key is the fingerprint of its key, by which others know it.
func (id *Identity) Key() Key { return fingerprint(id.Cert.Leaf) }

// Request asks for a new certificate for the key the node has (PKCS #10, DER).
func (id *Identity) Request() ([]byte, error) {
	key, ok := id.Cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("cannot ask for a certificate: the key of %s is a %T", id.Name, id.Cert.PrivateKey)
	}
	return requestFor(key, id.Name)
}

// Renewed is the identity with a new certificate for the same key, after checking that it is one, and that the node
// believes its CA.
func (id *Identity) Renewed(leafDER, caDER []byte) (*Identity, error) {
	key, ok := id.Cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("cannot renew: the key of %s is a %T", id.Name, id.Cert.PrivateKey)
	}
	fresh, err := NewIdentity(key, leafDER, caDER)
	if err != nil {
		return nil, err
	}
	if fresh.Name != id.Name || fresh.Overlay != id.Overlay || fresh.Role != id.Role {
		return nil, fmt.Errorf("cannot renew: the certificate is for %v %s of overlay %s", fresh.Role, fresh.Name, fresh.Overlay)
	}
	if !id.believes(fresh.CA) {
		return nil, errors.New("cannot renew: the certificate is signed by a CA this node does not know")
	}
	fresh.Trust, fresh.Time = id.Trust, id.Time
	return fresh, nil
}

func (id *Identity) believes(ca Key) bool {
	return ca == id.CA || id.Trust != nil && id.Trust.Believes(ca)
}

// Now is the clock that certificates are judged by.
func (id *Identity) Now() time.Time { return id.now() }

func (id *Identity) now() time.Time {
	if id.Time != nil {
		return id.Time()
	}
	return time.Now()
}
