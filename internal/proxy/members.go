package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

// gate checks tokens and registers members; pki signs.
func (p *Proxy) gate() pki.Gate {
	return pki.Gate{
		CA:    p.authority.joiningCA(),
		Time:  p.node.Wall,
		Check: func(a pki.Application) error { return p.ledger().Check(p.node.Wall(), a) },
		Admit: func(a pki.Application) (pki.Member, error) {
			if overlay.Name(a.Name) == p.node.Name() {
				return pki.Member{}, fmt.Errorf("%w: %q is the Proxy's own", pki.ErrName, a.Name)
			}
			if p.node.Trust().Refuses(a.Key) {
				return pki.Member{}, fmt.Errorf("%w: its key was revoked", pki.ErrToken)
			}
			m, replaced, err := p.ledger().Admit(p.node.Wall(), a)
			if err == nil && replaced != (pki.Key{}) {
				p.putOut() // the new one does not wait until everybody has heard of it
			}
			return m, err
		},
	}
}

// putOut revokes the keys of machines whose names others have taken over. The register knows of them since the moment the others
// were let in, so what fails here, or is not reached because the Proxy dies, is done later.
func (p *Proxy) putOut() {
	p.tasks.Go(func() {
		out, err := p.ledger().PutOut()
		if err == nil && len(out) == 0 {
			return
		}
		if err == nil {
			if _, err = p.revoke(p.ctx, out...); err == nil {
				err = p.ledger().Settle(out)
			}
		}
		if err != nil && p.ctx.Err() == nil {
			p.event("warning", fmt.Sprintf("cannot revoke the keys of machines that others have taken the place of: %v; it is tried again every %v", err, lookAtKeys), nil)
		}
	})
}

func (p *Proxy) ledger() pki.Ledger { return pki.Ledger{Shelf: p.cfg.Store} }

// joinTimeout bounds an enrolment: two small messages on any path.
const joinTimeout = 10 * time.Second

// Join serves a stranger that wants to become a host.
func (p *Proxy) Join(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(joinTimeout))
	m, err := pki.AnswerJoin(conn, p.gate())
	switch {
	case pki.AskedTime(err):
	case err != nil:
		p.cfg.Log.Warn("join refused", "from", conn.RemoteAddr().String(), "name", m.Name, "error", err)
		p.event("join.refused", fmt.Sprintf("%s asked to join and was refused", remoteHost(conn)), nil)
	case m.Waiting:
		p.event("join.waiting", fmt.Sprintf("%s at %s waits to be approved; its key is %v: vnet nodes approve %s", m.Name, remoteHost(conn), m.Key, m.Name), map[string]string{"node": m.Name})
	default:
		p.event("join", fmt.Sprintf("%s joined from %s", m.Name, remoteHost(conn)), map[string]string{"node": m.Name})
	}
}

// CreateToken makes a token for machines to join with.
func (p *Proxy) CreateToken(_ context.Context, req *vnetv1.CreateTokenRequest) (*vnetv1.CreateTokenResponse, error) {
	terms := pki.Terms{Uses: int(req.GetUses()), Name: req.GetName(), Approve: req.GetApprove(), TTL: pki.DefaultTokenTTL}
	if req.GetTtl() != nil {
		if terms.TTL = req.GetTtl().AsDuration(); terms.TTL <= 0 {
			return nil, invalid("cannot make a token that lives %v: give a duration above zero", terms.TTL)
		}
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
	t, err := p.ledger().Create(p.node.Wall(), p.authority.joiningCA(), addrs, terms)
	if err != nil {
		return nil, invalid("%w", err)
	}
	return &vnetv1.CreateTokenResponse{Token: t.String(), Expires: timestamppb.New(t.Expires), Id: t.ID}, nil
}

// ListTokens tells of tokens what is no secret.
func (p *Proxy) ListTokens(context.Context, *vnetv1.ListTokensRequest) (*vnetv1.ListTokensResponse, error) {
	now := p.node.Wall()
	if err := p.ledger().Prune(now); err != nil {
		return nil, err
	}
	list, err := p.ledger().Tokens()
	if err != nil {
		return nil, err
	}
	out := &vnetv1.ListTokensResponse{}
	for _, t := range list {
		one := &vnetv1.Token{Id: t.ID, Expires: timestamppb.New(t.Expires), Name: t.Name, Uses: uint32(t.Uses), UsedBy: t.UsedBy, Approve: t.Approve, Live: t.Live(now)}
		if !t.Made.IsZero() {
			one.Made = timestamppb.New(t.Made)
		}
		out.Tokens = append(out.Tokens, one)
	}
	return out, nil
}

// RevokeToken makes a token worth nothing.
func (p *Proxy) RevokeToken(_ context.Context, req *vnetv1.RevokeTokenRequest) (*vnetv1.RevokeTokenResponse, error) {
	if err := p.ledger().RevokeToken(req.GetId()); err != nil {
		return nil, memberError(err)
	}
	return &vnetv1.RevokeTokenResponse{}, nil
}

// ApproveNode lets a machine in that waits.
func (p *Proxy) ApproveNode(_ context.Context, req *vnetv1.ApproveNodeRequest) (*vnetv1.ApproveNodeResponse, error) {
	m, known, err := p.ledger().Member(req.GetName())
	switch {
	case err != nil:
		return nil, err
	case !known:
		return nil, notFound("cannot approve %q: no machine of this name has asked to join; `vnet nodes fingerprint` lists those that wait", req.GetName())
	case req.GetKey() != "" && req.GetKey() != m.Key.String():
		return nil, precondition("cannot approve %s: its key is %v, not %s", m.Name, m.Key, req.GetKey())
	}
	if m, err = p.ledger().Approve(m.Name); err != nil {
		return nil, memberError(err)
	}
	p.putOut() // the machine that had the name before, if there was one
	p.event("join.approved", fmt.Sprintf("%s is let in", m.Name), map[string]string{"node": m.Name})
	return &vnetv1.ApproveNodeResponse{Key: keyOut(m)}, nil
}

func keyOut(m pki.Member) *vnetv1.NodeKey {
	out := &vnetv1.NodeKey{Node: m.Name, How: "joined"}
	if m.Waiting {
		out.How = "waiting"
	}
	if m.Key != (pki.Key{}) {
		out.Key = m.Key.String()
	}
	if !m.Joined.IsZero() {
		out.Joined = timestamppb.New(m.Joined)
	}
	if !m.Expires.IsZero() {
		out.Expires = timestamppb.New(m.Expires)
	}
	return out
}

// ListKeys lists the key of every node that has joined.
func (p *Proxy) ListKeys(ctx context.Context, req *vnetv1.ListKeysRequest) (*vnetv1.ListKeysResponse, error) {
	out, err := p.node.ListKeys(ctx, req)
	if err != nil {
		return nil, err
	}
	members, err := p.ledger().Members()
	for _, m := range members {
		out.Keys = append(out.Keys, keyOut(m))
	}
	return out, err
}

// memberError gives an error of the ledger its code.
func memberError(err error) error {
	if errors.Is(err, pki.ErrNoMember) || errors.Is(err, pki.ErrNoToken) {
		return notFound("%w", err)
	}
	return err
}

// expel takes a node that is out for good from the overlay: its links, the rules
// over them, and the places of its VMs.
func (p *Proxy) expel(ctx context.Context, name overlay.Name) error {
	gone := func(h *hub) { // its link is cut, but the hub may not have heard
		if at, ok := h.hosts[name]; ok && at.session != nil {
			h.detached(name, at.session)
		}
	}
	if err := p.ask(ctx, gone); err != nil {
		return err
	}
	err := p.strike(ctx, name)
	forget := func(h *hub) {
		h.spread(h.places.Forget(name))
		delete(h.record.Nodes, name)
		delete(h.hosts, name)
		for ends := range h.failures {
			if ends.A == name || ends.B == name {
				delete(h.failures, ends)
			}
		}
		h.save()
	}
	return errors.Join(err, p.ask(ctx, forget))
}

// strike carries the change out at the nodes that are there; it returns when they have flipped.
func (p *Proxy) strike(ctx context.Context, name overlay.Name) error {
	outcome := make(chan error, 1)
	p.mail.leave(func(h *hub) {
		h.changes.submit(time.Now(), &request{
			what: "taking out " + string(name), present: true,
			edit: func(o *overlay.Overlay) error { return strike(o, name) },
			done: func(_ control.Result, err error) { outcome <- err },
		})
	})
	return p.await(ctx, outcome, "taking out "+string(name), "`vnet nodes`")
}

// strike takes what leads to a node out of a target.
func strike(o *overlay.Overlay, name overlay.Name) error {
	for _, peer := range o.Peers(name) {
		if !o.IsStar(name, peer) {
			if err := removeLink(o, name, peer, true); err != nil {
				return err
			}
		}
	}
	for _, n := range o.Nodes {
		n.Rules = slices.DeleteFunc(n.Rules, func(r overlay.Rule) bool {
			return r.Out.Kind == overlay.LinkSide && r.Out.Peer() == name || r.Arrival.Kind == overlay.LinkSide && r.Arrival.Peer() == name
		})
	}
	return nil
}

// seen registers the key of a host that has joined under 0.1.0, or was issued
// its certificate elsewhere.
func (p *Proxy) seen(peer overlay.Name, l *link.Link) {
	key := l.Key()
	p.tasks.Go(func() {
		m, known, err := p.ledger().Member(string(peer))
		if err == nil && (!known || m.Key == pki.Key{}) && !p.node.Trust().Refuses(key) {
			err = p.ledger().Seen(p.node.Wall(), string(peer), key, m.Expires)
		}
		if err != nil {
			p.cfg.Log.Warn("key not registered", "node", peer, "error", err)
		}
	})
}

// personal answers calls whose answer depends on who asks.
func (p *Proxy) personal(from overlay.Name, c control.Call) (a control.Answer, ok bool) {
	switch c.Method {
	case node.MethodRenew:
		a = p.certify(from, c.Body)
	case node.MethodLeave:
		p.tasks.Go(func() { p.left(from) }) // the answer is out before the link is cut
	default:
		return a, false
	}
	a.ID = c.ID
	return a, true
}

// Empty says that no machine has joined yet.
func (p *Proxy) Empty() (bool, error) {
	members, err := p.ledger().Members()
	return !slices.ContainsFunc(members, func(m pki.Member) bool { return !strings.HasPrefix(m.Name, clientPrefix) }), err
}
