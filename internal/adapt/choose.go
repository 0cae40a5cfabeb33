package adapt

import (
	"cmp"
	"fmt"
	"maps"
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
)

// budget is how many links adaptation may still open, and those that are open in any case.
type budget struct {
	*room
	open map[Ends]bool
}

// budget counts what is open whatever the limits: what the user has pinned, what is named by rules that adaptation leaves as
// they are, and what nodes hold that are away.
func (l *list) budget(set setting) budget {
	v := l.v
	b := budget{room: newRoom(v.Config, v.Will), open: map[Ends]bool{}}
	for _, ends := range set.links(v.Overlay) {
		b.hold(v.Overlay, ends)
	}
	for _, link := range v.Overlay.Links {
		if ends := EndsOf(link.A, link.B); v.leftTake(link.A, link.B) || v.leftTake(link.B, link.A) {
			b.hold(v.Overlay, ends)
		}
	}
	for ends := range v.Past.Opened {
		if v.frozen(ends) && !b.open[ends] {
			b.take(ends)
		}
	}
	return b
}

// hold counts a link of adaptation's that is open, or will be, once.
func (b budget) hold(o *overlay.Overlay, ends Ends) {
	if link, there := o.LinkBetween(ends.A, ends.B); (!there || link.Origin == overlay.OriginAdapted) && !b.open[ends] {
		b.take(ends)
		b.open[ends] = true
	}
}

// leftTake tells whether a rule at a node names the link to its peer and is left as it is: because it is not adaptation's, or
// because it leads on to a node that is away.
func (v View) leftTake(at, peer overlay.Name) bool {
	n, side := v.Overlay.Nodes[at], overlay.AtLink(peer)
	return n != nil && slices.ContainsFunc(n.Rules, func(r overlay.Rule) bool {
		left := r.Origin != overlay.OriginAdapted || v.frozen(linkOf(at, r))
		return left && (r.Arrival == side || r.Out == side)
	})
}

// within takes the ways over other nodes for which there is room, in the order in which they are asked for.
func (l *list) within(b budget, detours []route) (chosen []route) {
next:
	for _, r := range detours {
		left := b.room.clone()
		for _, ends := range r.hops(l.v.Overlay) {
			link, there := l.v.Overlay.LinkBetween(ends.A, ends.B)
			if b.open[ends] || there && link.Origin != overlay.OriginAdapted {
				continue
			}
			if why, full := left.full(ends); full {
				l.refuse(r.direct, why)
				continue next
			}
			left.take(ends)
		}
		for _, ends := range r.hops(l.v.Overlay) {
			b.hold(l.v.Overlay, ends)
		}
		chosen = append(chosen, r)
	}
	return chosen
}

// choose takes the links that may be open at once: those that cost nothing, those opened of late, then the strongest. What
// the user has pinned is open whatever the limits, and counts.
func (l *list) choose(wishes []wish, b budget) []wish {
	v := l.v
	var chosen, costly []wish
	for _, w := range wishes {
		switch {
		case barred(v, w.ends, l.now):
			l.pass(w, fmt.Sprintf("link %s failed", w.ends))
		case w.free || b.open[w.ends]:
			chosen = append(chosen, w)
		default:
			costly = append(costly, w)
		}
	}
	l.rank(costly)
	for _, w := range costly {
		if why, full := b.full(w.ends); full {
			l.pass(w, why)
			continue
		}
		b.take(w.ends)
		chosen = append(chosen, w)
	}
	slices.SortFunc(chosen, func(x, y wish) int { return cmp.Or(cmp.Compare(y.rate, x.rate), x.ends.compare(y.ends)) })
	return chosen
}

// pass refuses all pairs of a wish.
func (l *list) pass(w wish, why string) {
	for _, d := range w.pairs {
		l.refuse(d, why)
	}
}

// rank puts first what was opened of late, then what carries most.
func (l *list) rank(costly []wish) {
	v := l.v
	held := max(holdFor, holdBounds*v.Bound)
	young := func(w wish) int {
		if since, open := v.Past.Opened[w.ends]; open && l.now.Sub(since) < held {
			return 0
		}
		return 1
	}
	strength := func(w wish) float64 {
		rate := w.rate / v.Will.CostOf(w.ends.A, w.ends.B)
		if _, open := v.Past.Opened[w.ends]; open {
			return rate * keepFactor
		}
		return rate
	}
	slices.SortFunc(costly, func(x, y wish) int {
		return cmp.Or(cmp.Compare(young(x), young(y)), cmp.Compare(strength(y), strength(x)), x.ends.compare(y.ends))
	})
}

func barred(v View, ends Ends, now time.Time) bool {
	until, failed := v.Failed[ends]
	return failed && now.Before(until)
}

// why explains, for a pair that loses its rules, what became of it.
func (l *list) why(wishes, chosen []wish) func(vttif.Pair) string {
	among := func(all []wish, pair vttif.Pair) bool {
		return slices.ContainsFunc(all, func(w wish) bool {
			return slices.ContainsFunc(w.pairs, func(d direct) bool { return d.pair() == pair })
		})
	}
	return func(pair vttif.Pair) string {
		_, fixed := l.v.Will.PathOf(pair.Src, pair.Dst)
		i := slices.IndexFunc(l.not, func(r Refusal) bool { return r.Pair == pair })
		switch {
		case among(chosen, pair):
			return "a VM has moved"
		case i >= 0:
			return l.not[i].Reason
		case fixed:
			return "the user has pinned another way, or the pinned one cannot be had"
		case l.v.Will.ForbiddenPair(pair.Src, pair.Dst):
			return "the user keeps the pair on the star"
		case among(wishes, pair):
			return "stronger pairs take the links allowed"
		}
		return "no longer part of an application's topology"
	}
}

// room is how many links adaptation may still open.
type room struct {
	all, most int // meaningless without limit
	limit     bool
	each      int                  // at every node, if limited at all
	at        map[overlay.Name]int // that are open
	will      map[overlay.Name]int // what the user allows at single nodes
}

func newRoom(c Config, w overlay.Will) *room {
	return &room{all: c.MaxLinks, most: c.MaxLinks, limit: c.MaxLinks > 0, each: c.MaxPerNode, at: map[overlay.Name]int{}, will: w.MaxAt}
}

func (r *room) clone() *room {
	c := *r
	c.at = maps.Clone(r.at)
	return &c
}

// take counts a link, whether there is room for it or not.
func (r *room) take(e Ends) {
	r.all--
	r.at[e.A]++
	r.at[e.B]++
}

// full says why there is no room for one more.
func (r *room) full(e Ends) (string, bool) {
	if r.limit && r.all <= 0 {
		return fmt.Sprintf("stronger pairs take the %d links allowed", r.most), true
	}
	for _, n := range [2]overlay.Name{e.A, e.B} {
		most, limited := r.will[n]
		if r.each > 0 && (!limited || r.each < most) {
			most, limited = r.each, true
		}
		if limited && r.at[n] >= most {
			return fmt.Sprintf("stronger pairs take the links allowed at %s (%d)", n, most), true
		}
	}
	return "", false
}
