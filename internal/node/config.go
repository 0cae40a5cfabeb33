package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// Version is what this program calls itself in status and between nodes.
const Version = "0.1.0"

// Config is what a node needs to run. Identity, Net and Store are required.
type Config struct {
	Identity  *pki.Identity                                                        // who we are, and whom we trust
	Net       link.Net                                                             // the door to the underlay
	Listen    netip.AddrPort                                                       // UDP and TCP; port 0 takes a free one
	Sockets   int                                                                  // UDP sockets that share the port; 0 means 1
	Ports     []port.Port                                                          // closed by Run when it ends
	Proxy     []string                                                             // host:port where the Proxy may be; empty at the Proxy itself
	ProxyName string                                                               // the Proxy's node name; unused at the Proxy itself
	Serve     func(ctx context.Context, method string, body []byte) control.Answer // answers calls of other daemons; may be nil
	Carrier   link.Carrier                                                         // wish for the star link; zero is automatic
	Store     *store.Store                                                         // durable cache of rules, links and directory
	Hub       Hub                                                                  // the Proxy's side, nil at a host
	Log       *slog.Logger                                                         // nil is silence
	Boot      uint64                                                               // start of this daemon in microseconds since 1970
	Advertise []netip.AddrPort                                                     // further addresses to offer to peers
	Renewed   func(*pki.Identity) error                                            // keeps a renewed certificate; nil keeps it in memory only
	Left      func()                                                               // called when the node has left the overlay; ends the daemon
	Clients   func(conn *tls.Conn)                                                 // takes clients of the API from afar; nil refuses them; the Proxy's only
	Off       []string                                                             // offloads that are not to be used, as in ParseOffload
	Sealed    bool                                                                 // no frame for a guest elsewhere leaves unsealed, and none is taken; the Proxy cannot change that
	ClampMSS  uint16                                                               // largest segment that a guest's TCP connection may announce, in bytes of payload; 0 leaves it as it is
	Uncounted bool                                                                 // no traffic is counted, so none inferred: to measure what counting costs
	Imagined  *vttif.Counter                                                       // reported with what the workers count: traffic that a simulation moves in a model, see Ways
}

// Hub is what a Proxy adds to the node it runs on: it hears every host and the
// node itself. Its methods are called from several goroutines.
type Hub interface {
	// Attached says that a host's control stream over l is open; send answers on it.
	Attached(peer overlay.Name, l *link.Link, hello control.Hello)
	// Detached says that l has ended.
	Detached(peer overlay.Name, l *link.Link)
	// Heard hands over any later message of a host, or of the node itself.
	Heard(peer overlay.Name, message any)
	// Join serves a stranger that wants to become a node.
	Join(conn net.Conn)
}

func (c *Config) validate() error {
	switch {
	case c.Identity == nil:
		return errors.New("cannot start a node without an identity; run `vnet join TOKEN` first")
	case c.Net == nil:
		return errors.New("cannot start a node without a network")
	case c.Store == nil:
		return errors.New("cannot start a node without a store")
	case c.Hub == nil && len(c.Proxy) == 0:
		return errors.New("cannot start a host without the address of its Proxy; join again, or name it with --proxy ADDR")
	}
	for _, name := range c.Off {
		if _, err := ParseOffload(name); err != nil {
			return err
		}
	}
	names := map[string]bool{}
	for _, p := range c.Ports {
		if names[p.Name()] {
			return fmt.Errorf("cannot use two ports called %q; give each a name of its own", p.Name())
		}
		names[p.Name()] = true
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Sockets = max(c.Sockets, 1)
	return nil
}
