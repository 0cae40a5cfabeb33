// Package pki says who belongs to an overlay: its certificate authority, the identity of each node, and the one-time
// tokens by which a machine becomes a node.
//
// It does not dial, listen, or keep tokens on disk: the rooms that do hand it connections and a [Shelf]. It does not
// renew or revoke certificates yet.
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

// The two roles a daemon can have.
const (
	RoleHost Role = iota + 1
	RoleProxy
)

// String gives the word used in the path of the identity: spiffe://overlay/node/NAME or spiffe://overlay/proxy/NAME.
func (r Role) String() string {
	switch r {
	case RoleHost:
		return "node"
	case RoleProxy:
		return "proxy"
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

const (
	// CALife is long because replacing a CA means enrolling every node again.
	CALife = 10 * 365 * 24 * time.Hour
	// LeafLife is how long a node's certificate is good: one season, until certificates renew themselves.
	LeafLife = 90 * 24 * time.Hour
	// Backdate lets a machine whose clock is behind by up to this much accept a fresh certificate.
	Backdate = time.Hour
)

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
	switch parts[1] {
	case RoleHost.String():
		role = RoleHost
	case RoleProxy.String():
		role = RoleProxy
	default:
		return "", "", 0, fmt.Errorf("cannot tell the role of certificate %q: neither node nor proxy", uri)
	}
	if err := errors.Join(overlay.ValidName(uri.Host), overlay.ValidName(parts[2])); err != nil {
		return "", "", 0, err
	}
	return uri.Host, parts[2], role, nil
}
