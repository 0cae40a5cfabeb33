package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

const (
	// firstBar is how long a link that could not be made is left alone; it doubles up to lastBar.
	firstBar = 5 * time.Second
	lastBar  = 5 * time.Minute
)

// failure is a link that could not be made.
type failure struct {
	wait  time.Duration
	until time.Time
}

// pastChange is a change that was made or tried, for `vnet adapt`.
type pastChange struct {
	id       uint64
	what     string
	proposal *adapt.Proposal
	started  time.Time
	commit   time.Duration
	result   control.Result
	outcome  string // committed, failed
}

// adapt asks the policy what to do about the topology, and does it or shows it.
func (h *hub) adapt(now time.Time) {
	proposal, ok := h.policy.Step(now, h.view(now))
	if !ok {
		h.proposal = nil
		return
	}
	if h.proposal == nil || h.proposal.ID != proposal.ID {
		h.proposed = now
	}
	h.proposal = &proposal
	if h.settings.Mode != adapt.Auto || now.Before(h.restUntil) {
		return
	}
	target, moves, generation := proposal.Target, h.moves, h.record.Generation
	h.changes.submit(now, &request{
		what:     proposal.Reason,
		proposal: &proposal,
		edit: func(o *overlay.Overlay) error {
			if h.moves != moves || o.Generation != generation {
				return errors.New("cannot adapt as planned: the overlay has changed meanwhile; it is planned again")
			}
			*o = *target.Clone()
			return nil
		},
		done: func(_ control.Result, err error) { h.adapted(proposal, err) },
	})
}

// view is what the policy sees.
func (h *hub) view(now time.Time) adapt.View {
	v := adapt.View{
		Topology: h.topology, Overlay: h.record, Bound: h.bound.Value().Value, Failed: h.barred(), Away: h.away(), Will: h.will,
	}
	if h.policy.Policy().Matrix {
		v.Matrix = h.infer.Matrix(now)
	}
	return v
}

// adapted tells of every step, with its reason.
func (h *hub) adapted(p adapt.Proposal, err error) {
	if cycles := new(overlay.CycleError); errors.As(err, &cycles) {
		h.forbidden(time.Now(), p)
	}
	for _, s := range p.Steps {
		kind := "adapt." + strings.ReplaceAll(s.Kind.String(), " ", "_")
		if err != nil {
			kind = "adapt.failed"
		}
		h.p.event(kind, fmt.Sprintf("%s %s: %s", s.Kind, s.What, s.Reason), map[string]string{"what": s.What, "reason": s.Reason})
	}
}

// forbidden leaves alone for a while what the user's rules do not allow: the
// links that the proposal wanted, or all of it when it wanted none.
func (h *hub) forbidden(now time.Time, p adapt.Proposal) {
	h.restUntil = now.Add(firstBar)
	for _, l := range p.Target.Links {
		if _, ok := h.record.LinkBetween(l.A, l.B); !ok {
			h.bar(now, [2]overlay.Name{l.A, l.B})
			h.restUntil = time.Time{}
		}
	}
}

// away are the nodes whose control stream is gone: adaptation leaves their part as it is.
func (h *hub) away() map[overlay.Name]bool {
	out := map[overlay.Name]bool{}
	for name := range h.record.Nodes {
		if at, ok := h.hosts[name]; name != h.record.Proxy && (!ok || at.session == nil) {
			out[name] = true
		}
	}
	return out
}

func (h *hub) barred() map[adapt.Ends]time.Time {
	out := map[adapt.Ends]time.Time{}
	for ends, f := range h.failures {
		out[ends] = f.until
	}
	return out
}

// bar leaves a link that could not be made alone for a while.
func (h *hub) bar(now time.Time, pair [2]overlay.Name) {
	ends := adapt.EndsOf(pair[0], pair[1])
	f := h.failures[ends]
	f.wait = min(max(2*f.wait, firstBar), lastBar)
	f.until = now.Add(f.wait)
	h.failures[ends] = f
}

// remember keeps a committed change for the history.
func (h *hub) remember(now time.Time, r *request, c control.Committed) {
	if r.timing {
		return
	}
	if r.proposal != nil {
		for _, l := range r.target.Links {
			delete(h.failures, adapt.EndsOf(l.A, l.B))
		}
	}
	h.history = append(h.history, pastChange{
		id: c.Change, what: r.what, proposal: r.proposal, started: r.started, commit: c.Took, outcome: "committed",
	})
	h.history = h.history[max(0, len(h.history)-historyKept):]
}

// recordStages adds how long each stage took, once all is over.
func (h *hub) recordStages(r *request, result control.Result) {
	if r.timing {
		return
	}
	i := slices.IndexFunc(h.history, func(p pastChange) bool { return p.id == result.Change })
	if i < 0 {
		h.history = append(h.history, pastChange{
			id: result.Change, what: r.what, proposal: r.proposal, started: r.started, outcome: "failed",
		})
		h.history = h.history[max(0, len(h.history)-historyKept):]
		i = len(h.history) - 1
	}
	h.history[i].result = result
}

// announceTopology tells what was inferred.
func (h *hub) announceTopology() {
	var parts []string
	for _, g := range h.topology.Groups {
		parts = append(parts, fmt.Sprintf("%s of %d (%d edges)", g.Name, len(g.VMs), len(g.Edges)))
	}
	text := "no application topology"
	if len(parts) > 0 {
		text = "inferred " + strings.Join(parts, " and ")
	}
	h.p.event("topology", text, map[string]string{"version": fmt.Sprint(h.topology.Version), "edges": fmt.Sprint(len(h.topology.Edges))})
}

// title is what people call a MAC.
func (h *hub) title(mac ether.MAC) string {
	if vm, ok := h.record.VMs[mac]; ok && vm.Name != "" {
		return vm.Name
	}
	return mac.String()
}

// largestRTT is the longest round trip of a star link now.
func (h *hub) largestRTT() time.Duration {
	var largest time.Duration
	for _, at := range h.hosts {
		if at.session != nil {
			largest = max(largest, at.session.Stats().RTT)
		}
	}
	return largest
}
