package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// caFile holds the CA's certificate and key together, so that one rename replaces both; oldCAFile those of the one before,
// as long as nodes are left that know no other.
const (
	caFile    = "ca.pem"
	oldCAFile = "ca-old.pem"
)

// CA is the authority of one overlay; only the Proxy has it. It is immutable and safe for concurrent use.
type CA struct {
	overlay string
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
}

// NewCA makes the authority of the new overlay called name.
func NewCA(name string, now time.Time) (*CA, error) {
	if err := overlay.ValidName(name); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make the key of the CA: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: "vnet overlay " + name}, // for people; never compared
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: name}},    // X509-SVID §3.1: a signing certificate names the trust domain
		NotBefore:             now.Add(-Backdate),
		NotAfter:              now.Add(CALife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("cannot sign the certificate of the CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("cannot read back the certificate of the CA: %w", err)
	}
	return &CA{overlay: name, cert: cert, key: key}, nil
}

// LoadCA reads what Save wrote. The error is fs.ErrNotExist when this overlay has no CA here yet.
func LoadCA(dir string) (*CA, error) { return loadCA(filepath.Join(dir, caFile)) }

// LoadOldCA reads what SaveOld wrote; fs.ErrNotExist says that no rotation is under way.
func LoadOldCA(dir string) (*CA, error) { return loadCA(filepath.Join(dir, oldCAFile)) }

func loadCA(path string) (*CA, error) {
	b, err := readBundle(path)
	if err != nil {
		return nil, fmt.Errorf("cannot load the CA: %w", err)
	}
	if b.key == nil || len(b.certs) != 1 || !b.certs[0].IsCA || len(b.certs[0].URIs) != 1 {
		return nil, fmt.Errorf("cannot load the CA: %s does not hold one CA certificate and its key", path)
	}
	if !b.key.PublicKey.Equal(b.certs[0].PublicKey) {
		return nil, fmt.Errorf("cannot load the CA: key and certificate in %s do not belong together", path)
	}
	return &CA{overlay: b.certs[0].URIs[0].Host, cert: b.certs[0], key: b.key}, nil
}

// Save writes the CA to dir, readable by its owner only.
func (ca *CA) Save(dir string) error { return ca.save(filepath.Join(dir, caFile)) }

// SaveOld writes the CA to dir as the one that is being replaced.
func (ca *CA) SaveOld(dir string) error { return ca.save(filepath.Join(dir, oldCAFile)) }

// RemoveOldCA destroys the key of the CA that was replaced.
func RemoveOldCA(dir string) error {
	if err := os.Remove(filepath.Join(dir, oldCAFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the old CA: %w", err)
	}
	return nil
}

func (ca *CA) save(path string) error {
	text, err := bundle{key: ca.key, certs: []*x509.Certificate{ca.cert}}.encode()
	if err == nil {
		err = writeSecret(path, text)
	}
	if err != nil {
		return fmt.Errorf("cannot save the CA: %w", err)
	}
	return nil
}

// Overlay is the name of the overlay the CA vouches for.
func (ca *CA) Overlay() string { return ca.overlay }

// Certificate is the CA's own certificate in DER: public, and what joining nodes are given.
func (ca *CA) Certificate() []byte { return ca.cert.Raw }

// Fingerprint is the SHA-256 of the CA's public key (SubjectPublicKeyInfo), so that a reissued certificate of the same
// key keeps tokens good.
func (ca *CA) Fingerprint() Key { return fingerprint(ca.cert) }

func fingerprint(cert *x509.Certificate) Key { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// Sign gives the key in a certificate request the identity name in the role; whatever else the request asks for is
// ignored. It returns the certificate in DER, good from Backdate before now until ttl after it.
func (ca *CA) Sign(csrDER []byte, name string, role Role, now time.Time, ttl time.Duration) ([]byte, error) {
	pub, err := csrKey(csrDER)
	if err != nil {
		return nil, err
	}
	return ca.sign(pub, name, role, now, ttl)
}

// Renew signs a fresh certificate for the key that a host asks with, which the caller holds against its register.
func (ca *CA) Renew(csrDER []byte, name string, now time.Time) (Key, []byte, error) {
	key, err := keyOfRequest(csrDER)
	if err != nil {
		return key, nil, err
	}
	cert, err := ca.Sign(csrDER, name, RoleHost, now, LeafLife)
	return key, cert, err
}

// Made is when the CA was made.
func (ca *CA) Made() time.Time { return ca.cert.NotBefore.Add(Backdate) }

// Issue makes a key and a certificate for a node of this machine: the Proxy itself, or a client of its API.
func (ca *CA) Issue(name string, role Role, now time.Time, ttl time.Duration) (*Identity, error) {
	key, _, err := NewKeyAndCSR(name)
	if err != nil {
		return nil, err
	}
	return ca.issue(key, name, role, now, ttl)
}

// Reissue gives an identity of this machine a new certificate for the key it has: others know it by that.
func (ca *CA) Reissue(old *Identity, now time.Time, ttl time.Duration) (*Identity, error) {
	key, ok := old.Cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("cannot renew the certificate of %s: its key is a %T", old.Name, old.Cert.PrivateKey)
	}
	id, err := ca.issue(key, old.Name, old.Role, now, ttl)
	if err == nil {
		id.Time, id.Trust = old.Time, old.Trust
	}
	return id, err
}

func (ca *CA) issue(key *ecdsa.PrivateKey, name string, role Role, now time.Time, ttl time.Duration) (*Identity, error) {
	der, err := ca.sign(&key.PublicKey, name, role, now, ttl)
	if err != nil {
		return nil, err
	}
	return NewIdentity(key, der, ca.cert.Raw)
}

func (ca *CA) sign(pub *ecdsa.PublicKey, name string, role Role, now time.Time, ttl time.Duration) ([]byte, error) {
	if err := overlay.ValidName(name); err != nil {
		return nil, err
	}
	if role < RoleHost || role > RoleAdmin {
		return nil, fmt.Errorf("cannot sign a certificate for %s: unknown %v", name, role)
	}
	end := now.Add(ttl)
	if end.After(ca.cert.NotAfter) {
		end = ca.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: name}, // for people; never compared
		URIs:                  []*url.URL{nodeURI(ca.overlay, name, role)},
		NotBefore:             now.Add(-Backdate),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, // either end of a link may dial
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, pub, ca.key)
	if err != nil {
		return nil, fmt.Errorf("cannot sign the certificate of %s: %w", name, err)
	}
	return der, nil
}

// NewKeyAndCSR makes a node's key, which never leaves the node, and the request to sign it.
func NewKeyAndCSR(name string) (*ecdsa.PrivateKey, []byte, error) {
	if err := overlay.ValidName(name); err != nil {
		return nil, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make the key of %s: %w", name, err)
	}
	csr, err := requestFor(key, name)
	return key, csr, err
}

func requestFor(key *ecdsa.PrivateKey, name string) ([]byte, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, fmt.Errorf("cannot make the certificate request of %s: %w", name, err)
	}
	return csr, nil
}

// csrKey checks that the sender of a request holds the key in it.
func csrKey(der []byte) (*ecdsa.PublicKey, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("cannot accept the certificate request: %w", err)
	}
	pub, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, errors.New("cannot accept the certificate request: its key is not ECDSA P-256")
	}
	return pub, nil
}

// newSerial draws 127 random bits: positive, and within the 20 octets of RFC 5280 §4.1.2.2.
func newSerial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails since Go 1.24
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}

// pair is the certificate as TLS sends it: leaf first, then the CA so that a joining stranger can compare its key.
func pair(key *ecdsa.PrivateKey, leaf, ca *x509.Certificate) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.Raw}, PrivateKey: key, Leaf: leaf}
}
