package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

// gate checks tokens; pki signs.
func (p *Proxy) gate() pki.Gate {
	return pki.Gate{
		CA: p.cfg.CA,
		Redeem: func(id string, secret []byte, name string) error {
			if overlay.Name(name) == p.node.Name() {
				return fmt.Errorf("cannot use the name %q: it is the Proxy's own: %w", name, pki.ErrName)
			}
			return p.ledger().Redeem(time.Now(), id, secret, name)
		},
	}
}

func (p *Proxy) ledger() pki.Ledger { return pki.Ledger{Shelf: p.cfg.Store} }

// CreateToken makes a one-time token for a machine to join with.
func (p *Proxy) CreateToken(_ context.Context, req *vnetv1.CreateTokenRequest) (*vnetv1.CreateTokenResponse, error) {
	ttl := pki.DefaultTokenTTL
	if req.GetTtl() != nil {
		ttl = req.GetTtl().AsDuration()
	}
	addrs := req.GetAddresses()
	if len(addrs) == 0 {
		for _, a := range p.node.Candidates() {
			addrs = append(addrs, a.String())
		}
	}
	if len(addrs) == 0 {
		return nil, precondition("cannot make a token: the Proxy knows no address of its own that a host could reach; name one with --address HOST:PORT")
	}
	now := time.Now()
	t, err := p.ledger().Create(now, ttl, p.cfg.CA, addrs, req.GetName())
	if err != nil {
		return nil, invalid("%w", err)
	}
	return &vnetv1.CreateTokenResponse{Token: t.String(), Expires: timestamppb.New(now.Add(ttl))}, nil
}

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
