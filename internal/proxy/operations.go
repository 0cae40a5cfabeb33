package proxy

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// change runs one edit of the overlay for a client and waits until its sources
// have flipped, or it failed.
func (p *Proxy) change(ctx context.Context, what string, edit func(*hub, *overlay.Overlay) error) error {
	outcome := make(chan error, 1)
	p.mail.leave(func(h *hub) {
		h.changes.submit(time.Now(), &request{
			what: what,
			edit: func(o *overlay.Overlay) error { return edit(h, o) },
			done: func(_ control.Result, err error) { outcome <- err },
		})
	})
	return p.await(ctx, outcome, what, "`vnet status`")
}

// await waits for the outcome of a change that was handed in, and until the record of it is on disk. look is where a client
// that gives up sees how it went on.
func (p *Proxy) await(ctx context.Context, outcome <-chan error, what, look string) error {
	select {
	case err := <-outcome:
		return p.saved(ctx, err)
	case <-p.ended:
		return errStopped
	case <-ctx.Done():
		return fmt.Errorf("cannot wait for %s: %w; it goes on, see %s", what, ctx.Err(), look)
	}
}

// at finds the node that a request is about.
func at(o *overlay.Overlay, name overlay.Name) (*overlay.Node, error) {
	if n, ok := o.Nodes[name]; ok {
		return n, nil
	}
	return nil, notFound("cannot find node %q: the overlay has %v", name, o.Names())
}

// AddRule adds a user's rule at a node.
func (p *Proxy) AddRule(ctx context.Context, req *vnetv1.AddRuleRequest) (*vnetv1.AddRuleResponse, error) {
	rule, err := ruleIn(req.GetRule())
	if err != nil {
		return nil, invalid("%w", err)
	}
	name := p.about(req.GetNode())
	var added overlay.Rule
	err = p.change(ctx, fmt.Sprintf("adding rule %q at %s", rule, name), func(h *hub, o *overlay.Overlay) error {
		rule.ID = h.nextID
		added = rule
		return addRule(o, name, rule)
	})
	if err != nil {
		return nil, err
	}
	return &vnetv1.AddRuleResponse{Rule: ruleOut(added)}, nil
}

// usable says whether the sides of a rule exist at its node, and if not, which do.
func usable(o *overlay.Overlay, n *overlay.Node, r overlay.Rule) error {
	for _, side := range []overlay.Side{r.Arrival, r.Out} {
		switch side.Kind {
		case overlay.PortSide:
			if !n.HasPort(side.Name) {
				return notFound("cannot use port %q: %s has %s", side.Name, n.Name, portNames(n))
			}
		case overlay.LinkSide:
			if side.Peer() == n.Name {
				return notFound("cannot use link %q: that is the node itself; it has links to %s", side.Name, peerNames(o, n.Name))
			}
			if _, ok := o.LinkBetween(n.Name, side.Peer()); !ok {
				return notFound("cannot use link %q: %s has links to %s; add one with `vnet link add %s --node %s`",
					side.Name, n.Name, peerNames(o, n.Name), side.Name, n.Name)
			}
		}
	}
	return nil
}

// peerNames lists those that a node has a link to.
func peerNames(o *overlay.Overlay, name overlay.Name) string {
	var names []string
	for _, p := range o.Peers(name) {
		names = append(names, string(p))
	}
	return cmp.Or(strings.Join(names, ", "), "nobody")
}

func portNames(n *overlay.Node) string {
	if len(n.Ports) == 0 {
		return "no ports"
	}
	text := "ports"
	for i, p := range n.Ports {
		if i > 0 {
			text += ","
		}
		text += " " + p.Name
	}
	return text
}

// DeleteRule removes a user's rule.
func (p *Proxy) DeleteRule(ctx context.Context, req *vnetv1.DeleteRuleRequest) (*vnetv1.DeleteRuleResponse, error) {
	name := p.about(req.GetNode())
	var was overlay.Rule
	err := p.change(ctx, fmt.Sprintf("deleting rule %d at %s", req.GetId(), name), func(_ *hub, o *overlay.Overlay) (err error) {
		was, err = deleteRule(o, name, req.GetId())
		return err
	})
	if err != nil {
		return nil, err
	}
	return &vnetv1.DeleteRuleResponse{Rule: ruleOut(was)}, nil
}

// AddLink opens a user's link between two nodes.
func (p *Proxy) AddLink(ctx context.Context, req *vnetv1.AddLinkRequest) (*vnetv1.AddLinkResponse, error) {
	a, b := p.about(req.GetNode()), overlay.Name(req.GetPeer())
	for _, text := range req.GetAddresses() {
		if _, err := netip.ParseAddrPort(text); err != nil {
			return nil, invalid("cannot use address %q: want IP:PORT", text)
		}
	}
	if _, err := link.ParseCipher(req.GetCipher()); err != nil {
		return nil, invalid("%w", err)
	}
	extra, err := link.ExtraPortCount(req.GetExtraPorts())
	if err != nil {
		return nil, invalid("%w", err)
	}
	edit := func(h *hub, o *overlay.Overlay) error {
		l := overlay.MakeLink(a, b, overlay.OriginUser)
		l.Carrier, l.Cipher, l.ExtraPorts = carrierText(req.GetCarrier()), req.GetCipher(), extra
		if err := addLink(o, l); err != nil {
			return err
		}
		h.hint(b, req.GetAddresses())
		return nil
	}
	if req.GetNoWait() {
		return p.addLinkLater(ctx, a, b, edit)
	}
	if err := p.change(ctx, fmt.Sprintf("adding link %s–%s", a, b), edit); err != nil {
		return nil, err
	}
	if err := p.ask(ctx, func(h *hub) { delete(h.failures, adapt.EndsOf(a, b)) }); err != nil {
		return nil, err
	}
	return p.linkAt(ctx, a, b)
}

// addLinkLater answers as soon as the request is accepted.
func (p *Proxy) addLinkLater(ctx context.Context, a, b overlay.Name, edit func(*hub, *overlay.Overlay) error) (*vnetv1.AddLinkResponse, error) {
	var refused error
	err := p.ask(ctx, func(h *hub) {
		if refused = edit(h, h.record.Clone()); refused == nil {
			h.changes.submit(time.Now(), &request{
				what: fmt.Sprintf("adding link %s–%s", a, b),
				edit: func(o *overlay.Overlay) error { return edit(h, o) },
			})
		}
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, err
	}
	return &vnetv1.AddLinkResponse{Link: &vnetv1.Link{
		Name: string(b), Kind: vnetv1.LinkKind_LINK_KIND_FAST, Origin: overlay.OriginUser.String(), State: vnetv1.LinkState_LINK_STATE_CONNECTING,
	}}, nil
}

// DeleteLink closes a fast path.
func (p *Proxy) DeleteLink(ctx context.Context, req *vnetv1.DeleteLinkRequest) (*vnetv1.DeleteLinkResponse, error) {
	a, b := p.about(req.GetNode()), overlay.Name(req.GetPeer())
	err := p.change(ctx, fmt.Sprintf("deleting link %s–%s", a, b), func(_ *hub, o *overlay.Overlay) error {
		return deleteLink(o, a, b, req.GetForce())
	})
	if err != nil {
		return nil, err
	}
	return &vnetv1.DeleteLinkResponse{}, nil
}

// removeLink takes the link out, and with force the rules that use it; adapted
// rules go with their link in any case.
func removeLink(o *overlay.Overlay, a, b overlay.Name, force bool) error {
	for _, end := range [][2]overlay.Name{{a, b}, {b, a}} {
		n := o.Nodes[end[0]]
		side := overlay.AtLink(end[1])
		uses := func(r overlay.Rule) bool { return r.Out == side || r.Arrival == side }
		for _, r := range n.Rules {
			if uses(r) && r.Origin == overlay.OriginUser && !force {
				return precondition("cannot delete link %s–%s: rule %d of %s uses it (%s); delete the rule first, or use --force", a, b, r.ID, n.Name, r)
			}
		}
		n.Rules = slices.DeleteFunc(n.Rules, uses)
	}
	o.RemoveLink(a, b)
	return nil
}

// about is the node a request speaks of: the Proxy itself when it names none.
func (p *Proxy) about(name string) overlay.Name {
	if name == "" {
		return p.node.Name()
	}
	return overlay.Name(name)
}

// linkAt asks the node itself for its end of a link.
func (p *Proxy) linkAt(ctx context.Context, a, b overlay.Name) (*vnetv1.AddLinkResponse, error) {
	list, err := p.linksOf(ctx, a)
	if err != nil {
		return nil, err
	}
	for _, l := range list {
		if l.GetName() == string(b) {
			return &vnetv1.AddLinkResponse{Link: l}, nil
		}
	}
	return nil, unavailable("cannot find link %s–%s at %s: it was removed again meanwhile", a, b, a)
}
