package proxy

import (
	"net/netip"

	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// hint adds addresses that a client gave for a host to those it offers itself.
func (h *hub) hint(name overlay.Name, addrs []string) {
	to, ok := h.hosts[name]
	if !ok {
		return
	}
	for _, text := range addrs {
		if a, err := netip.ParseAddrPort(text); err == nil {
			to.hello.Candidates = append(to.hello.Candidates, a)
		}
	}
}

// Service is the Proxy as the API sees it: the node's own word for what the
// node has, the Proxy's for the overlay.
type Service struct {
	*Proxy
	beneath
}

// beneath puts the node's methods one step deeper, so that the Proxy's win.
type beneath struct{ *node.Node }

// Service is the Proxy as the API sees it.
func (p *Proxy) Service() Service { return Service{p, beneath{p.node}} }

// Name is the Proxy's node name.
func (s Service) Name() string { return string(s.Proxy.node.Name()) }
