package proxy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// Explain says which way the frames between two VMs take, and why.
func (p *Proxy) Explain(ctx context.Context, req *vnetv1.ExplainRequest) (*vnetv1.ExplainResponse, error) {
	way, err := p.Trace(ctx, &vnetv1.TraceRequest{Src: req.GetA(), Dst: req.GetB()})
	if err != nil {
		return nil, err
	}
	out := &vnetv1.Explanation{AMac: way.GetSrcMac(), BMac: way.GetDstMac()}
	for i, hop := range way.GetHops() {
		out.Nodes = append(out.Nodes, hop.GetNode())
		if i == 0 {
			out.Rule, out.RuleId, out.Origin = hop.GetRule(), hop.GetRuleId(), hop.GetOrigin()
		}
	}
	if err := p.ask(ctx, func(h *hub) { h.explain(time.Now(), out) }); err != nil {
		return nil, err
	}
	return &vnetv1.ExplainResponse{Explanation: out}, nil
}

// explain fills in what only the Proxy knows.
func (h *hub) explain(now time.Time, out *vnetv1.Explanation) {
	a, _ := ether.ParseMAC(out.AMac)
	b, _ := ether.ParseMAC(out.BMac)
	pair := unordered(vttif.Pair{Src: a, Dst: b})
	out.A, out.B = h.title(a), h.title(b)
	out.Way = wayOf(out.Nodes, h.record.Proxy)
	for _, e := range h.topology.Edges {
		if (vttif.Pair{Src: e.A, Dst: e.B}) == pair {
			out.RateBps = 8 * e.Rate
		}
	}
	h.explainEffect(now, pair, out)
	off := len(out.Nodes) > 1 && !slices.Contains(out.Nodes, string(h.record.Proxy))
	if out.Reason = h.whyWay(pair, out.Origin, off, out.RateBps > 0); off {
		h.explainSaving(now, pair, out)
	}
	out.Alternatives = h.alternatives(now, pair, off)
}

// wayOf is a way in words.
func wayOf(nodes []string, proxy overlay.Name) string {
	switch {
	case len(nodes) == 0:
		return "unknown"
	case len(nodes) == 1:
		return "within " + nodes[0]
	case len(nodes) == 2 && !slices.Contains(nodes, string(proxy)):
		return "direct over " + strings.Join(nodes, "–")
	case len(nodes) == 2:
		return "over the star, " + strings.Join(nodes, "–")
	case len(nodes) == 3 && nodes[1] == string(proxy):
		return "through the Proxy, " + strings.Join(nodes, "–")
	}
	return "over " + strings.Join(nodes, "–")
}

// whyWay is the reason for the way as it is.
func (h *hub) whyWay(pair vttif.Pair, origin string, off, talks bool) string {
	if _, fixed := h.will.PathOf(pair.Src, pair.Dst); fixed {
		return "the user has pinned this way"
	}
	switch {
	case origin == overlay.OriginUser.String():
		return "a rule of the user's"
	case origin == overlay.OriginAdapted.String():
		if step, past, ok := h.stepFor(pair, adapt.Divert); ok {
			return fmt.Sprintf("%s (change %d by %s)", step.Reason, past.proposal.ID, past.by)
		}
		return "adapted before the Proxy's last start"
	case off:
		return "learned"
	}
	if i := slices.IndexFunc(h.weighed, func(r adapt.Refusal) bool { return r.Pair == pair }); i >= 0 {
		return h.weighed[i].Reason
	}
	if step, past, ok := h.stepFor(pair, adapt.Restore); ok {
		return fmt.Sprintf("%s (change %d)", step.Reason, past.proposal.ID)
	}
	if !talks {
		return "the pair is in no application's topology: the star is enough"
	}
	return "the star is what every host has"
}

// stepFor finds the last step of a kind that was made for a pair.
func (h *hub) stepFor(pair vttif.Pair, kind adapt.Kind) (adapt.Step, pastChange, bool) {
	names := [2]string{h.title(pair.Src) + " and " + h.title(pair.Dst), h.title(pair.Dst) + " and " + h.title(pair.Src)}
	for _, past := range slices.Backward(h.history) {
		if past.proposal == nil || past.outcome != committed {
			continue
		}
		for _, s := range past.proposal.Steps {
			for _, name := range names {
				if s.Kind == kind && (s.What == name || strings.HasPrefix(s.What, name+" over ")) {
					return s, past, true
				}
			}
		}
	}
	return adapt.Step{}, pastChange{}, false
}

// explainEffect tells what was measured.
func (h *hub) explainEffect(now time.Time, pair vttif.Pair, out *vnetv1.Explanation) {
	for _, v := range h.judge.Trials() {
		if slices.ContainsFunc(v.Diverted, func(d adapt.Direct) bool { return d.Pair == pair }) {
			v.Outcome = "measuring"
			out.Effect = h.describeEffect(effect{v, now})
			return
		}
	}
	if e, ok := h.effects[pair]; ok {
		out.Effect = h.describeEffect(e)
	}
}

// explainSaving tells what the way has spared the Proxy and the application.
func (h *hub) explainSaving(now time.Time, pair vttif.Pair, out *vnetv1.Explanation) {
	total := h.totals()[pair]
	s, known := h.savings[pair]
	out.SavedBytes = total
	if !known {
		return
	}
	out.Since = timestamppb.New(s.since)
	if total >= s.bytes {
		out.SavedBytes = total - s.bytes
	}
	if e, ok := h.effects[pair]; ok && e.Faster() {
		out.SavedTime = durationpb.New(time.Duration(float64(now.Sub(s.since)) * (e.After/e.Before - 1)))
	}
}

// alternatives are what else was weighed for a pair.
func (h *hub) alternatives(now time.Time, pair vttif.Pair, off bool) (list []*vnetv1.Refusal) {
	add := func(what, why string) {
		list = append(list, &vnetv1.Refusal{A: h.title(pair.Src), B: h.title(pair.Dst), What: what, Reason: why})
	}
	for _, b := range h.judge.Bars(now) {
		if b.Pair == pair {
			add("direct over "+b.Ends.String(), fmt.Sprintf("%s; taken back %d times, not again before %s", b.Why, b.Count, b.Until.Format(time.TimeOnly)))
		}
	}
	for _, r := range h.weighed {
		if r.Pair == pair && len(list) == 0 {
			add("direct over "+r.Ends.String(), r.Reason)
		}
	}
	a, okA := h.record.VMs[pair.Src]
	b, okB := h.record.VMs[pair.Dst]
	if !okA || !okB || a.Node == b.Node {
		return list
	}
	switch ends := adapt.EndsOf(a.Node, b.Node); {
	case off:
		why := "two links and the Proxy's wire instead of one; it is what remains when the link dies"
		if e, ok := h.effects[pair]; ok && e.Before > 0 {
			why = fmt.Sprintf("its group had %s there, %s now; it is what remains when the link dies", bits(e.Before), bits(e.After))
		}
		add("through the Proxy", why)
	case len(list) == 0 && a.Node != h.record.Proxy && b.Node != h.record.Proxy:
		why := "no application of theirs is known"
		if h.settings.Mode != adapt.Auto {
			why = fmt.Sprintf("the mode is %s", h.settings.Mode)
		}
		add("direct over "+ends.String(), why)
	}
	return list
}

// bits is a rate in bytes/s as people read it.
func bits(bytes float64) string { return fmt.Sprintf("%.3g Mbit/s", 8*bytes/1e6) }

func (h *hub) describeEffect(e effect) *vnetv1.Effect {
	out := &vnetv1.Effect{
		Group: e.Group, Outcome: string(e.Outcome), Reason: e.Reason, BeforeBps: 8 * e.Before, AfterBps: 8 * e.After, P: e.P, Time: timestamppb.New(e.at),
	}
	for _, m := range e.VMs {
		out.Vms = append(out.Vms, h.title(m))
	}
	return out
}

func (h *hub) describeRefusals(list []adapt.Refusal) (out []*vnetv1.Refusal) {
	for _, r := range list {
		out = append(out, &vnetv1.Refusal{A: h.title(r.Pair.Src), B: h.title(r.Pair.Dst), What: r.What, Reason: r.Reason})
	}
	return out
}
