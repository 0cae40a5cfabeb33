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
	// firstBar is how long a link that could not be made is left alone; it doubles up to lastBar. So does adaptation as a
	// whole, when what failed was no link.
	firstBar = 5 * time.Second
	lastBar  = 5 * time.Minute
)

// failure is a link that could not be made.
type failure struct {
	why   string // what the nodes said, the last time; empty: not they, the user's rules forbid it
	since time.Time
	wait  time.Duration
	until time.Time
}

// pastChange is a change that was made or tried, for `vnet adapt` and the journal.
type pastChange struct {
	id       uint64
	what     string
	by       string // policy or agent
	proposal *adapt.Proposal
	started  time.Time
	bound    time.Duration // on configuration time, as the policy saw it
	commit   time.Duration
	result   control.Result
	outcome  string
	effects  []effect

	seq  uint64 // in the journal; 0: it is not there
	run  uint64 // of the Proxy
	view []byte // what the policy saw, for the journal
}

// The outcomes of changes.
const (
	committed = "committed"
	failed    = "failed"
	advised   = "advised"
	underWay  = "under way"
)

// adapt asks the policy what to do about the topology, and does it or shows it.
func (h *hub) adapt(now time.Time) {
	h.steer(now)
	view := h.view(now)
	proposal, ok := h.policy.Step(now, view)
	h.weighed = proposal.Not
	if !ok {
		h.proposal = nil
		h.agent.settle(planned{not: proposal.Not})
		return
	}
	fresh := h.proposal == nil || h.proposal.ID != proposal.ID
	if fresh {
		h.proposed = now
	}
	h.proposal, h.plannedMoves = &proposal, h.moves
	switch {
	case h.settings.Mode != adapt.Auto:
		if fresh {
			h.advise(now, proposal, view)
		}
		h.agent.settle(planned{proposal: &proposal, not: proposal.Not, advised: true})
	case now.Before(h.pausedUntil):
		h.agent.settle(planned{err: precondition("cannot apply the plan now: the user has paused adaptation until %s", h.pausedUntil.Format(time.DateTime))})
	case now.Before(h.restUntil):
		h.agent.settle(planned{err: precondition("cannot apply the plan yet: the change before it failed, `vnet adapt history` says why; it is made after %s", h.restUntil.Format(time.TimeOnly))})
	default:
		h.carryOut(now, proposal, view, nil)
	}
}

// advise shows a proposal and writes it down.
func (h *hub) advise(now time.Time, p adapt.Proposal, v adapt.View) {
	past := pastChange{what: p.Reason, by: h.by(), proposal: &p, started: now, bound: v.Bound, outcome: advised, run: h.p.cfg.Node.Boot}
	h.journal.open(&past, h.policy.Fill(v))
	h.journal.write(&past)
	h.p.event("adapt.advised", fmt.Sprintf("proposal %d: %s; `vnet adapt accept %d` carries it out", p.ID, p.Reason, p.ID), map[string]string{"proposal": fmt.Sprint(p.ID)})
}

// by is who plans now.
func (h *hub) by() string {
	if h.agent.planned {
		return "agent " + h.agent.name
	}
	return h.policyName()
}

// errStale is what became of a proposal that came too late; the next look plans again.
var errStale = errors.New("cannot adapt as planned: the overlay has changed meanwhile; it is planned again")

// carryOut makes a proposal a change. done, if any, hears what became of it.
func (h *hub) carryOut(now time.Time, proposal adapt.Proposal, v adapt.View, done func(control.Result, error)) {
	target, moves, generation := proposal.Target, h.plannedMoves, proposal.Target.Generation
	past := &pastChange{what: proposal.Reason, by: h.by(), proposal: &proposal, started: now, bound: v.Bound, outcome: underWay, run: h.p.cfg.Node.Boot}
	h.journal.open(past, h.policy.Fill(v))
	a, plan := h.agent, h.agent.plans
	h.changes.submit(now, &request{
		what:     proposal.Reason,
		proposal: &proposal,
		past:     past,
		edit: func(o *overlay.Overlay) error {
			if h.moves != moves || o.Generation != generation {
				return errStale
			}
			*o = *target.Clone()
			return nil
		},
		done: func(r control.Result, err error) {
			if err == nil {
				h.made(proposal, past.started, time.Now())
			}
			h.adapted(proposal, err)
			if h.agent == a && a.plans == plan && !errors.Is(err, errStale) {
				a.settle(planned{proposal: &proposal, not: proposal.Not, took: r.Commit, err: err})
			}
			if done != nil {
				done(r, err)
			}
		},
	})
}

// view is what the policy sees.
func (h *hub) view(now time.Time) adapt.View {
	v := adapt.View{
		Topology: h.topology, Overlay: h.record, Bound: h.bound.Value().Value, Failed: h.barred(), Away: h.away(), Will: h.will,
		Bars: h.judge.Bars(now), Rests: h.judge.Rests(), Plan: h.agent.plan, PlanWhy: h.agent.why,
	}
	if h.policy.Policy().Matrix {
		v.Matrix = h.infer.Matrix(now)
	}
	return v
}

// adapted tells of every step, with its reason.
func (h *hub) adapted(p adapt.Proposal, err error) {
	for _, s := range p.Steps {
		kind := stepKind(s.Kind)
		if err != nil {
			kind = "adapt.failed"
		}
		h.p.event(kind, fmt.Sprintf("%s %s: %s", s.Kind, s.What, s.Reason), map[string]string{"what": s.What, "reason": s.Reason})
	}
}

// stepKind is the kind of the event that tells of a step.
func stepKind(k adapt.Kind) string { return "adapt." + strings.ReplaceAll(k.String(), " ", "_") }

// unplannable leaves alone for a while what cannot even be begun. Mostly the user's rules do not allow it, and would circle
// with it: then it is the links that the proposal wanted.
func (h *hub) unplannable(now time.Time, r *request, err error) {
	if r.proposal == nil || errors.Is(err, errStale) {
		return
	}
	var links [][2]overlay.Name
	if cycles := new(overlay.CycleError); errors.As(err, &cycles) {
		links = h.wanted(r.proposal.Target, nil)
	}
	h.leaveAlone(now, r, links, "")
}

// blame leaves alone for a while what a change that was taken back shows cannot be had: links that could not be opened, else
// the new ones at nodes that refuse, do not answer or were lost. So one such node does not keep all others from adapting.
func (h *hub) blame(now time.Time, r *request, result control.Result) {
	links := result.FailedLinks()
	if len(links) == 0 && r.proposal != nil {
		links = h.wanted(r.proposal.Target, result.Unwilling())
	}
	h.leaveAlone(now, r, links, result.Error)
}

// leaveAlone bars links; when there are none to bar, all of adaptation rests.
func (h *hub) leaveAlone(now time.Time, r *request, links [][2]overlay.Name, why string) {
	for _, pair := range links {
		h.bar(now, pair, why)
	}
	if len(links) == 0 && r.proposal != nil {
		h.restFor = min(max(2*h.restFor, firstBar), lastBar)
		h.restUntil = now.Add(h.restFor)
	}
}

// wanted are the links that a proposal would open, at any of some nodes; without any, all of them.
func (h *hub) wanted(target *overlay.Overlay, at []overlay.Name) (links [][2]overlay.Name) {
	for _, l := range target.Links {
		_, there := h.record.LinkBetween(l.A, l.B)
		if !there && (len(at) == 0 || slices.Contains(at, l.A) || slices.Contains(at, l.B)) {
			links = append(links, [2]overlay.Name{l.A, l.B})
		}
	}
	return links
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
func (h *hub) bar(now time.Time, pair [2]overlay.Name, why string) {
	ends := adapt.EndsOf(pair[0], pair[1])
	f := h.failures[ends]
	if f.since.IsZero() {
		f.since = now
	}
	f.why = why
	f.wait = min(max(2*f.wait, firstBar), lastBar)
	f.until = now.Add(f.wait)
	h.failures[ends] = f
}

// remember keeps a committed change for the history.
func (h *hub) remember(r *request, c control.Committed) {
	if r.timing {
		return
	}
	if r.proposal != nil {
		h.restUntil, h.restFor = time.Time{}, 0
		for _, l := range r.target.Links {
			delete(h.failures, adapt.EndsOf(l.A, l.B))
		}
	}
	past := h.keep(r, c.Change, committed)
	past.commit = c.Took
	h.journal.write(past)
}

// recordStages adds how long each stage took, once all is over.
func (h *hub) recordStages(r *request, result control.Result) {
	if r.timing {
		return
	}
	i := slices.IndexFunc(h.history, func(p pastChange) bool { return p.id == result.Change })
	if i < 0 {
		h.keep(r, result.Change, failed)
		i = len(h.history) - 1
	}
	h.history[i].result = result
	h.journal.write(&h.history[i])
}

// keep adds a change to the history.
func (h *hub) keep(r *request, id uint64, outcome string) *pastChange {
	past := pastChange{what: r.what, by: "a client", started: r.started}
	if r.past != nil {
		past = *r.past
	}
	past.id, past.outcome = id, outcome
	h.history = append(h.history, past)
	h.history = h.history[max(0, len(h.history)-historyKept):]
	return &h.history[len(h.history)-1]
}

// announceTopology tells what was inferred.
func (h *hub) announceTopology() {
	var parts []string
	for _, g := range h.topology.Groups {
		parts = append(parts, fmt.Sprintf("%s of %d (%s)", g.Name, len(g.VMs), counted(len(g.Edges), "edge")))
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
