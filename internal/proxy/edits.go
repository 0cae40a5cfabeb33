package proxy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// edit is many primitives that become one change.
type edit struct {
	addLinks    []overlay.Link
	deleteLinks []overlay.Link
	addRules    []placedRule
	deleteRules []placedRule // by their ids
	force       bool
}

type placedRule struct {
	node overlay.Name
	rule overlay.Rule
}

// ApplyChange carries out many additions and deletions as one change of three stages.
func (p *Proxy) ApplyChange(ctx context.Context, req *vnetv1.ApplyChangeRequest) (*vnetv1.ApplyChangeResponse, error) {
	e, err := editIn(req)
	if err != nil {
		return nil, err
	}
	what := req.GetWhat()
	if what == "" {
		what = e.String()
	}
	out := &vnetv1.ApplyChangeResponse{}
	outcome := make(chan error, 1)
	p.mail.leave(func(h *hub) {
		h.changes.submit(time.Now(), &request{
			what: what,
			edit: e.apply,
			done: func(r control.Result, err error) {
				out.Took, out.Rules = durationpb.New(r.Commit), e.added(h.record)
				outcome <- err
			},
		})
	})
	if err := p.await(ctx, outcome, what, "`vnet status`"); err != nil {
		return nil, err
	}
	return out, nil
}

// editIn reads the request whole before anything is done.
func editIn(req *vnetv1.ApplyChangeRequest) (*edit, error) {
	e := &edit{force: req.GetForce()}
	for _, l := range req.GetAddLinks() {
		if l.GetA() == l.GetB() {
			return nil, invalid("cannot link %q with itself: name two nodes", l.GetA())
		}
		one := overlay.MakeLink(overlay.Name(l.GetA()), overlay.Name(l.GetB()), overlay.OriginUser)
		if _, err := link.ParseCipher(l.GetCipher()); err != nil {
			return nil, invalid("%w", err)
		}
		extra, err := link.ExtraPortCount(l.GetExtraPorts())
		if err != nil {
			return nil, invalid("%w", err)
		}
		one.Carrier, one.Cipher, one.ExtraPorts = carrierText(l.GetCarrier()), l.GetCipher(), extra
		e.addLinks = append(e.addLinks, one)
	}
	for _, l := range req.GetDeleteLinks() {
		e.deleteLinks = append(e.deleteLinks, overlay.MakeLink(overlay.Name(l.GetA()), overlay.Name(l.GetB()), overlay.OriginUser))
	}
	for _, r := range req.GetAddRules() {
		rule, err := ruleIn(r.GetRule())
		if err != nil {
			return nil, invalid("%w", err)
		}
		e.addRules = append(e.addRules, placedRule{overlay.Name(r.GetNode()), rule})
	}
	for _, r := range req.GetDeleteRules() {
		e.deleteRules = append(e.deleteRules, placedRule{overlay.Name(r.GetNode()), overlay.Rule{ID: r.GetRule().GetId()}})
	}
	return e, nil
}

// String is a count of what it does.
func (e *edit) String() string {
	return fmt.Sprintf("adding %d links and %d rules, deleting %d and %d", len(e.addLinks), len(e.addRules), len(e.deleteLinks), len(e.deleteRules))
}

// apply makes the target: all of it, or an error.
func (e *edit) apply(o *overlay.Overlay) error {
	for _, r := range e.deleteRules {
		if _, err := deleteRule(o, r.node, r.rule.ID); err != nil {
			return err
		}
	}
	for _, l := range e.deleteLinks {
		if err := deleteLink(o, l.A, l.B, e.force); err != nil {
			return err
		}
	}
	for _, l := range e.addLinks {
		if err := addLink(o, l); err != nil {
			return err
		}
	}
	for _, r := range e.addRules {
		if err := addRule(o, r.node, r.rule); err != nil {
			return err
		}
	}
	return nil
}

// added are the rules of the edit as the record has them, with their ids.
func (e *edit) added(o *overlay.Overlay) (list []*vnetv1.RuleEdit) {
	for _, r := range e.addRules {
		n, ok := o.Nodes[r.node]
		if !ok {
			continue
		}
		if i := slices.IndexFunc(n.Rules, r.rule.SameAs); i >= 0 {
			list = append(list, &vnetv1.RuleEdit{Node: string(r.node), Rule: ruleOut(n.Rules[i])})
		}
	}
	return list
}

// addRule puts a user's rule into the target; it is numbered when the change starts.
func addRule(o *overlay.Overlay, name overlay.Name, rule overlay.Rule) error {
	n, err := at(o, name)
	if err != nil {
		return err
	}
	if err := usable(o, n, rule); err != nil {
		return err
	}
	if slices.ContainsFunc(n.Rules, rule.SameAs) {
		return exists("cannot add rule %q at %s: it is there already", rule, name)
	}
	n.Rules = append(n.Rules, rule)
	return nil
}

// deleteRule takes a rule out of the target and returns what it was.
func deleteRule(o *overlay.Overlay, name overlay.Name, id uint64) (overlay.Rule, error) {
	if _, err := at(o, name); err != nil {
		return overlay.Rule{}, err
	}
	was, ok := o.RemoveRule(name, id)
	if !ok {
		return was, notFound("cannot delete rule %d: %s has no such rule of origin user or adapted; learned rules come and go by themselves", id, name)
	}
	return was, nil
}

// addLink puts a user's link into the target; one that adaptation made becomes the user's.
func addLink(o *overlay.Overlay, l overlay.Link) error {
	if l.A == l.B {
		return invalid("cannot link %s with itself: name two nodes", l.A)
	}
	for _, name := range []overlay.Name{l.A, l.B} {
		if _, err := at(o, name); err != nil {
			return err
		}
	}
	if was, ok := o.LinkBetween(l.A, l.B); ok && was.Origin != overlay.OriginAdapted {
		return exists("cannot add link %s–%s: it is there already, of origin %s", l.A, l.B, was.Origin)
	}
	o.AddLink(l)
	return nil
}

// deleteLink takes a fast path out of the target.
func deleteLink(o *overlay.Overlay, a, b overlay.Name, force bool) error {
	if o.IsStar(a, b) {
		return precondition("cannot delete link %s–%s: the star stays, whatever happens", a, b)
	}
	if _, ok := o.LinkBetween(a, b); !ok {
		return notFound("cannot delete link %s–%s: there is none; %s has links to %s", a, b, a, peerNames(o, a))
	}
	return removeLink(o, a, b, force)
}
