package proxy

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// keyBars is where the record keeps what was taken back.
const keyBars = "bars"

// lostAfter is how long a fast path may be down before adaptation counts it for failed and takes the next best: nodes dial
// it again meanwhile, and its frames are on the star.
const lostAfter = 5 * time.Second

// effect is a verdict and when it was given.
type effect struct {
	adapt.Verdict
	at time.Time
}

// saving is since when a pair is off the Proxy.
type saving struct {
	since time.Time
	bytes uint64 // that it had exchanged by then
}

// made hands a change that was carried out to the judge, and notes what leaves the Proxy.
func (h *hub) made(p adapt.Proposal, began, now time.Time) {
	totals := h.totals()
	for _, pair := range p.Restored() {
		delete(h.savings, pair)
	}
	for _, d := range p.Diverted {
		h.savings[d.Pair] = saving{since: now, bytes: totals[d.Pair]}
	}
	if h.policy.Judged() {
		h.judge.Made(adapt.Change{
			Proposal: p, Began: began, Made: now, Bound: h.bound.Value().Value, Asked: h.settings.Mode != adapt.Auto,
		}, h.topology, h.record, h.infer.Course)
	}
}

// totals is what each pair has exchanged, both ways.
func (h *hub) totals() map[vttif.Pair]uint64 {
	all := map[vttif.Pair]uint64{}
	for _, e := range h.infer.Matrix(time.Now()) {
		all[unordered(e.Pair)] += e.Total.OfferedBytes
	}
	return all
}

func unordered(p vttif.Pair) vttif.Pair {
	if p.Src.Compare(p.Dst) > 0 {
		p.Src, p.Dst = p.Dst, p.Src
	}
	return p
}

// judgeEvery is how often trials are looked at.
const judgeEvery = 500 * time.Millisecond

// tickJudge looks at the trials, and tells what was found.
func (h *hub) tickJudge(now time.Time) {
	if now.Sub(h.judgedAt) < judgeEvery {
		return
	}
	h.judgedAt = now
	verdicts := h.judge.Step(now, h.topology, h.record, h.infer.Course)
	for _, v := range verdicts {
		e := effect{v, now}
		for _, d := range v.Diverted {
			h.effects[d.Pair] = e
		}
		h.judged(e)
	}
	if len(verdicts) > 0 {
		h.put(keyBars, h.judge.Bars(now))
		forgetOldest(h.effects, mostEffects)
	}
}

// mostEffects is for how many pairs the last verdict is kept, to explain it: a few times what one overlay adapts at a time.
const mostEffects = 4096

// forgetOldest leaves half of as many verdicts as there may be, once there are more: those that were given last.
func forgetOldest(effects map[vttif.Pair]effect, most int) {
	if len(effects) <= most {
		return
	}
	pairs := slices.SortedFunc(maps.Keys(effects), func(a, b vttif.Pair) int { return effects[b].at.Compare(effects[a].at) })
	for _, pair := range pairs[most/2:] {
		delete(effects, pair)
	}
}

// judged writes a verdict down.
func (h *hub) judged(e effect) {
	kind := map[adapt.Outcome]string{
		adapt.Kept: "adapt.kept", adapt.Reverted: "adapt.reverted", adapt.Suspected: "adapt.suspected", adapt.NoVerdict: "adapt.no_verdict",
	}[e.Outcome]
	h.p.event(kind, fmt.Sprintf("change %d for the %s is %s: %s", e.Proposal, e.Group, e.Outcome, e.Reason), map[string]string{
		"proposal": fmt.Sprint(e.Proposal), "group": e.Group, "reason": e.Reason,
		"before_bps": fmt.Sprintf("%.0f", 8*e.Before), "after_bps": fmt.Sprintf("%.0f", 8*e.After), "p": fmt.Sprintf("%.3g", e.P),
	})
	for i := range slices.Backward(h.history) {
		if p := &h.history[i]; p.proposal != nil && p.proposal.ID == e.Proposal && p.run == h.p.cfg.Node.Boot {
			p.effects = append(p.effects, e)
			h.journal.write(p)
			return
		}
	}
}

// linkNews follows fast paths that died although both hosts are here.
func (h *hub) linkNews(now time.Time, e node.Event) {
	if e.Fields["kind"] == "star" {
		return
	}
	ends := adapt.EndsOf(overlay.Name(e.Node), overlay.Name(e.Fields["peer"]))
	switch e.Kind {
	case "link.down":
		if _, known := h.lost[ends]; !known {
			h.lost[ends] = now
		}
	case "link.up":
		delete(h.lost, ends)
	}
}

// giveUp bars adapted links that have been down for a while: the policy then closes them and takes the next best.
func (h *hub) giveUp(now time.Time) {
	for ends, since := range h.lost {
		l, there := h.record.LinkBetween(ends.A, ends.B)
		switch {
		case !there || l.Origin != overlay.OriginAdapted:
			delete(h.lost, ends)
		case h.present(ends.A) && h.present(ends.B) && now.Sub(since) >= lostAfter:
			delete(h.lost, ends)
			h.bar(now, [2]overlay.Name{ends.A, ends.B}, fmt.Sprintf("it has been down for %v", lostAfter))
			h.p.event("adapt.lost", fmt.Sprintf("link %s has been down for %v; the next best is taken", ends, lostAfter), map[string]string{"what": ends.String()})
		}
	}
}
