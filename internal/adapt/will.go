package adapt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// route is a way that the user has pinned for two VMs, as it is now: it moves with them.
type route struct {
	direct
	way []overlay.Name // from a's node to b's
}

// hops are the links of the way that are not the star's.
func (r route) hops(o *overlay.Overlay) (ends []Ends) {
	for i := range len(r.way) - 1 {
		if !o.IsStar(r.way[i], r.way[i+1]) {
			ends = append(ends, EndsOf(r.way[i], r.way[i+1]))
		}
	}
	return ends
}

// String is the way in words.
func (r route) String() string {
	var names []string
	for _, n := range r.way {
		names = append(names, string(n))
	}
	return strings.Join(names, "–")
}

// rules lead the frames of both VMs along the way. Each names the side where its frames come in, so that no other frame
// meets them and what strays takes the star.
func (r route) rules() []placed {
	var all []placed
	for _, turned := range [2]bool{false, true} {
		way, from, to := slices.Clone(r.way), r.a, r.b
		if turned {
			slices.Reverse(way)
			from, to = r.b, r.a
		}
		for i, at := range way {
			rule := overlay.Rule{
				Arrival: overlay.AtPort(from.Port), Src: overlay.ExactMAC(from.MAC), Dst: overlay.ExactMAC(to.MAC),
				Out: overlay.AtPort(to.Port), Origin: overlay.OriginAdapted,
			}
			if i > 0 {
				rule.Arrival = overlay.AtLink(way[i-1])
			}
			if i < len(way)-1 {
				rule.Out = overlay.AtLink(way[i+1])
			}
			all = append(all, placed{at, rule})
		}
	}
	return all
}

// routes are the pinned ways that can be had now: of VMs whose places are known, over nodes that are here and links that are
// neither barred nor forbidden.
func routes(v View, usable func(Ends) bool) (list []route) {
	for _, pin := range v.Will.Pins {
		a, okA := v.Overlay.VMs[pin.X]
		b, okB := v.Overlay.VMs[pin.Y]
		if pin.Kind != overlay.PinPath || pin.Star || !okA || !okB || a.Node == b.Node || a.Port == "" || b.Port == "" {
			continue
		}
		r := route{direct: direct{a: a, b: b, group: "pinned"}, way: slices.Concat([]overlay.Name{a.Node}, pin.Via, []overlay.Name{b.Node})}
		r.way = slices.Compact(r.way)
		if !r.possible(v) || slices.ContainsFunc(r.hops(v.Overlay), func(e Ends) bool { return !usable(e) || v.Will.Forbidden(e.A, e.B) }) {
			continue
		}
		list = append(list, r)
	}
	return list
}

// possible tells whether the nodes are there, none is crossed twice, and the user has made no rules for the pair.
func (r route) possible(v View) bool {
	seen := map[overlay.Name]bool{}
	for i, n := range r.way {
		if seen[n] || v.Overlay.Nodes[n] == nil || v.Away[n] || i > 0 && i < len(r.way)-1 && v.Will.NoTransit(n) {
			return false
		}
		seen[n] = true
	}
	star := len(r.way) == 2 && v.Overlay.IsStar(r.way[0], r.way[1])
	star = star || len(r.way) == 3 && r.way[1] == v.Overlay.Proxy
	return !star && !pinned(v.Overlay, r.a, r.b) && !pinned(v.Overlay, r.b, r.a)
}

// straight are the routes that let no frame circle, whatever other rules there are on their way. Only they are looked at: a
// direct link's rules meet none but the frames of its two VMs' own ports, and add no circle.
func (l *list) straight(all []route) []route {
	if len(all) == 0 {
		return nil
	}
	o := l.v.meeting(all)
	var every []overlay.Rule
	for _, r := range all {
		for _, e := range r.hops(o) {
			if _, open := o.LinkBetween(e.A, e.B); !open {
				o.AddLink(overlay.MakeLink(e.A, e.B, overlay.OriginAdapted))
			}
		}
		for _, p := range r.rules() {
			n := o.Nodes[p.node]
			n.Rules, every = append(n.Rules, p.rule), append(every, p.rule)
		}
	}
	circles := map[string]overlay.Cycle{}
	for _, c := range o.CyclesOf(every...) {
		circles[c.Class] = c
	}
	return slices.DeleteFunc(slices.Clone(all), func(r route) bool {
		for _, ends := range [2][2]ether.MAC{{r.a.MAC, r.b.MAC}, {r.b.MAC, r.a.MAC}} {
			if c, bad := circles[overlay.ClassOf(ends[0], ends[1])]; bad {
				l.refuse(r.direct, fmt.Sprintf("the way %s cannot be had with the other rules there are: %s", r, c))
				return true
			}
		}
		return false
	})
}

// meeting is the overlay with no more rules than frames of these routes could meet: without adaptation's, but for those that
// stay because a node is away, and without those of other VMs.
func (v View) meeting(all []route) *overlay.Overlay {
	ours := map[overlay.Match]bool{}
	for _, r := range all {
		ours[overlay.ExactMAC(r.a.MAC)], ours[overlay.ExactMAC(r.b.MAC)] = true, true
	}
	met := func(m overlay.Match) bool { return m.Kind != overlay.Exact || ours[m] }
	o := *v.Overlay
	o.Links, o.Nodes = slices.Clone(o.Links), make(map[overlay.Name]*overlay.Node, len(o.Nodes))
	for name, n := range v.Overlay.Nodes {
		next := &overlay.Node{Name: name, Ports: n.Ports}
		for _, r := range n.Rules {
			if met(r.Src) && met(r.Dst) && (r.Origin != overlay.OriginAdapted || v.frozen(linkOf(name, r))) {
				next.Rules = append(next.Rules, r)
			}
		}
		o.Nodes[name] = next
	}
	return &o
}

// held are the links that the user has pinned and that can be had now.
func held(v View, usable func(Ends) bool) (list []Ends) {
	for _, pin := range v.Will.Pins {
		ends := EndsOf(pin.A, pin.B)
		if pin.Kind == overlay.PinLink && v.Overlay.Nodes[pin.A] != nil && v.Overlay.Nodes[pin.B] != nil && !v.Overlay.IsStar(pin.A, pin.B) && usable(ends) {
			list = append(list, ends)
		}
	}
	return list
}
