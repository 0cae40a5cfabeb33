package adapt

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

const (
	// keepFactor is how much stronger another link must be to take the place of one that is open: a change costs the
	// guests reordered frames, and rates of equal pairs differ by some tens of percent from second to second.
	keepFactor = 1.5
	// holdFor is how long a link is open before a stronger one may take its place; holdBounds does the same in
	// configuration-time bounds. The longer counts. Both are VTTIF's for removing an edge.
	holdFor    = 10 * time.Second
	holdBounds = 10
	// inheritedFor is how long adapted rules that were there before this policy first looked stay without traffic: a Proxy
	// that was restarted has to see each group first, and one may be silent for 3 min before it is over.
	inheritedFor = 3 * time.Minute
)

// Fastpath is the seed's policy (§4): direct links for the strongest pairs of the application topology, k of n in
// decreasing intensity, beside the star. It belongs to one goroutine.
type Fastpath struct {
	cfg    Config
	first  time.Time           // Step
	opened map[Ends]time.Time  // adapted links, since when they are known
	seen   map[vttif.Pair]bool // pairs that were in the topology and may still have rules; Src < Dst
	last   Proposal
	nextID uint64
}

// NewFastpath makes the policy.
func NewFastpath(c Config) *Fastpath {
	return &Fastpath{cfg: c, opened: map[Ends]time.Time{}, seen: map[vttif.Pair]bool{}, nextID: 1}
}

// Configure replaces the configuration from the next Step on.
func (p *Fastpath) Configure(c Config) { p.cfg = c }

// Step looks at the view and proposes a change, or nothing when the overlay is as it should be.
func (p *Fastpath) Step(now time.Time, v View) (Proposal, bool) {
	if v.Overlay == nil {
		return Proposal{}, false
	}
	p.remember(now, v)
	if p.cfg.Mode == Observe {
		return Proposal{}, false
	}
	wishes := p.wishes(now, v)
	usable := func(e Ends) bool { return !v.frozen(e) && !barred(v, e, now) }
	set := setting{routes: p.routes(v, usable), held: held(v, usable)}
	set.chosen = p.choose(now, v, wishes, set)
	c := newChange(v, set, p.why(wishes, set.chosen, v, now))
	if len(c.steps) == 0 {
		p.last = Proposal{}
		return Proposal{}, false
	}
	next := Proposal{
		Topology: v.Topology.Version, Target: c.target, Steps: c.steps,
		Gain: gain(v.Topology, c.diverted), Reason: c.summary(v.Topology),
	}
	next.ID = p.nextID
	if slices.Equal(whats(p.last.Steps), whats(next.Steps)) {
		next.ID = p.last.ID
	} else {
		p.nextID++
	}
	p.last = next
	return next, true
}

// whats is what the steps do; their reasons name rates, which move while nothing else does.
func whats(steps []Step) []string {
	var text []string
	for _, s := range steps {
		text = append(text, s.Kind.String()+" "+s.What)
	}
	return text
}

// remember keeps since when links are open and which pairs have been seen to talk.
func (p *Fastpath) remember(now time.Time, v View) {
	if p.first.IsZero() {
		p.first = now
	}
	opened := map[Ends]time.Time{}
	for _, l := range v.Overlay.Links {
		if l.Origin != overlay.OriginAdapted {
			continue
		}
		ends := EndsOf(l.A, l.B)
		opened[ends] = now
		if since, known := p.opened[ends]; known {
			opened[ends] = since
		}
	}
	seen := map[vttif.Pair]bool{}
	for _, pair := range adaptedPairs(v.Overlay) {
		if p.seen[pair] {
			seen[pair] = true
		}
	}
	for _, e := range v.Topology.Edges {
		seen[unordered(e.A, e.B)] = true
	}
	p.opened, p.seen = opened, seen
}

// choose takes the links that may be open at once: those that cost nothing, those opened of late, then the strongest. What
// the user has pinned is open whatever the limits, and counts.
func (p *Fastpath) choose(now time.Time, v View, wishes []wish, set setting) []wish {
	held := max(holdFor, holdBounds*v.Bound)
	var chosen, costly []wish
	room, open := newRoom(p.cfg.MaxLinks, v.Will), map[Ends]bool{}
	for _, ends := range set.links(v.Overlay) {
		if l, there := v.Overlay.LinkBetween(ends.A, ends.B); (!there || l.Origin == overlay.OriginAdapted) && !open[ends] {
			room.take(ends)
			open[ends] = true
		}
	}
	for ends := range p.opened {
		if v.frozen(ends) && !open[ends] {
			room.take(ends)
		}
	}
	for _, w := range wishes {
		switch {
		case barred(v, w.ends, now):
		case w.free || open[w.ends]:
			chosen = append(chosen, w)
		default:
			costly = append(costly, w)
		}
	}
	young := func(w wish) int {
		if since, open := p.opened[w.ends]; open && now.Sub(since) < held {
			return 0
		}
		return 1
	}
	strength := func(w wish) float64 {
		rate := w.rate / v.Will.CostOf(w.ends.A, w.ends.B)
		if _, open := p.opened[w.ends]; open {
			return rate * keepFactor
		}
		return rate
	}
	slices.SortFunc(costly, func(x, y wish) int {
		return cmp.Or(cmp.Compare(young(x), young(y)), cmp.Compare(strength(y), strength(x)), x.ends.compare(y.ends))
	})
	for _, w := range costly {
		if room.fits(w.ends) {
			room.take(w.ends)
			chosen = append(chosen, w)
		}
	}
	slices.SortFunc(chosen, func(x, y wish) int { return cmp.Or(cmp.Compare(y.rate, x.rate), x.ends.compare(y.ends)) })
	return chosen
}

func barred(v View, ends Ends, now time.Time) bool {
	until, failed := v.Failed[ends]
	return failed && now.Before(until)
}

// why explains, for a pair that loses its rules, what became of it.
func (p *Fastpath) why(wishes, chosen []wish, v View, now time.Time) func(vttif.Pair) string {
	among := func(all []wish, pair vttif.Pair) (Ends, bool) {
		for _, w := range all {
			if slices.ContainsFunc(w.pairs, func(d direct) bool { return unordered(d.a.MAC, d.b.MAC) == pair }) {
				return w.ends, true
			}
		}
		return Ends{}, false
	}
	return func(pair vttif.Pair) string {
		if _, ok := among(chosen, pair); ok {
			return "a VM has moved"
		}
		ends, wanted := among(wishes, pair)
		_, fixed := v.Will.PathOf(pair.Src, pair.Dst)
		switch {
		case fixed:
			return "the user has pinned another way, or the pinned one cannot be had"
		case v.Will.ForbiddenPair(pair.Src, pair.Dst):
			return "the user keeps the pair on the star"
		case wanted && barred(v, ends, now):
			return fmt.Sprintf("link %s failed", ends)
		case wanted:
			return p.crowded(v)
		}
		return "no longer part of an application's topology"
	}
}

// crowded says which limit left no room for a link.
func (p *Fastpath) crowded(v View) string {
	if len(v.Will.MaxAt) > 0 || p.cfg.MaxLinks == 0 {
		return "stronger pairs take the links allowed"
	}
	return fmt.Sprintf("stronger pairs take the %d links allowed", p.cfg.MaxLinks)
}
