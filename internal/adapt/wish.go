package adapt

import (
	"cmp"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
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

// wishes are all links worth having, in order of their ends.
func (p *Fastpath) wishes(now time.Time, v View) []wish {
	byEnds := map[Ends]*wish{}
	want := func(a, b ether.MAC, rate float64, group string) {
		va, okA := v.Overlay.VMs[a]
		vb, okB := v.Overlay.VMs[b]
		if !okA || !okB || !worthALink(v.Overlay, va, vb) {
			return
		}
		ends := EndsOf(va.Node, vb.Node)
		if _, fixed := v.Will.PathOf(a, b); v.frozen(ends) || fixed || v.Will.ForbiddenPair(a, b) || v.Will.Forbidden(ends.A, ends.B) {
			return
		}
		w := byEnds[ends]
		if w == nil {
			w = &wish{ends: ends}
			if l, ok := v.Overlay.LinkBetween(ends.A, ends.B); ok {
				w.free = l.Origin != overlay.OriginAdapted
			}
			byEnds[ends] = w
		}
		w.pairs = append(w.pairs, direct{a: va, b: vb, rate: rate, group: group})
		w.rate += rate
	}
	for _, g := range v.Topology.Groups {
		for _, e := range g.Edges {
			want(e.A, e.B, e.Rate, g.String())
		}
	}
	if now.Sub(p.first) < inheritedFor {
		for _, pair := range adaptedPairs(v.Overlay) {
			if !p.seen[pair] {
				want(pair.Src, pair.Dst, 0, "")
			}
		}
	}
	var wishes []wish
	for _, w := range byEnds {
		slices.SortFunc(w.pairs, func(x, y direct) int {
			return cmp.Or(cmp.Compare(y.rate, x.rate), x.a.MAC.Compare(y.a.MAC), x.b.MAC.Compare(y.b.MAC))
		})
		wishes = append(wishes, *w)
	}
	slices.SortFunc(wishes, func(x, y wish) int { return x.ends.compare(y.ends) })
	return wishes
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
