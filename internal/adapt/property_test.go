package adapt

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// notOurs is the overlay without what adaptation made.
func notOurs(o *overlay.Overlay) *overlay.Overlay {
	c := o.Clone()
	adapted := func(r overlay.Rule) bool { return r.Origin == overlay.OriginAdapted }
	for _, n := range c.Nodes {
		n.Rules = slices.DeleteFunc(n.Rules, adapted)
		if len(n.Rules) == 0 {
			n.Rules = nil
		}
	}
	c.Links = slices.DeleteFunc(c.Links, func(l overlay.Link) bool { return l.Origin == overlay.OriginAdapted })
	if len(c.Links) == 0 {
		c.Links = nil
	}
	return c
}

// drawOverlay has some VMs on some hosts, some links and some rules of the user's.
func drawOverlay(t *rapid.T) *overlay.Overlay {
	o := star(4)
	for i := 5; i < 9; i++ {
		place(o, i, host(rapid.IntRange(1, 4).Draw(t, "host")))
	}
	for range rapid.IntRange(0, 3).Draw(t, "links") {
		a, b := rapid.IntRange(1, 4).Draw(t, "a"), rapid.IntRange(1, 4).Draw(t, "b")
		if a != b {
			o.AddLink(overlay.MakeLink(host(a), host(b), overlay.OriginUser))
		}
	}
	for range rapid.IntRange(0, 4).Draw(t, "rules") {
		at := host(rapid.IntRange(1, 4).Draw(t, "at"))
		r := overlay.Rule{
			Src: overlay.ExactMAC(mac(rapid.IntRange(0, 8).Draw(t, "src"))), Dst: overlay.ExactMAC(mac(rapid.IntRange(0, 8).Draw(t, "dst"))),
			Out: overlay.AtLink(rapid.SampledFrom(o.Peers(at)).Draw(t, "peer")),
		}
		if rapid.Bool().Draw(t, "any source") {
			r.Src = overlay.Match{Kind: overlay.Any}
		}
		o.AddRule(at, r)
	}
	return o
}

func drawView(t *rapid.T, o *overlay.Overlay, version uint64, now time.Time) View {
	var edges [][3]int
	for range rapid.IntRange(0, 8).Draw(t, "edges") {
		a := rapid.IntRange(0, 7).Draw(t, "a")
		edges = append(edges, [3]int{a, rapid.IntRange(a+1, 8).Draw(t, "b"), rapid.IntRange(1, 50).Draw(t, "rate")})
	}
	slices.SortFunc(edges, func(x, y [3]int) int { return slices.Compare(x[:2], y[:2]) })
	edges = slices.CompactFunc(edges, func(x, y [3]int) bool { return x[0] == y[0] && x[1] == y[1] })
	v := View{Topology: topology(version, edges...), Overlay: o, Failed: map[Ends]time.Time{}}
	if rapid.Bool().Draw(t, "failed") {
		v.Failed[EndsOf(host(1), host(rapid.IntRange(2, 4).Draw(t, "peer")))] = now.Add(time.Minute)
	}
	return v
}

// class is frames from one MAC to another that are at a node.
type class struct {
	src, dst ether.MAC
	at       overlay.Name
	arrival  overlay.Side
}

// circles are all classes whose frames come by the same place twice, wherever they enter. It follows rules only: the flood
// tree is free of cycles by construction and nothing that left it comes back.
func circles(o *overlay.Overlay) map[class]bool {
	found := map[class]bool{}
	for src := range o.VMs {
		for dst := range o.VMs {
			for _, name := range o.Names() {
				for _, arrival := range sides(o, name) {
					c, seen := class{src, dst, name, arrival}, map[class]bool{}
					for !seen[c] {
						seen[c] = true
						v := o.Decide(c.at, c.arrival, src, dst, overlay.Condition{})
						if v.Action != overlay.Forward || v.Out.Kind != overlay.LinkSide {
							c = class{}
							break
						}
						c.at, c.arrival = v.Out.Peer(), overlay.AtLink(c.at)
					}
					if c != (class{}) {
						found[class{src, dst, name, arrival}] = true
					}
				}
			}
		}
	}
	return found
}

func sides(o *overlay.Overlay, at overlay.Name) (all []overlay.Side) {
	for _, p := range o.Nodes[at].Ports {
		all = append(all, overlay.AtPort(p.Name))
	}
	for _, peer := range o.Peers(at) {
		all = append(all, overlay.AtLink(peer))
	}
	return all
}

// TestProposalsAreSafe: nothing of the user's changes, nothing begins to circle, the budget is kept, and what was carried out
// is not proposed again.
func TestProposalsAreSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOverlay(t)
		users, circling := notOurs(o), circles(o)
		p := NewFastpath(Config{MaxLinks: rapid.IntRange(0, 3).Draw(t, "k")})
		now := start
		for version := range uint64(4) {
			now = now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "passed")) * time.Second)
			v := drawView(t, o, version, now)
			before := o.Clone()
			got, ok := p.Step(now, v)
			if !reflect.DeepEqual(o, before) {
				t.Fatal("the view was changed")
			}
			if !ok {
				continue
			}
			if got.Gain < 0 || got.Gain > 1 || len(got.Steps) == 0 {
				t.Fatalf("gain %v, steps %v", got.Gain, got.Steps)
			}
			o = carryOut(got)
			if !reflect.DeepEqual(notOurs(o), users) {
				t.Fatal("what is not adaptation's was changed")
			}
			for c := range circles(o) {
				if !circling[c] {
					t.Fatalf("%v circles", c)
				}
			}
			adapted := 0
			for _, l := range o.Links {
				if l.Origin == overlay.OriginAdapted {
					adapted++
				}
			}
			if p.cfg.MaxLinks > 0 && adapted > p.cfg.MaxLinks {
				t.Fatalf("%d links, %d allowed", adapted, p.cfg.MaxLinks)
			}
			v.Overlay = o
			if again, more := p.Step(now, v); more {
				t.Fatalf("applied, and still: %v", again.Steps)
			}
		}
	})
}
