package pki

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// today is when the tests take place; certificates are judged by this clock, not the machine's.
func today() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func testCA(t *testing.T, overlay string) *CA {
	t.Helper()
	ca, err := NewCA(overlay, today())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *CA, name string, role Role) *Identity {
	t.Helper()
	id, err := ca.Issue(name, role, today(), LeafLife)
	if err != nil {
		t.Fatal(err)
	}
	id.Time = today
	return id
}

// handshake runs TLS between the two configurations over a pipe and returns both ends' errors.
func handshake(t *testing.T, dial, serve *tls.Config) (dialled, served *tls.Conn, dialErr, serveErr error) {
	t.Helper()
	a, b := net.Pipe()
	dialled, served = tls.Client(a, dial), tls.Server(b, serve)
	for _, c := range []net.Conn{a, b} {
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	done := make(chan error)
	go func() {
		err := served.Handshake()
		if err == nil {
			_, err = served.Write([]byte{1}) // TLS 1.3: only now can the client know that it was accepted
		}
		if err != nil {
			b.Close()
		}
		done <- err
	}()
	dialErr = dialled.Handshake()
	if dialErr == nil {
		_, dialErr = dialled.Read(make([]byte, 1))
	}
	if dialErr != nil {
		a.Close()
	}
	return dialled, served, dialErr, <-done
}

func TestTLSBetweenNodes(t *testing.T) {
	ca, other := testCA(t, "lan"), testCA(t, "lan")
	foreign := testCA(t, "wan")
	host1, host2 := issue(t, ca, "host1", RoleHost), issue(t, ca, "host2", RoleHost)

	strayed := issue(t, foreign, "host2", RoleHost) // of another overlay, but believing ours
	strayed.Roots = host1.Roots
	believer := *host1 // believes both CAs, so that only the overlay's name can stop it
	believer.Roots = host1.Roots.Clone()
	believer.Roots.AddCert(foreign.cert)
	late := *host1
	late.Time = func() time.Time { return today().Add(LeafLife + ClockSkew + time.Minute) }
	early := *host1
	early.Time = func() time.Time { return today().Add(-Backdate - ClockSkew - time.Minute) }
	mute := host2.TLS("")
	mute.Certificates = nil

	tests := []struct {
		name        string
		dial, serve *tls.Config
		want        string // in either end's error; empty: both accept
	}{
		{"each other", host1.TLS("host2", "vnet/1"), host2.TLS("host1", "vnet/1"), ""},
		{"any node", host1.TLS(""), host2.TLS(""), ""},
		{"server that also lets strangers join", host1.TLS("host2", "vnet/1"), host2.ServerTLS("vnet/1"), ""},
		{"another name than dialled", host1.TLS("host3"), host2.TLS(""), `it is node "host2", not "host3"`},
		{"another name than awaited", host1.TLS(""), host2.TLS("host3"), `it is node "host1", not "host3"`},
		{"another CA of the same overlay name", issue(t, other, "host1", RoleHost).TLS(""), host2.TLS(""), "unknown authority"},
		{"another overlay", believer.TLS(""), strayed.TLS(""), `belongs to overlay "wan"`},
		{"expired", late.TLS(""), host2.TLS(""), "it has expired at 2026-11-23 12:00 UTC, and this machine's clock says 2026-11-23 13:01 UTC"},
		{"clock behind by more than the allowance", early.TLS(""), host2.TLS(""), "is not yet valid until 2026-11-22 11:00 UTC, and this machine's clock says 2026-11-22 09:59 UTC: one of the two clocks is wrong"},
		{"no common protocol", host1.TLS("", "vnet/1"), host2.TLS("", "vnet/2"), "no application protocol"},
		{"no protocol offered", host1.TLS(""), host2.TLS("", "vnet/1"), "no common protocol"},
		{"client without certificate", mute, host2.ServerTLS("vnet/1"), "certificate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dialled, served, dialErr, serveErr := handshake(t, tt.dial, tt.serve)
			if tt.want != "" {
				if err := errors.Join(dialErr, serveErr); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("got error %v, want one with %q", err, tt.want)
				}
				return
			}
			if dialErr != nil || serveErr != nil {
				t.Fatalf("dial: %v, serve: %v", dialErr, serveErr)
			}
			cs := dialled.ConnectionState()
			if cs.CurveID != tls.X25519MLKEM768 || cs.Version != tls.VersionTLS13 {
				t.Errorf("agreed on %v, %v", cs.CurveID, tls.VersionName(cs.Version))
			}
			name, role, err := PeerOf(served.ConnectionState())
			if name != "host1" || role != RoleHost || err != nil {
				t.Errorf("server sees %q, %v, %v", name, role, err)
			}
		})
	}
}

func TestCertificatesThatAreNoNodes(t *testing.T) {
	ca := testCA(t, "lan")
	id := issue(t, ca, "host1", RoleHost)
	proper := x509.Certificate{
		SerialNumber: newSerial(), NotBefore: today(), NotAfter: today().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, URIs: []*url.URL{nodeURI("lan", "host2", RoleHost)},
	}
	tests := []struct {
		name   string
		change func(*x509.Certificate)
		want   string // in the error; empty: accepted
	}{
		{"proper", func(*x509.Certificate) {}, ""},
		{"only for clients", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, "key usage"},
		{"only for servers", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }, "incompatible key usage"},
		{"not for signatures", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }, "key usage"},
		{"another CA", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, "it is a CA's"},
		{"only a common name", func(c *x509.Certificate) { c.URIs, c.Subject = nil, pkix.Name{CommonName: "host2"} }, "0 URI names"},
		{"two names", func(c *x509.Certificate) { c.URIs = append(c.URIs, nodeURI("lan", "host3", RoleHost)) }, "2 URI names"},
		{"another scheme", func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "https", Host: "lan", Path: "/node/host2"}} }, "is not spiffe://"},
		{"another role", func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "lan", Path: "/root/host2"}} }, "cannot tell the role of certificate"},
		{"a bad name", func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "lan", Path: "/node/Host 2"}} }, "cannot use name"},
	}
	for _, tt := range tests {
		template := proper
		template.URIs = slices.Clone(proper.URIs)
		tt.change(&template)
		der, err := x509.CreateCertificate(rand.Reader, &template, ca.cert, id.Cert.Leaf.PublicKey, ca.key)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		err = id.verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}, "", nil)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if err := id.verify(tls.ConnectionState{}, "", nil); err == nil {
		t.Error("no certificate was taken for a node's")
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if _, err := LoadCA(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no CA yet: %v", err)
	}
	if _, err := LoadIdentity(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no identity yet: %v", err)
	}
	ca := testCA(t, "lan")
	id := issue(t, ca, "proxy", RoleProxy)
	home := Home{Proxy: "proxy", Addrs: []string{"192.0.2.1:7946"}}
	for _, err := range []error{ca.Save(dir), id.Save(dir), id.Save(dir), home.Save(dir)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	ca2, err := LoadCA(dir)
	if err != nil || ca2.Fingerprint() != ca.Fingerprint() || ca2.Overlay() != "lan" {
		t.Fatalf("loaded %v, %v", ca2, err)
	}
	id2, err := LoadIdentity(dir)
	if err != nil || id2.Name != "proxy" || id2.Role != RoleProxy || id2.Overlay != "lan" || id2.CA != id.CA {
		t.Fatalf("loaded %+v, %v", id2, err)
	}
	if home2, err := LoadHome(dir); err != nil || home2.Proxy != "proxy" {
		t.Fatalf("loaded %+v, %v", home2, err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Errorf("%d files in the state directory (%v), want 3: no temporary file may stay", len(files), err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v)", f.Name(), info.Mode(), err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, identityFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others may read: %v", err)
	}
}

func TestSignRefuses(t *testing.T) {
	ca := testCA(t, "lan")
	_, csr, err := NewKeyAndCSR("host1")
	if err != nil {
		t.Fatal(err)
	}
	spoilt := bytes.Clone(csr)
	spoilt[len(spoilt)-1] ^= 1
	tests := []struct {
		name string
		csr  []byte
		node string
		role Role
	}{
		{"a bad signature", spoilt, "host1", RoleHost},
		{"nonsense", []byte("x"), "host1", RoleHost},
		{"a bad name", csr, "Host 1", RoleHost},
		{"a path in the name", csr, "a/b", RoleHost},
		{"no role", csr, "host1", 0},
	}
	for _, tt := range tests {
		if _, err := ca.Sign(tt.csr, tt.node, tt.role, today(), LeafLife); err == nil {
			t.Errorf("signed a request with %s", tt.name)
		}
	}
	der, err := ca.Sign(csr, "host1", RoleHost, today(), 2*CALife)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil || leaf.NotAfter.After(ca.cert.NotAfter) {
		t.Errorf("a certificate outlives its CA: %v, %v", leaf.NotAfter, err)
	}
}
