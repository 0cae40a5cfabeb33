package vttif

import (
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

// Irregular is the name of a group that shows no pattern; OnLAN of a VM that talks to the Proxy's LAN only.
const (
	Irregular = "irregular"
	OnLAN     = "lan"
)

// topology builds what is published: edges with present weights in groups. Names are worked out anew only for groups whose
// edges changed.
func (in *Inferrer) topology(now time.Time) Topology {
	t := Topology{Version: in.version, Since: in.since}
	in.connect(in.published)
	for _, f := range in.published {
		home := f.home()
		if home.group == 0 {
			t.Groups = append(t.Groups, Group{})
			home.group = len(t.Groups)
		}
		g := &t.Groups[home.group-1]
		lan := f.a.lan || f.b.lan
		g.Edges = append(g.Edges, Edge{A: f.pair.Src, B: f.pair.Dst, Rate: f.rate, Since: f.since, LAN: lan})
		g.Rate += f.rate
		g.Active = g.Active || f.used
		for _, v := range [2]*vertex{f.a, f.b} {
			switch {
			case v.lan:
				g.LAN = append(g.LAN, v.mac)
			case !v.listed:
				g.VMs = append(g.VMs, v.mac)
				v.group, v.listed = home.group, true
			}
		}
	}
	noise := in.noise(len(t.Groups))
	for i := range t.Groups {
		in.finish(now, &t.Groups[i], noise[i])
		t.Edges = append(t.Edges, t.Groups[i].Edges...)
	}
	slices.SortFunc(t.Groups, func(a, b Group) int { return a.VMs[0].Compare(b.VMs[0]) })
	slices.SortFunc(t.Edges, func(a, b Edge) int { return a.ends().Compare(b.ends()) })
	in.groups = t.Groups
	return t
}

func (e Edge) ends() Pair { return Pair{Src: e.A, Dst: e.B} }

// noise is, for each group, the strongest traffic between two of its VMs that is no edge, in bytes/s.
func (in *Inferrer) noise(groups int) []float64 {
	strongest := make([]float64, groups)
	for _, f := range in.order {
		if f.published || f.never || f.slow == 0 || f.a.lan || f.b.lan {
			continue
		}
		if g := f.a.group; g != 0 && g == f.b.group {
			strongest[g-1] = max(strongest[g-1], f.slow)
		}
	}
	return strongest
}

// finish sorts a group, weighs its edges and names it.
func (in *Inferrer) finish(now time.Time, g *Group, noise float64) {
	sortMACs := func(m []ether.MAC) []ether.MAC {
		slices.SortFunc(m, ether.MAC.Compare)
		return slices.Compact(m)
	}
	g.VMs, g.LAN = sortMACs(g.VMs), sortMACs(g.LAN)
	strongest, weakest := 0.0, -1.0
	for _, e := range g.Edges {
		if e.LAN && len(g.VMs) > 1 {
			continue
		}
		strongest = max(strongest, e.Rate)
		if weakest < 0 || e.Rate < weakest {
			weakest = e.Rate
		}
	}
	if in.cfg.Global {
		for _, f := range in.published {
			strongest = max(strongest, f.rate)
		}
	}
	for i := range g.Edges {
		if strongest > 0 {
			g.Edges[i].Weight = min(g.Edges[i].Rate/strongest, 1)
		}
	}
	if weakest > 0 {
		g.Confidence = weakest / (weakest + noise)
	}
	if old := slices.IndexFunc(in.groups, g.sameShape); old >= 0 {
		o := &in.groups[old]
		g.Name, g.Names, g.Order, g.Since = o.Name, o.Names, o.Order, o.Since
		return
	}
	g.Since = now
	g.name()
}

// sameShape tells whether o has the same VMs and the same edges, whatever their weights.
func (g *Group) sameShape(o Group) bool {
	return slices.Equal(g.VMs, o.VMs) && slices.EqualFunc(g.Edges, o.Edges, func(a, b Edge) bool {
		return a.ends() == b.ends() && a.LAN == b.LAN
	})
}

// name finds the patterns of the group, its endpoints on the LAN left out.
func (g *Group) name() {
	if len(g.VMs) == 1 {
		g.Name, g.Names, g.Order = OnLAN, []string{OnLAN}, g.VMs
		return
	}
	var edges []workload.Edge
	for _, e := range g.Edges {
		if !e.LAN {
			a, _ := slices.BinarySearchFunc(g.VMs, e.A, ether.MAC.Compare)
			b, _ := slices.BinarySearchFunc(g.VMs, e.B, ether.MAC.Compare)
			edges = append(edges, workload.Edge{A: a, B: b})
		}
	}
	names, order := NameOf(len(g.VMs), edges)
	g.Name, g.Names = Irregular, names
	if len(names) == 0 {
		return
	}
	g.Name = names[0]
	for _, v := range order {
		g.Order = append(g.Order, g.VMs[v])
	}
}

// Name is the names of all groups, as "ring of 4 + ring of 4"; "nothing" when there are none.
func (t Topology) Name() string {
	if len(t.Groups) == 0 {
		return "nothing"
	}
	text := ""
	for i, g := range t.Groups {
		if i > 0 {
			text += " + "
		}
		text += g.String()
	}
	return text
}
