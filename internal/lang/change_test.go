package lang

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// lines is what a meaning says, as a set of lines: the slow twin of a comparison.
func lines(m *Meaning) map[string]bool {
	all := map[string]bool{}
	for _, v := range m.VMs {
		all["vm "+fmt.Sprint(v.Name, v.MAC, v.Node, v.Port)] = true
	}
	for _, l := range m.Overlay().Links {
		all[fmt.Sprint("link ", l)] = true
	}
	for at, n := range m.Overlay().Nodes {
		for _, r := range n.Rules {
			r.ID = 0
			all[fmt.Sprint("rule ", at, r)] = true
		}
	}
	w := m.Will()
	for _, p := range w.Pins {
		all[fmt.Sprint("pin ", p)] = true
	}
	for _, f := range w.Forbids {
		all[fmt.Sprint("forbid ", f)] = true
	}
	for _, c := range w.Costs {
		all[fmt.Sprint("cost ", c)] = true
	}
	for _, l := range w.Ports {
		all[fmt.Sprint("port ", l)] = true
	}
	for n, most := range w.MaxAt {
		all[fmt.Sprint("at ", n, most)] = true
	}
	return all
}

func minus(a, b map[string]bool) (n int) {
	for k := range a {
		if !b[k] {
			n++
		}
	}
	return n
}

// Between any two descriptions, with other entries of learning and adaptation about: the change leads exactly there, twice is
// nothing, what is not the user's stays, additions come first, and there are as many steps as lines that differ.
func TestAChangeLeadsToTheFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawMeaning(t), drawMeaning(t)
		most := 0
		live := Live{Overlay: a.Overlay(), Will: a.Will(), VMs: a.VMs}
		live.Will.Mode = "auto"
		live.Will.MaxLinks = &most
		for _, n := range b.Nodes { // both know all nodes
			if live.Overlay.Nodes[n.Name] == nil {
				live.Overlay.Nodes[n.Name] = &overlay.Node{Name: n.Name}
			}
		}
		other := overlay.Rule{ID: 900, Arrival: overlay.AtPort("x"), Src: overlay.Match{Kind: overlay.Any}, Dst: overlay.Match{Kind: overlay.Any}, Out: overlay.AtLink("b"), Origin: overlay.OriginAdapted}
		live.Overlay.AddRule("a", other)
		if _, there := live.Overlay.LinkBetween("a", "b"); !there {
			live.Overlay.AddLink(overlay.MakeLink("a", "b", overlay.OriginAdapted))
		}
		c := live.To(b)
		next := Live{Overlay: c.Target, Will: c.Will, VMs: c.VMs}
		if again := next.To(b); len(again.Steps) > 0 {
			t.Fatalf("a second time: %v", again.Steps)
		}
		got, want := lines(next.Meaning()), lines(b)
		if minus(got, want)+minus(want, got) > 0 {
			t.Fatalf("got\n%v\nwant\n%v", got, want)
		}
		if n := c.Target.Nodes["a"]; !slices.ContainsFunc(n.Rules, other.SameAs) {
			t.Fatal("adaptation's rule is gone")
		}
		if _, there := c.Target.LinkBetween("a", "b"); !there {
			t.Fatal("the link that adaptation's rule uses is gone")
		}
		deleting := false
		seen := map[string]bool{}
		for _, s := range c.Steps {
			if seen[s.String()] {
				t.Fatalf("twice: %s", s)
			}
			seen[s.String()] = true
			if deleting = deleting || s.Kind == Delete; deleting && s.Kind != Delete {
				t.Fatalf("an addition after a deletion: %v", c.Steps)
			}
		}
		if (live.Revision() == next.Revision()) != (len(c.Steps) == 0) {
			t.Fatalf("revision %s to %s with %d steps: %v", live.Revision(), next.Revision(), len(c.Steps), c.Steps)
		}
	})
}
