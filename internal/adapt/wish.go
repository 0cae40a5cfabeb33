package adapt

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// wish is a link that would take pairs off the Proxy.
type wish struct {
	ends  Ends
	pairs []direct // strongest first
	rate  float64  // bytes/s of all of them
	free  bool     // a link that is not adaptation's joins the nodes already
}

// direct is two VMs that would talk over it.
type direct struct {
	a, b  overlay.VM
	rate  float64 // bytes/s both ways
	group string  // "ring of 4"; empty for inherited
}

func (d direct) pair() vttif.Pair { return unordered(d.a.MAC, d.b.MAC) }
func (d direct) ends() Ends       { return EndsOf(d.a.Node, d.b.Node) }

// String is the pair in words.
func (d direct) String() string { return fmt.Sprintf("%s and %s", title(d.a), title(d.b)) }

// list is what a policy wants, as far as it can be had.
type list struct {
	now     time.Time
	v       View
	byEnds  map[Ends]*wish
	asked   map[vttif.Pair]bool
	placed  map[vttif.Pair]bool // pairs with adapted rules
	pins    setting             // what is there because the user pinned it
	detours []route
	not     []Refusal
}

func wanting(now time.Time, v View) *list {
	l := &list{now: now, v: v, byEnds: map[Ends]*wish{}, asked: map[vttif.Pair]bool{}, placed: map[vttif.Pair]bool{}}
	for _, pair := range adaptedPairs(v.Overlay) {
		l.placed[pair] = true
	}
	usable := func(e Ends) bool { return !v.frozen(e) && !barred(v, e, now) }
	l.pins = setting{routes: l.straight(routes(v, usable)), held: held(v, usable)}
	return l
}

// want asks for a direct link between two VMs that exchange rate bytes/s.
func (l *list) want(a, b ether.MAC, rate float64, group string) {
	va, okA := l.v.Overlay.VMs[a]
	vb, okB := l.v.Overlay.VMs[b]
	d := direct{a: va, b: vb, rate: rate, group: group}
	if l.asked[unordered(a, b)] || !okA || !okB || !worthALink(l.v.Overlay, va, vb) {
		return
	}
	l.asked[d.pair()] = true
	ends := d.ends()
	if l.v.frozen(ends) {
		l.refuse(d, "a host is away")
		return
	}
	if why, no := l.unwilling(d); no {
		l.refuse(d, why)
		return
	}
	if why, no := l.reopens(ends); no {
		l.refuse(d, why)
		return
	}
	w := l.byEnds[ends]
	if w == nil {
		w = &wish{ends: ends}
		if link, ok := l.v.Overlay.LinkBetween(ends.A, ends.B); ok {
			w.free = link.Origin != overlay.OriginAdapted
		}
		l.byEnds[ends] = w
	}
	w.pairs = append(w.pairs, d)
	w.rate += rate
}

// unwilling says what speaks against a direct link for the pair, whatever the limits.
func (l *list) unwilling(d direct) (string, bool) {
	ends := d.ends()
	if _, fixed := l.v.Will.PathOf(d.a.MAC, d.b.MAC); fixed {
		return "the user has pinned another way, or the pinned one cannot be had", true
	}
	if l.v.Will.ForbiddenPair(d.a.MAC, d.b.MAC) {
		return "the user keeps the pair on the star", true
	}
	if l.v.Will.Forbidden(ends.A, ends.B) {
		return "the user forbids link " + ends.String(), true
	}
	for _, b := range l.v.Bars {
		if b.Pair == d.pair() && b.Ends == ends && l.now.Before(b.Until) {
			return fmt.Sprintf("%s; not again for %v", b.Why, b.Until.Sub(l.now).Round(time.Second)), true
		}
	}
	if l.placed[d.pair()] {
		return "", false
	}
	for _, r := range l.v.Rests {
		if r.holds(d) && l.now.Before(r.Until) {
			return fmt.Sprintf("%s; nothing new for %v", r.Why, r.Until.Sub(l.now).Round(time.Second)), true
		}
	}
	return soon(l.now, l.v, d)
}

// refuse says why a pair does not get what was asked for; the first reason counts.
func (l *list) refuse(d direct, why string) {
	if len(l.not) >= maxRefusals || slices.ContainsFunc(l.not, func(r Refusal) bool { return r.Pair == d.pair() }) {
		return
	}
	l.not = append(l.not, Refusal{Pair: d.pair(), Ends: d.ends(), What: fmt.Sprintf("%s over %s", d, d.ends()), Reason: why})
}

// wishes are all links worth having, in order of their ends.
func (l *list) wishes() (wishes []wish) {
	for _, w := range l.byEnds {
		slices.SortFunc(w.pairs, func(x, y direct) int {
			return cmp.Or(cmp.Compare(y.rate, x.rate), x.a.MAC.Compare(y.a.MAC), x.b.MAC.Compare(y.b.MAC))
		})
		wishes = append(wishes, *w)
	}
	slices.SortFunc(wishes, func(x, y wish) int { return x.ends.compare(y.ends) })
	return wishes
}

// propose turns the wishes into the change that is due, if any is.
func (l *list) propose() Proposal {
	v, now := l.v, l.now
	set := l.pins
	wishes, budget := l.wishes(), l.budget(set)
	set.routes = slices.Concat(set.routes, l.within(budget, l.straight(l.detours)))
	set.chosen = l.choose(wishes, budget)
	c := newChange(v, set, l.why(wishes, set.chosen))
	slices.SortFunc(l.not, func(a, b Refusal) int { return a.Pair.Compare(b.Pair) })
	next := Proposal{Topology: v.Topology.Version, Not: l.not}
	if len(c.steps) == 0 {
		return next
	}
	if why, stop := v.Past.tooMany(now, v.Config); stop && c.opens+len(c.diverted) > 0 {
		next.Reason = why
		return next
	}
	next.Target, next.Steps, next.restored = c.target, c.steps, c.lost
	for _, d := range c.diverted {
		if d.group == "pinned" {
			continue // nobody takes back what the user wants
		}
		next.Diverted = append(next.Diverted, Direct{Pair: d.pair(), Ends: d.ends()})
	}
	next.Gain, next.Relief = gain(v.Topology, c.diverted)
	next.Reason = c.summary(v.Topology)
	return next
}

func (e Ends) compare(f Ends) int { return cmp.Or(cmp.Compare(e.A, f.A), cmp.Compare(e.B, f.B)) }

// worthALink tells whether frames between two VMs would take a shorter way over a link of their nodes' own, and the user
// has not said which way they take.
func worthALink(o *overlay.Overlay, a, b overlay.VM) bool {
	switch {
	case a.Node == b.Node: // never leaves the node
	case a.Node == o.Proxy, b.Node == o.Proxy: // the star is direct already
	case o.Nodes[a.Node] == nil, o.Nodes[b.Node] == nil, a.Port == "", b.Port == "": // place not known
	case pinned(o, a, b), pinned(o, b, a):
	default:
		return true
	}
	return false
}

// pinned tells whether a rule that is not adaptation's is as strong as the rules for frames from one VM to the other.
func pinned(o *overlay.Overlay, from, to overlay.VM) bool {
	names := func(r overlay.Rule) bool {
		return r.Origin != overlay.OriginAdapted && r.Src == overlay.ExactMAC(from.MAC) && r.Dst == overlay.ExactMAC(to.MAC)
	}
	return slices.ContainsFunc(o.Nodes[from.Node].Rules, names) || slices.ContainsFunc(o.Nodes[to.Node].Rules, names)
}
