package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ALPNJoin is the protocol a machine without a certificate speaks to become a node.
const ALPNJoin = "vnet-join/1"

// TLS is the configuration for either end of a connection between two nodes: TLS 1.3, certificates on both sides, no
// resumption (a ticket would outlive a revoked certificate). The other end must be peer, or any node of the overlay when
// peer is empty, and one of the alpn protocols must have been agreed when any are given.
func (id *Identity) TLS(peer string, alpn ...string) *tls.Config {
	cfg := id.base(alpn)
	cfg.ClientAuth = tls.RequireAnyClientCert // verified below, like a server's
	cfg.VerifyConnection = func(cs tls.ConnectionState) error { return id.verify(cs, peer, alpn) }
	return cfg
}

// ServerTLS is TLS for any node of the overlay, and moreover lets in a stranger who offers nothing but ALPNJoin. Such a
// connection has no verified peer: PeerOf fails on it and it may only be given to AnswerJoin.
//
// A client that speaks HTTP is let in with the certificate of a client, and with no other: see ClientOf.
func (id *Identity) ServerTLS(alpn ...string) *tls.Config {
	join := id.base([]string{ALPNJoin})
	join.ClientAuth = tls.NoClientCert
	clients := id.base(httpProtocols())
	clients.ClientAuth = tls.RequireAnyClientCert
	clients.VerifyConnection = func(cs tls.ConnectionState) error {
		return id.verifyAPI(cs, func(r Role) bool { return !r.Daemon() })
	}
	cfg := id.TLS("", alpn...)
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Equal(hello.SupportedProtos, []string{ALPNJoin}) {
			return join, nil
		}
		if slices.ContainsFunc(hello.SupportedProtos, func(p string) bool { return slices.Contains(httpProtocols(), p) }) {
			return clients, nil
		}
		return nil, nil // go on with cfg
	}
	return cfg
}

// httpProtocols are what clients of the API speak.
func httpProtocols() []string { return []string{"h2", "http/1.1"} }

// HTTP says that a connection that ServerTLS let in is that of a client of the API.
func HTTP(cs tls.ConnectionState) bool {
	return slices.Contains(httpProtocols(), cs.NegotiatedProtocol)
}

// ClientTLS dials a Proxy's API with the identity of a client.
func (id *Identity) ClientTLS() *tls.Config {
	cfg := id.base([]string{"http/1.1"})
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		return id.verifyAPI(cs, func(r Role) bool { return r == RoleProxy })
	}
	return cfg
}

// verifyAPI judges either end of a connection of a client.
func (id *Identity) verifyAPI(cs tls.ConnectionState, may func(Role) bool) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("cannot accept the peer: it showed no certificate")
	}
	leaf, roots := cs.PeerCertificates[0], id.Roots
	if id.Trust != nil {
		roots = id.Trust.pool()
	}
	if err := checkChain(leaf, roots, id.now()); err != nil {
		return err
	}
	overlay, name, role, err := nameOf(leaf)
	switch {
	case err != nil:
		return err
	case overlay != id.Overlay:
		return fmt.Errorf("cannot accept the peer: it belongs to overlay %q, this to %q", overlay, id.Overlay)
	case !may(role):
		return fmt.Errorf("cannot accept the peer: %q has the role %v", name, role)
	case id.Trust != nil && id.Trust.Refuses(fingerprint(leaf)):
		return fmt.Errorf("cannot accept %s: its key was revoked", name)
	}
	return checkDates(leaf, id.now())
}

func (id *Identity) base(alpn []string) *tls.Config {
	return &tls.Config{
		Certificates:           []tls.Certificate{id.Cert},
		NextProtos:             slices.Clone(alpn),
		MinVersion:             tls.VersionTLS13,
		CurvePreferences:       []tls.CurveID{tls.X25519MLKEM768, tls.X25519},
		SessionTicketsDisabled: true,
		Time:                   id.now,
		// Names here are URIs, not host names, so the built-in check cannot serve; VerifyConnection does all of it.
		InsecureSkipVerify: true,
	}
}

// verify is the whole judgement of the other end of a connection.
func (id *Identity) verify(cs tls.ConnectionState, peer string, alpn []string) error {
	if len(alpn) > 0 && !slices.Contains(alpn, cs.NegotiatedProtocol) {
		return fmt.Errorf("cannot accept the connection: no common protocol among %v", alpn)
	}
	if len(cs.PeerCertificates) == 0 {
		return errors.New("cannot accept the peer: it showed no certificate")
	}
	leaf := cs.PeerCertificates[0]
	roots := id.Roots
	if id.Trust != nil {
		roots = id.Trust.pool()
	}
	if err := checkChain(leaf, roots, id.now()); err != nil {
		return err
	}
	overlay, name, role, err := nameOf(leaf)
	if err != nil {
		return err
	}
	if overlay != id.Overlay {
		return fmt.Errorf("cannot accept the peer: it belongs to overlay %q, this node to %q", overlay, id.Overlay)
	}
	if !role.Daemon() {
		return fmt.Errorf("cannot accept the peer: %q may ask the API, and is no node", name)
	}
	if peer != "" && name != peer {
		return fmt.Errorf("cannot accept the peer: it is node %q, not %q", name, peer)
	}
	return id.judge(leaf, name, role)
}

// judge holds a peer whose certificate is genuine against its dates and against what this node knows of it.
func (id *Identity) judge(leaf *x509.Certificate, name string, role Role) error {
	key, t := fingerprint(leaf), id.Trust
	if t == nil {
		return checkDates(leaf, id.now())
	}
	if t.Refuses(key) {
		return fmt.Errorf("cannot accept %s: its key was revoked", name)
	}
	if t.member != nil && role == RoleHost { // this is the Proxy
		switch known, err := t.member(name, key); {
		case err != nil:
			return err
		case known:
			var dates *DateError
			if err := lateBy(leaf, id.now(), LateRenewal); !errors.As(err, &dates) || !dates.Early {
				return err
			}
			return nil // signed when this Proxy's clock was wrong: it is renewed at once
		}
		return checkDates(leaf, id.now())
	}
	err := checkDates(leaf, id.now())
	if err != nil && role == RoleHost && t.away != nil && t.away() && t.knew(name, key) && lateBy(leaf, id.now(), Grace) == nil {
		t.grace(name, leaf.NotAfter)
		return nil
	}
	if err != nil {
		return err
	}
	t.grace(name, time.Time{})
	if role == RoleHost {
		return t.pin(name, key)
	}
	return nil
}

// checkChain holds a leaf against roots and key usage; dates are judged apart. Both usages are asked for, whoever dialled:
// links are dialled from either side.
func checkChain(leaf *x509.Certificate, roots *x509.CertPool, now time.Time) error {
	at := now // or the nearest time when the leaf was good
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	} else if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return fmt.Errorf("cannot accept the peer's certificate: %w", err)
	}
	switch {
	case leaf.IsCA:
		return errors.New("cannot accept the peer's certificate: it is a CA's, not a node's")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0, !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth):
		return errors.New("cannot accept the peer's certificate: its key usage does not allow TLS at both ends")
	}
	return nil
}

// DateError says that a certificate is good at another time than this machine's clock shows. Early is true when it is not
// good yet: then one of two clocks is wrong for certain.
type DateError struct {
	Now, From, Until time.Time
	Early            bool
}

func (e *DateError) Error() string {
	stamp := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
	if e.Early {
		return fmt.Sprintf("cannot accept the peer's certificate: it is not yet valid until %s, and this machine's clock says %s: one of the two clocks is wrong", stamp(e.From), stamp(e.Now))
	}
	return fmt.Sprintf("cannot accept the peer's certificate: it has expired at %s, and this machine's clock says %s: the peer did not renew it, or one of the two clocks is wrong", stamp(e.Until), stamp(e.Now))
}

// checkDates judges a leaf by the clock, allowing for clocks that differ.
func checkDates(leaf *x509.Certificate, now time.Time) error { return lateBy(leaf, now, 0) }

// lateBy accepts a leaf that ended less than grace ago.
func lateBy(leaf *x509.Certificate, now time.Time, grace time.Duration) error {
	early := now.Before(leaf.NotBefore.Add(-ClockSkew))
	if early || now.After(leaf.NotAfter.Add(ClockSkew+grace)) {
		return &DateError{Now: now, From: leaf.NotBefore, Until: leaf.NotAfter, Early: early}
	}
	return nil
}

// PeerOf says who is at the other end of a connection that was set up with TLS or ServerTLS. It fails on a connection of a
// joining stranger.
func PeerOf(cs tls.ConnectionState) (name string, role Role, err error) {
	if len(cs.PeerCertificates) == 0 {
		return "", 0, errors.New("cannot name the peer: it showed no certificate")
	}
	_, name, role, err = nameOf(cs.PeerCertificates[0])
	return name, role, err
}
