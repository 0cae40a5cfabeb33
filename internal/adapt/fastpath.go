package adapt

import (
	"fmt"
	"slices"
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

// soon says why a pair waits that talks again: what was taken back is not put in place again within the effective bound.
func soon(now time.Time, v View, d direct) (string, bool) {
	ago, bound, recent := v.since(now, v.Past.Pairs[d.pair()].Restored)
	if !recent {
		return "", false
	}
	return fmt.Sprintf("taken back %v ago; nothing is reversed within %v", ago, bound), true
}

// reopens says why a link is not opened that was closed of late, whoever closed it. What the user has pinned is open.
func (l *list) reopens(ends Ends) (string, bool) {
	ago, bound, recent := l.v.since(l.now, l.v.Past.Closed[ends])
	if !recent || slices.Contains(l.pins.links(l.v.Overlay), ends) {
		return "", false
	}
	if _, open := l.v.Overlay.LinkBetween(ends.A, ends.B); open {
		return "", false
	}
	return fmt.Sprintf("link %s was closed %v ago; none is opened again within %v", ends, ago, bound), true
}

// since tells how long ago something was taken back, when that is within the effective bound, both to be shown.
func (v View) since(now, taken time.Time) (ago, bound time.Duration, recent bool) {
	bound = EffectiveBound(v.Bound)
	if taken.IsZero() || now.Sub(taken) >= bound {
		return 0, 0, false
	}
	return now.Sub(taken).Round(100 * time.Millisecond), bound.Round(100 * time.Millisecond), true
}
