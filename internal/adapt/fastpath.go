package adapt

import (
	"fmt"
	"time"
)

// inheritedFor is how long adapted rules that were there before the planner first looked stay without traffic: a Proxy
// that was restarted has to see each group first, and one may be silent for 3 min before it is over.
const inheritedFor = 3 * time.Minute

// Fastpath is the seed's policy (§4): direct links for the strongest pairs of the application topology, k of n in
// decreasing intensity, beside the star.
func Fastpath(now time.Time, v View) Proposal {
	l := wanting(now, v)
	for _, g := range v.Topology.Groups {
		for _, e := range g.Edges {
			l.want(e.A, e.B, e.Rate, g.String())
		}
	}
	if now.Sub(v.Past.First) < inheritedFor {
		for _, pair := range adaptedPairs(v.Overlay) {
			if _, seen := v.Past.Pairs[pair]; !seen {
				l.want(pair.Src, pair.Dst, 0, "")
			}
		}
	}
	for _, pair := range adaptedPairs(v.Overlay) {
		if past := v.Past.Pairs[pair]; !past.Talks && now.Before(past.stays()) {
			l.want(pair.Src, pair.Dst, 0, "")
		}
	}
	return l.propose()
}

// soon says why a pair waits that talks again, or whose hosts' link was closed of late: what was taken back is not put in
// place again within the effective bound.
func soon(now time.Time, v View, d direct) (string, bool) {
	bound := EffectiveBound(v.Bound)
	restored := v.Past.Pairs[d.pair()].Restored
	if _, open := v.Overlay.LinkBetween(d.a.Node, d.b.Node); !open {
		restored = later(restored, v.Past.Closed[d.ends()])
	}
	if restored.IsZero() || now.Sub(restored) >= bound {
		return "", false
	}
	return fmt.Sprintf("taken back %v ago; nothing is reversed within %v", now.Sub(restored).Round(100*time.Millisecond), bound.Round(100*time.Millisecond)), true
}
