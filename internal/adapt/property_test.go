package adapt

import (
	"fmt"
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
		if added, _ := o.AddRule(at, r); len(o.Cycles()) > 0 {
			o.RemoveRule(at, added.ID) // the Proxy would have refused it
		}
	}
	return o
}

// move takes a VM to another host and retires the rules for it; adaptation finds its rules as they were.
func move(o *overlay.Overlay, i int, to overlay.Name) {
	for _, n := range o.Nodes {
		n.Rules = slices.DeleteFunc(n.Rules, func(r overlay.Rule) bool {
			return r.Origin == overlay.OriginStar && r.Dst == overlay.ExactMAC(mac(i))
		})
	}
	place(o, i, to)
}

// retireAdapted takes adaptation's rules for a VM out.
func retireAdapted(o *overlay.Overlay, m ether.MAC) {
	of := overlay.ExactMAC(m)
	for _, n := range o.Nodes {
		n.Rules = slices.DeleteFunc(n.Rules, func(r overlay.Rule) bool {
			return r.Origin == overlay.OriginAdapted && (r.Src == of || r.Dst == of)
		})
	}
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
	if rapid.Bool().Draw(t, "away") {
		v.Away = map[overlay.Name]bool{host(rapid.IntRange(1, 4).Draw(t, "who")): true}
	}
	for range rapid.IntRange(0, 4).Draw(t, "ways") {
		w := Way{A: mac(rapid.IntRange(1, 8).Draw(t, "from")), B: mac(rapid.IntRange(1, 8).Draw(t, "to"))}
		for range rapid.IntRange(0, 2).Draw(t, "hops") {
			w.Via = append(w.Via, host(rapid.IntRange(1, 4).Draw(t, "via")))
		}
		v.Plan = append(v.Plan, w)
	}
	return v
}

// overBudget says where more adapted links are open than are allowed.
func overBudget(o *overlay.Overlay, c Config, w overlay.Will) string {
	all, at := 0, map[overlay.Name]int{}
	for _, l := range o.Links {
		if l.Origin == overlay.OriginAdapted {
			all++
			at[l.A]++
			at[l.B]++
		}
	}
	if c.MaxLinks > 0 && all > c.MaxLinks {
		return fmt.Sprintf("%d links, %d allowed", all, c.MaxLinks)
	}
	for name, n := range at {
		if most, limited := w.MaxAt[name]; c.MaxPerNode > 0 && n > c.MaxPerNode || limited && n > most {
			return fmt.Sprintf("%d links at %s", n, name)
		}
	}
	return ""
}

// TestProposalsAreSafe: nothing of the user's changes, nothing begins to circle, the budget is kept, and what was carried out
// is not proposed again.
func TestProposalsAreSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOverlay(t)
		users := notOurs(o)
		p := NewPlanner(Config{
			MaxLinks: rapid.IntRange(0, 3).Draw(t, "k"), MaxPerNode: rapid.IntRange(0, 2).Draw(t, "each"),
			Policy: rapid.SampledFrom([]string{"fastpath", AgentPolicy, "mesh"}).Draw(t, "policy"),
		})
		will := overlay.Will{MaxAt: map[overlay.Name]int{"host2": rapid.IntRange(0, 3).Draw(t, "at host2")}}
		now := start
		for version := range uint64(4) {
			now = now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "passed")) * time.Second)
			if rapid.IntRange(0, 3).Draw(t, "moves") == 0 {
				vm := rapid.IntRange(1, 8).Draw(t, "VM")
				move(o, vm, host(rapid.IntRange(1, 4).Draw(t, "to")))
				if users = notOurs(o); len(users.Cycles()) > 0 {
					return // the Proxy would retire more than this test does
				}
				if len(o.Cycles()) > 0 {
					retireAdapted(o, mac(vm)) // as the Proxy always does
				}
			}
			v := drawView(t, o, version, now)
			v.Will = will
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
			if cycles := o.Cycles(); len(cycles) > 0 {
				t.Fatalf("%v", cycles)
			}
			if over := overBudget(o, p.cfg, will); over != "" {
				t.Fatal(over)
			}
			v.Overlay = o
			if again, more := p.Step(now, v); more {
				t.Fatalf("applied, and still: %v", again.Steps)
			}
		}
	})
}
