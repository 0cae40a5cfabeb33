package proxy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

const (
	// auditDelay is how long after a doubt the nodes are asked: several hosts that come back together are put right in one change.
	auditDelay = 100 * time.Millisecond
	// auditCap is the longest wait before what could not be put right is tried again.
	auditCap = 10 * time.Second
	// auditTimeout bounds one question: an answer takes a round trip, more on a busy path.
	auditTimeout = 3 * time.Second
	// auditPatience is how long what is too much stays while a host that has a link with one of those asked is not here itself:
	// it may be sending what the others would drop.
	auditPatience = 10 * time.Second
	auditAgain    = time.Second
)

// audit asks the nodes what they hold, whenever that may differ from the
// record: a host came back, a change ended half-way, a VM moved while a change
// was under way. What is beyond the record goes, what is missing comes, in a
// change like any other. The hub owns it.
type audit struct {
	due    time.Time // zero: no doubt
	asking bool
	wait   time.Duration // after an attempt that did not help; zero at first
	since  time.Time     // of the first doubt that is not settled
}

// doubt has the nodes asked soon.
func (h *hub) doubt(now time.Time) {
	if h.audit.since.IsZero() {
		h.audit.since = now
	}
	if due := now.Add(auditDelay + h.audit.wait); h.audit.due.IsZero() || due.Before(h.audit.due) {
		h.audit.due = due
	}
}

// audited tells whether nothing is in doubt: only then does adaptation plan.
func (h *hub) audited() bool { return h.audit.due.IsZero() && !h.audit.asking }

// differs tells whether a host that is here holds anything but what the record says.
func (h *hub) differs(peer overlay.Name, hello control.Hello) bool {
	have := holding(h.record, map[overlay.Name]control.Hello{peer: hello})
	for _, l := range h.record.Links {
		if (l.A == peer || l.B == peer) && !lists(hello, l.Other(peer)) {
			return true
		}
	}
	return len(overlay.Diff(have, h.record)) > 0
}

// lists tells whether a node has a link to a peer, or tries to.
func lists(hello control.Hello, peer overlay.Name) bool {
	return slices.ContainsFunc(hello.Links, func(l control.LinkInfo) bool { return l.Peer == peer })
}

// tickAudit asks all nodes at once when no change is under way.
func (h *hub) tickAudit(now time.Time) {
	if h.audit.asking || h.audit.due.IsZero() || now.Before(h.audit.due) || !h.changes.quiet() {
		return
	}
	h.audit.due, h.audit.asking = time.Time{}, true
	var hosts []overlay.Name
	for name := range h.record.Nodes {
		if h.present(name) && name != h.record.Proxy {
			hosts = append(hosts, name)
		}
	}
	seen := h.changes.lastID
	h.calls.Go(func() {
		held := h.p.holdings(h.ctx, hosts)
		h.p.mail.leave(func(h *hub) { h.compare(time.Now(), held, len(hosts), seen) })
	})
}

// holdings asks hosts, and the Proxy's own node, what they hold. Who does not answer is left out.
func (p *Proxy) holdings(ctx context.Context, hosts []overlay.Name) map[overlay.Name]control.Hello {
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	held := map[overlay.Name]control.Hello{p.node.Name(): p.node.Holds()}
	var mu sync.Mutex // guards held
	var all sync.WaitGroup
	for _, name := range hosts {
		all.Go(func() {
			hello, err := p.holding(ctx, name)
			if err != nil {
				p.cfg.Log.Debug("no answer about what a node holds", "node", name, "error", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			held[name] = hello
		})
	}
	all.Wait()
	return held
}

func (p *Proxy) holding(ctx context.Context, name overlay.Name) (control.Hello, error) {
	a, err := p.node.Call(ctx, name, node.MethodHello, nil)
	if err != nil {
		return control.Hello{}, err
	}
	message, err := node.Decode(a.Body)
	if err != nil {
		return control.Hello{}, err
	}
	hello, ok := message.(control.Hello)
	if !ok {
		return control.Hello{}, fmt.Errorf("cannot use what %s answered: %s", name, a.Error)
	}
	return hello, nil
}

// compare submits the change that puts right what differs.
func (h *hub) compare(now time.Time, held map[overlay.Name]control.Hello, asked int, seen uint64) {
	h.audit.asking = false
	if h.changes.lastID != seen || !h.changes.quiet() { // the answers may be from before or after a change
		h.doubt(now)
		return
	}
	if len(held) <= asked { // somebody did not answer
		h.audit.wait = min(max(2*h.audit.wait, auditDelay), auditCap)
		h.doubt(now)
	}
	h.align(held)
	have := holding(h.record, held)
	steps := overlay.Diff(have, h.record)
	if len(steps) == 0 {
		if h.audit.due.IsZero() {
			h.audit.wait, h.audit.since = 0, time.Time{}
		}
		return
	}
	if takes(steps) && h.awaited(held) && now.Sub(h.audit.since) < auditPatience {
		if h.audit.due.IsZero() {
			h.audit.due = now.Add(auditAgain) // or as soon as it is back
		}
		return
	}
	h.audit.wait = min(max(2*h.audit.wait, auditDelay), auditCap)
	h.changes.submit(now, &request{
		what: fmt.Sprintf("bringing %s in line with the record", whose(steps)), from: have, present: true,
		done: func(_ control.Result, err error) {
			if err != nil {
				h.doubt(time.Now())
			} else if h.audit.due.IsZero() {
				h.audit.since = time.Time{}
			}
		},
	})
}

// takes tells whether a step takes something away.
func takes(steps []overlay.Step) bool {
	return slices.ContainsFunc(steps, func(s overlay.Step) bool { return s.Kind == overlay.CloseLink || s.Kind == overlay.DeleteRule })
}

// awaited tells whether a host of the record that was not heard lives all the same: one that was heard has a link with it that
// is up.
func (h *hub) awaited(held map[overlay.Name]control.Hello) bool {
	for _, hello := range held {
		for _, l := range hello.Links {
			_, heard := held[l.Peer]
			if _, exists := h.record.Nodes[l.Peer]; exists && l.Up && !heard {
				return true
			}
		}
	}
	return false
}

// whose names the nodes that steps are about.
func whose(steps []overlay.Step) string {
	set := map[string]bool{}
	for _, s := range steps {
		for _, name := range []overlay.Name{s.Node, s.Link.A, s.Link.B} {
			if name != "" {
				set[string(name)] = true
			}
		}
	}
	var names []string
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// align makes numbers agree: a node may hold a rule of the record under
// another number, from a change that the Proxy did not live to write down, and
// is then right; or another rule under the same number, and the record's rule gets a new one.
func (h *hub) align(held map[overlay.Name]control.Hello) {
	changed := false
	for name, hello := range held {
		n, ok := h.record.Nodes[name]
		if !ok {
			continue
		}
		have := holdsOf(hello.Rules)
		for i := range n.Rules {
			changed = h.alignRule(&n.Rules[i], have) || changed
		}
	}
	if changed {
		h.save()
	}
}

// holds is what a node holds, found by number and by what a rule does.
type holds struct {
	byID map[uint64]overlay.Rule
	same map[overlay.Rule]uint64
}

func holdsOf(rules []overlay.Rule) holds {
	have := holds{map[uint64]overlay.Rule{}, map[overlay.Rule]uint64{}}
	for _, r := range rules {
		have.byID[r.ID] = r
		have.same[unnumbered(r)] = r.ID
	}
	return have
}

func (h *hub) alignRule(r *overlay.Rule, have holds) bool {
	other, taken := have.byID[r.ID]
	twin, there := have.same[unnumbered(*r)]
	switch {
	case taken && other.SameAs(*r):
		return false
	case there:
		r.ID = twin
	case taken:
		r.ID = h.newID()
	default:
		return false
	}
	return true
}

// holding is the overlay as the nodes hold it. Of nodes that were not heard it
// is taken that they hold what the record says: they are compared when they are back.
func holding(record *overlay.Overlay, held map[overlay.Name]control.Hello) *overlay.Overlay {
	have := record.Clone()
	for name, hello := range held {
		if n, ok := have.Nodes[name]; ok {
			n.Rules = append(known(n.Rules, hello.Rules), impossible(n)...)
		}
	}
	wants := func(name, peer overlay.Name) bool {
		hello, heard := held[name]
		return !heard || lists(hello, peer)
	}
	have.Links = slices.DeleteFunc(have.Links, func(l overlay.Link) bool {
		_, a := held[l.A]
		_, b := held[l.B]
		return a && b && (!wants(l.A, l.B) || !wants(l.B, l.A)) // both are needed to open it
	})
	for name, hello := range held {
		for _, l := range hello.Links {
			_, inRecord := record.LinkBetween(name, l.Peer)
			if _, exists := have.Nodes[l.Peer]; exists && !inRecord {
				have.AddLink(overlay.MakeLink(name, l.Peer, l.Origin))
			}
		}
	}
	return have
}

// impossible are the rules of the record that name a port which the node came
// back without. They wait for the port.
func impossible(n *overlay.Node) []overlay.Rule {
	lacks := func(s overlay.Side) bool { return s.Kind == overlay.PortSide && !n.HasPort(s.Name) }
	var list []overlay.Rule
	for _, r := range n.Rules {
		if lacks(r.Arrival) || lacks(r.Out) {
			list = append(list, r)
		}
	}
	return list
}

// known are the rules that a node holds, those of the record first: of two
// that do the same, the other one goes.
func known(record, held []overlay.Rule) []overlay.Rule {
	ours := make(map[uint64]bool, len(record))
	for _, r := range record {
		ours[r.ID] = true
	}
	var first, rest []overlay.Rule
	for _, r := range held {
		if ours[r.ID] {
			first = append(first, r)
		} else {
			rest = append(rest, r)
		}
	}
	return append(first, rest...)
}
