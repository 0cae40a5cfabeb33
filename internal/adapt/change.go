package adapt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// placed is a rule at its node, without ID.
type placed struct {
	node overlay.Name
	rule overlay.Rule
}

// rules take two VMs' frames over the link of their nodes: at the source those that enter by the VM's own port, at the
// destination those that come over the link. No frame that enters elsewhere meets them, so they add no cycle.
func (d direct) rules() []placed {
	var all []placed
	for _, way := range [2][2]overlay.VM{{d.a, d.b}, {d.b, d.a}} {
		from, to := way[0], way[1]
		src, dst := overlay.ExactMAC(from.MAC), overlay.ExactMAC(to.MAC)
		all = append(all,
			placed{from.Node, overlay.Rule{Arrival: overlay.AtPort(from.Port), Src: src, Dst: dst, Out: overlay.AtLink(to.Node), Origin: overlay.OriginAdapted}},
			placed{to.Node, overlay.Rule{Arrival: overlay.AtLink(from.Node), Src: src, Dst: dst, Out: overlay.AtPort(to.Port), Origin: overlay.OriginAdapted}})
	}
	return all
}

// change turns the present overlay into one with the chosen links and no other adapted ones.
type change struct {
	target   *overlay.Overlay
	frozen   func(Ends) bool
	planned  string // the reason for what a plan asks for
	steps    []Step
	diverted []direct     // pairs that get rules
	lost     []vttif.Pair // pairs that lose rules
	opens    int          // steps of these kinds
	closes   int
	restores int
}

// setting is what adaptation wants there to be: nothing else of its own stays.
type setting struct {
	chosen []wish
	routes []route // pinned by the user
	held   []Ends  // links pinned by the user
}

// links are those of the user's pins.
func (s setting) links(o *overlay.Overlay) (all []Ends) {
	for _, r := range s.routes {
		all = append(all, r.hops(o)...)
	}
	return append(all, s.held...)
}

func newChange(v View, set setting, why func(vttif.Pair) string) *change {
	c := &change{target: v.Overlay.Clone(), frozen: v.frozen, planned: strings.TrimSuffix("plan: "+v.PlanWhy, ": ")}
	missing, wanted := map[placed]bool{}, map[placed]bool{}
	want := func(rules []placed) {
		for _, r := range rules {
			missing[r], wanted[r] = true, true
		}
	}
	for _, w := range set.chosen {
		for _, d := range w.pairs {
			want(d.rules())
		}
	}
	for _, r := range set.routes {
		want(r.rules())
	}
	dropped := c.drop(wanted, missing)
	for _, w := range set.chosen {
		c.open(w)
		for _, d := range w.pairs {
			c.divert(w.ends.String(), d, d.rules(), missing)
		}
	}
	for _, r := range set.routes {
		for _, ends := range r.hops(v.Overlay) {
			c.hold(ends, r.group)
		}
	}
	for _, ends := range set.held {
		c.hold(ends, "pinned")
	}
	for _, r := range set.routes {
		c.divert(r.String(), r.direct, r.rules(), missing)
	}
	c.lost = dropped
	c.restore(dropped, why)
	c.close(set)
	return c
}

// hold opens a link because the user has pinned it, or a plan's way takes it.
func (c *change) hold(ends Ends, group string) {
	if _, ok := c.target.LinkBetween(ends.A, ends.B); ok {
		return
	}
	c.target.AddLink(overlay.MakeLink(ends.A, ends.B, overlay.OriginAdapted))
	c.opens++
	reason := "the user has pinned it"
	if group == "plan" {
		reason = c.planned
	}
	c.add(OpenLink, ends.String(), reason)
}

// drop takes out adapted rules that are not wanted, and what is left from missing; it returns the pairs that lose rules.
func (c *change) drop(wanted, missing map[placed]bool) (pairs []vttif.Pair) {
	for _, name := range c.target.Names() {
		n := c.target.Nodes[name]
		n.Rules = slices.DeleteFunc(n.Rules, func(r overlay.Rule) bool {
			if r.Origin != overlay.OriginAdapted || c.frozen(linkOf(name, r)) {
				return false
			}
			r.ID = 0
			key := placed{name, r}
			if wanted[key] && missing[key] { // the first of its kind stays
				delete(missing, key)
				return false
			}
			pairs = append(pairs, unordered(r.Src.MAC, r.Dst.MAC))
			return true
		})
	}
	slices.SortFunc(pairs, vttif.Pair.Compare)
	return slices.Compact(pairs)
}

// linkOf is the link that an adapted rule at a node is about.
func linkOf(at overlay.Name, r overlay.Rule) Ends {
	if r.Out.Kind == overlay.LinkSide {
		return EndsOf(at, r.Out.Peer())
	}
	return EndsOf(at, r.Arrival.Peer())
}

func (c *change) open(w wish) {
	if _, ok := c.target.LinkBetween(w.ends.A, w.ends.B); ok {
		return
	}
	c.target.AddLink(overlay.MakeLink(w.ends.A, w.ends.B, overlay.OriginAdapted))
	c.opens++
	var pairs []string
	for _, d := range w.pairs {
		pairs = append(pairs, d.String())
	}
	reason := fmt.Sprintf("%s exchange %s", strings.Join(pairs, ", "), rate(w.rate))
	if w.rate == 0 {
		reason = fmt.Sprintf("%s: %s", strings.Join(pairs, ", "), w.pairs[0].group)
	}
	c.add(OpenLink, w.ends.String(), reason)
}

func (c *change) divert(over string, d direct, rules []placed, missing map[placed]bool) {
	added := false
	for _, r := range rules {
		if missing[r] {
			n := c.target.Nodes[r.node]
			n.Rules = append(n.Rules, r.rule)
			added = true
		}
	}
	if !added {
		return
	}
	c.diverted = append(c.diverted, d)
	reason := "in place before"
	switch d.group {
	case "":
	case "pinned":
		reason = "the user has pinned this way"
	case "plan":
		reason = c.planned
	case "told", "mesh":
		reason = d.group
	default:
		reason = fmt.Sprintf("%s of a %s", rate(d.rate), d.group)
		if d.rate == 0 {
			reason = "a " + d.group
		}
	}
	c.add(Divert, fmt.Sprintf("%s over %s", d, over), reason)
}

func (c *change) restore(pairs []vttif.Pair, why func(vttif.Pair) string) {
	for _, p := range pairs {
		c.restores++
		c.add(Restore, fmt.Sprintf("%s and %s", called(c.target, p.Src), called(c.target, p.Dst)), why(p))
	}
}

// close strikes out adapted links that are not chosen, unless somebody else's rule takes them.
func (c *change) close(set setting) {
	pinned := set.links(c.target)
	for _, l := range slices.Clone(c.target.Links) {
		ends := EndsOf(l.A, l.B)
		keep := slices.ContainsFunc(set.chosen, func(w wish) bool { return w.ends == ends }) || slices.Contains(pinned, ends)
		if l.Origin != overlay.OriginAdapted || keep || c.frozen(ends) || named(c.target, l.A, l.B) || named(c.target, l.B, l.A) {
			continue
		}
		c.target.RemoveLink(l.A, l.B)
		c.closes++
		c.add(CloseLink, ends.String(), "no rule takes it")
	}
}

// named tells whether a rule at a node names the link to its peer.
func named(o *overlay.Overlay, at, peer overlay.Name) bool {
	n, side := o.Nodes[at], overlay.AtLink(peer)
	return n != nil && slices.ContainsFunc(n.Rules, func(r overlay.Rule) bool { return r.Arrival == side || r.Out == side })
}

func (c *change) add(k Kind, what, reason string) {
	c.steps = append(c.steps, Step{Kind: k, What: what, Reason: reason})
	slices.SortStableFunc(c.steps, func(a, b Step) int { return int(a.Kind) - int(b.Kind) })
}

// summary is the change in one line.
func (c *change) summary(t vttif.Topology) string {
	var parts []string
	part := func(n int, thing, what string) {
		switch {
		case n == 1:
			parts = append(parts, fmt.Sprintf("1 %s %s", thing, what))
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss %s", n, thing, what))
		}
	}
	part(c.opens, "link", "to open")
	part(len(c.diverted), "pair", "to divert")
	part(c.restores, "pair", "back to the star")
	part(c.closes, "link", "to close")
	return fmt.Sprintf("%s: %s", t.Name(), strings.Join(parts, ", "))
}

// gain is the share of their groups' bytes that the diverted pairs take off the Proxy, and how many bytes/s these are.
func gain(t vttif.Topology, diverted []direct) (share, relief float64) {
	moved := map[vttif.Pair]bool{}
	for _, d := range diverted {
		moved[d.pair()] = true
	}
	var all float64
	for _, g := range t.Groups {
		off := 0.0
		for _, e := range g.Edges {
			if moved[unordered(e.A, e.B)] {
				off += e.Rate
			}
		}
		if off > 0 {
			relief += off
			all += g.Rate
		}
	}
	if all == 0 {
		return 0, 0
	}
	return relief / all, relief
}

// adaptedPairs are the pairs of VMs that adapted rules name, in order.
func adaptedPairs(o *overlay.Overlay) (pairs []vttif.Pair) {
	for _, name := range o.Names() {
		for _, r := range o.Nodes[name].Rules {
			if r.Origin == overlay.OriginAdapted {
				pairs = append(pairs, unordered(r.Src.MAC, r.Dst.MAC))
			}
		}
	}
	slices.SortFunc(pairs, vttif.Pair.Compare)
	return slices.Compact(pairs)
}

func unordered(a, b ether.MAC) vttif.Pair {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return vttif.Pair{Src: a, Dst: b}
}

func title(v overlay.VM) string {
	if v.Name != "" {
		return v.Name
	}
	return v.MAC.String()
}

func called(o *overlay.Overlay, m ether.MAC) string {
	if v, ok := o.VMs[m]; ok {
		return title(v)
	}
	return m.String()
}

// rate is bytes/s as people write them.
func rate(bytes float64) string {
	switch {
	case bytes >= 1e6:
		return fmt.Sprintf("%.1f MB/s", bytes/1e6)
	case bytes >= 1e3:
		return fmt.Sprintf("%.1f kB/s", bytes/1e3)
	}
	return fmt.Sprintf("%.0f B/s", bytes)
}
