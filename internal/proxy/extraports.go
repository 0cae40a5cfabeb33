package proxy

import (
	"context"
	"fmt"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// SetLinkPorts changes from how many ports two nodes send to each other. Each end proves its own; no handshake is needed.
func (p *Proxy) SetLinkPorts(ctx context.Context, req *vnetv1.SetLinkPortsRequest) (*vnetv1.SetLinkPortsResponse, error) {
	if req.GetOneEnd() {
		return p.node.SetLinkPorts(ctx, req)
	}
	a, b := p.about(req.GetNode()), overlay.Name(req.GetPeer())
	want, err := link.ExtraPortCount(req.GetExtraPorts())
	if err != nil {
		return nil, invalid("%w", err)
	}
	if a == b {
		return nil, invalid("cannot change the link of %s with itself: name two nodes", a)
	}
	err = p.change(ctx, fmt.Sprintf("sending from %s between %s and %s", counted(int(want), "extra port"), a, b), func(_ *hub, o *overlay.Overlay) error {
		for _, name := range []overlay.Name{a, b} {
			if _, err := at(o, name); err != nil {
				return err
			}
		}
		if l, there := o.LinkBetween(a, b); there && l.Origin == overlay.OriginUser {
			l.ExtraPorts = want
			o.AddLink(l)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if _, err := p.widen(ctx, b, a, want); err != nil {
		return nil, fmt.Errorf("cannot tell %s, so neither end is changed; try again: %w", b, err)
	}
	answer, err := p.widen(ctx, a, b, want)
	if err != nil {
		return nil, fmt.Errorf("cannot tell %s, so only %s is changed; try again: %w", a, b, err)
	}
	return answer, nil
}

// widen tells one end.
func (p *Proxy) widen(ctx context.Context, at, peer overlay.Name, want int) (*vnetv1.SetLinkPortsResponse, error) {
	req := &vnetv1.SetLinkPortsRequest{Node: string(at), Peer: string(peer), ExtraPorts: uint32(want), OneEnd: true}
	if at == p.node.Name() {
		return p.node.SetLinkPorts(ctx, req)
	}
	answer := &vnetv1.SetLinkPortsResponse{}
	return answer, p.fetch(ctx, at, "SetLinkPorts", req, answer)
}
