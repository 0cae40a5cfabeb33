// Package pki says who belongs to an overlay: its certificate authority, the identity of each node, the tokens by which a
// machine becomes a node, and the signed list of whom to believe no longer.
//
// It does not dial, listen, or keep anything on disk but keys: the rooms that do hand it connections and a [Shelf]. When a
// certificate is renewed, and who is told of a revocation, they decide.
package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Role is what a certificate lets its holder be. A host cannot pose as the Proxy: the role is part of the signed name.
type Role uint8

// The two roles a daemon can have, and the three of people and programs that ask the Proxy from afar: to look, to change the
// overlay, and to say who belongs to it. Each of the three may do what the one before it may.
const (
	RoleHost Role = iota + 1
	RoleProxy
	RoleRead
	RoleOperate
	RoleAdmin
)

// String gives the word used in the path of the identity: spiffe://overlay/node/NAME or spiffe://overlay/proxy/NAME.
func (r Role) String() string {
	switch r {
	case RoleHost:
		return "node"
	case RoleProxy:
		return "proxy"
	case RoleRead:
		return "read"
	case RoleOperate:
		return "operate"
	case RoleAdmin:
		return "admin"
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// Daemon says that the holder is a node; others may ask the API and nothing else.
func (r Role) Daemon() bool { return r == RoleHost || r == RoleProxy }

// ParseRole reads the word of a role.
func ParseRole(word string) (Role, error) {
	for r := RoleHost; r <= RoleAdmin; r++ {
		if r.String() == word {
			return r, nil
		}
	}
	return 0, fmt.Errorf("cannot use role %q: give read, operate or admin", word)
}

const (
	// CALife is long because replacing a CA means enrolling every node again.
	CALife = 10 * 365 * 24 * time.Hour
	// LeafLife is how long a node's certificate is good. Nodes renew it by themselves at two thirds of it, so the Proxy may
	// be away for eight hours before any certificate has less than a third left.
	LeafLife = 24 * time.Hour
	// StaleLife is what a node of 0.1.0 gets, which cannot renew: one season.
	StaleLife = 90 * 24 * time.Hour
	// Backdate lets a machine whose clock is behind by up to this much accept a fresh certificate.
	Backdate = time.Hour
	// ClockSkew is how far the clocks of two machines may differ without anybody minding: certificates are judged by dates
	// this much wider at either end.
	ClockSkew = time.Hour
	// Grace is how long after its end a certificate is still accepted, by peers that knew its holder, when no Proxy can be
	// reached to renew it.
	Grace = 7 * 24 * time.Hour
	// LateRenewal is how long after the end of its certificate a host may still come back to the Proxy by itself: the Proxy
	// knows every key it has let in, so an old date takes nothing from what the certificate proves.
	LateRenewal = 90 * 24 * time.Hour
)

// RenewAt is when a certificate that is good from notBefore (Backdate included) until notAfter is to be renewed: at two
// thirds of its life.
func RenewAt(notBefore, notAfter time.Time) time.Time {
	from := notBefore.Add(Backdate)
	return from.Add(notAfter.Sub(from) * 2 / 3)
}

// nodeURI is the identity of a node in the form of SPIFFE-ID §2.
func nodeURI(of, name string, role Role) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: of, Path: "/" + role.String() + "/" + name}
}

// nameOf reads the one identity a node's certificate carries: the overlay it is of, its name and role.
func nameOf(cert *x509.Certificate) (of, name string, role Role, err error) {
	if len(cert.URIs) != 1 {
		return "", "", 0, fmt.Errorf("cannot tell whose certificate this is: it carries %d URI names, not one", len(cert.URIs))
	}
	uri := cert.URIs[0]
	parts := strings.Split(uri.Path, "/")
	if uri.Scheme != "spiffe" || len(parts) != 3 || parts[0] != "" {
		return "", "", 0, fmt.Errorf("cannot tell whose certificate this is: %q is not spiffe://OVERLAY/node/NAME", uri)
	}
	if role, err = ParseRole(parts[1]); err != nil {
		return "", "", 0, fmt.Errorf("cannot tell the role of certificate %q", uri)
	}
	if err := errors.Join(overlay.ValidName(uri.Host), overlay.ValidName(parts[2])); err != nil {
		return "", "", 0, err
	}
	return uri.Host, parts[2], role, nil
}
