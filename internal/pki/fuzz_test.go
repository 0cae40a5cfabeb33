package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// FuzzCertificate reads any certificate as a peer's: names that are taken are names.
func FuzzCertificate(f *testing.F) {
	ca, err := NewCA("lan", today())
	if err != nil {
		f.Fatal(err)
	}
	id, err := ca.Issue("host1", RoleHost, today(), LeafLife)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(id.Cert.Certificate[0])
	f.Add(ca.Certificate())
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		cs := tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
		if name, _, err := PeerOf(cs); err == nil && overlay.ValidName(name) != nil {
			t.Errorf("%q is taken for a name", name)
		}
		if _, err := KeyOf(cs); err != nil {
			t.Logf("no key: %v", err)
		}
		if err := checkChain(cert, roots, today()); err == nil && string(cert.RawTBSCertificate) != string(parsed(t, id.Cert.Certificate[0]).RawTBSCertificate) && !cert.Equal(ca.cert) {
			t.Error("a certificate that was not issued is believed")
		}
	})
}

func parsed(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// FuzzCertificateName reads any URI as the name in a certificate, and what is taken can be said again.
func FuzzCertificateName(f *testing.F) {
	for _, s := range []string{"spiffe://lan/node/host1", "spiffe://lan/proxy/home", "spiffe://lan/admin/alice", "spiffe://lan/node/../x", "spiffe://a@lan:1/node/x?y#z", "spiffe://lan/node/%2e%2e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		uri, err := url.Parse(s)
		if err != nil {
			return
		}
		of, name, role, err := nameOf(&x509.Certificate{URIs: []*url.URL{uri}})
		if err != nil {
			return
		}
		if overlay.ValidName(of) != nil || overlay.ValidName(name) != nil || role < RoleHost || role > RoleAdmin {
			t.Errorf("%q is taken for %v %q of %q", s, role, name, of)
		}
		if _, _, _, err := nameOf(&x509.Certificate{URIs: []*url.URL{uri, uri}}); err == nil {
			t.Error("a certificate with two names is taken")
		}
	})
}

// FuzzRequest reads any certificate request.
func FuzzRequest(f *testing.F) {
	_, csr, err := NewKeyAndCSR("host1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(csr)
	f.Fuzz(func(t *testing.T, der []byte) {
		if key, err := keyOfRequest(der); err == nil && key == (Key{}) {
			t.Error("a request without a key is taken")
		}
	})
}
