package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
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
func (id *Identity) ServerTLS(alpn ...string) *tls.Config {
	join := id.base([]string{ALPNJoin})
	join.ClientAuth = tls.NoClientCert
	cfg := id.TLS("", alpn...)
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Equal(hello.SupportedProtos, []string{ALPNJoin}) {
			return join, nil
		}
		return nil, nil // go on with cfg
	}
	return cfg
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
	if err := checkChain(leaf, x509.VerifyOptions{Roots: id.Roots, CurrentTime: id.now()}); err != nil {
		return err
	}
	overlay, name, _, err := nameOf(leaf)
	if err != nil {
		return err
	}
	if overlay != id.Overlay {
		return fmt.Errorf("cannot accept the peer: it belongs to overlay %q, this node to %q", overlay, id.Overlay)
	}
	if peer != "" && name != peer {
		return fmt.Errorf("cannot accept the peer: it is node %q, not %q", name, peer)
	}
	return nil
}

// checkChain holds a leaf against roots, dates and key usage. Both usages are asked for, whoever dialled: links are
// dialled from either side.
func checkChain(leaf *x509.Certificate, opts x509.VerifyOptions) error {
	opts.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := leaf.Verify(opts); err != nil {
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

// PeerOf says who is at the other end of a connection that was set up with TLS or ServerTLS. It fails on a connection of a
// joining stranger.
func PeerOf(cs tls.ConnectionState) (name string, role Role, err error) {
	if len(cs.PeerCertificates) == 0 {
		return "", 0, errors.New("cannot name the peer: it showed no certificate")
	}
	_, name, role, err = nameOf(cs.PeerCertificates[0])
	return name, role, err
}
