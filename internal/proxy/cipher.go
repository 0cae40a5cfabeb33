package proxy

import (
	"context"
	"fmt"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// SetLinkCipher changes what seals the frames between two nodes: both ends are told, and a link that stands shakes hands
// anew. While only one end has heard, the link is sealed as before.
func (p *Proxy) SetLinkCipher(ctx context.Context, req *vnetv1.SetLinkCipherRequest) (*vnetv1.SetLinkCipherResponse, error) {
	if req.GetOneEnd() {
		return p.node.SetLinkCipher(ctx, req)
	}
	a, b := p.about(req.GetNode()), overlay.Name(req.GetPeer())
	want, err := link.ParseCipher(req.GetCipher())
	if err != nil {
		return nil, invalid("%w", err)
	}
	if a == b {
		return nil, invalid("cannot change the link of %s with itself: name two nodes", a)
	}
	err = p.change(ctx, fmt.Sprintf("sealing %s–%s with %v", a, b, want), func(_ *hub, o *overlay.Overlay) error {
		for _, name := range []overlay.Name{a, b} {
			if _, err := at(o, name); err != nil {
				return err
			}
		}
		if l, there := o.LinkBetween(a, b); there && l.Origin == overlay.OriginUser {
			l.Cipher = ""
			if want != link.AutoCipher {
				l.Cipher = want.String()
			}
			o.AddLink(l)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, end := range [][2]overlay.Name{{a, b}, {b, a}} {
		if err := p.seal(ctx, end[0], end[1], want); err != nil {
			return nil, fmt.Errorf("cannot tell %s, so the link of %s and %s is sealed as before; try again: %w", end[0], a, b, err)
		}
	}
	return p.sealed(ctx, a, b)
}

// seal tells one end.
func (p *Proxy) seal(ctx context.Context, at, peer overlay.Name, want link.Cipher) error {
	req := &vnetv1.SetLinkCipherRequest{Node: string(at), Peer: string(peer), Cipher: want.String(), OneEnd: true}
	if at == p.node.Name() {
		_, err := p.node.SetLinkCipher(ctx, req)
		return err
	}
	return p.fetch(ctx, at, "SetLinkCipher", req, &vnetv1.SetLinkCipherResponse{})
}

// sealed has the link shake hands anew, where there is one.
func (p *Proxy) sealed(ctx context.Context, a, b overlay.Name) (*vnetv1.SetLinkCipherResponse, error) {
	if was, err := p.linkAt(ctx, a, b); err != nil || was.GetLink().GetState() != vnetv1.LinkState_LINK_STATE_UP {
		return &vnetv1.SetLinkCipherResponse{}, nil
	}
	req, answer := &vnetv1.RekeyLinkRequest{Node: string(a), Peer: string(b)}, &vnetv1.RekeyLinkResponse{}
	var err error
	if a == p.node.Name() {
		answer, err = p.node.RekeyLink(ctx, req)
	} else {
		err = p.fetch(ctx, a, "RekeyLink", req, answer)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot give the link of %s and %s a new handshake now, it changes with the next: %w", a, b, err)
	}
	return &vnetv1.SetLinkCipherResponse{Link: answer.GetLink()}, nil
}
