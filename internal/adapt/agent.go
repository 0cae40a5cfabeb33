package adapt

import (
	"fmt"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// Agent makes the ways of View.Plan and no others, as far as the user's will and the limits allow.
func Agent(now time.Time, v View) Proposal {
	l := wanting(now, v)
	rates := map[vttif.Pair]float64{}
	for _, e := range v.Topology.Edges {
		rates[unordered(e.A, e.B)] = e.Rate
	}
	for _, w := range v.Plan {
		rate := rates[unordered(w.A, w.B)]
		if len(w.Via) == 0 {
			l.want(w.A, w.B, rate, "plan")
		} else {
			l.detour(w, rate)
		}
	}
	return l.propose()
}

// detour asks for a way over other nodes.
func (l *list) detour(w Way, rate float64) {
	a, okA := l.v.Overlay.VMs[w.A]
	b, okB := l.v.Overlay.VMs[w.B]
	d := direct{a: a, b: b, rate: rate, group: "plan"}
	if !okA || !okB || a.Node == b.Node || a.Port == "" || b.Port == "" || l.asked[d.pair()] {
		return
	}
	l.asked[d.pair()] = true
	r := route{direct: d, way: slices.Compact(slices.Concat([]overlay.Name{a.Node}, w.Via, []overlay.Name{b.Node}))}
	if why, no := l.unwilling(d); no {
		l.refuse(d, why)
		return
	}
	if !r.possible(l.v) {
		l.refuse(d, fmt.Sprintf("the way %s cannot be had: a node is unknown, away, crossed twice or no transit, or the user has rules for the pair", r))
		return
	}
	for _, e := range r.hops(l.v.Overlay) {
		switch {
		case l.v.frozen(e) || barred(l.v, e, l.now):
			l.refuse(d, fmt.Sprintf("link %s cannot be had now", e))
			return
		case l.v.Will.Forbidden(e.A, e.B):
			l.refuse(d, "the user forbids link "+e.String())
			return
		}
		if why, no := l.reopens(e); no {
			l.refuse(d, why)
			return
		}
	}
	l.detours = append(l.detours, r)
}
