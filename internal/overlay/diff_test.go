package overlay

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// counted is everything an overlay has that steps can change, as often as it has it: the slow twin of Diff.
func counted(o *Overlay) map[string]int {
	all := map[string]int{}
	for _, l := range o.Links {
		all[fmt.Sprintf("link %s %s", l.A, l.B)]++
	}
	for at, n := range o.Nodes {
		for _, r := range n.Rules {
			all[fmt.Sprintf("rule %s %s %s", at, r, r.Origin)]++
		}
	}
	return all
}

func TestDiffAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := drawOverlay(t), drawOverlay(t)
		if rapid.Bool().Draw(t, "alike") {
			to = from.Clone()
			drawRule(t, to)
		}
		for _, o := range []*Overlay{from, to} { // a node that was cut off may hold a rule twice, under two numbers
			for _, name := range o.Names() {
				n := o.Nodes[name]
				if len(n.Rules) > 0 && rapid.Bool().Draw(t, "twice") {
					r := n.Rules[0]
					r.ID = o.NextID()
					n.Rules = append(n.Rules, r)
				}
			}
		}
		have, want := counted(from), counted(to)
		last := OpenLink
		for _, s := range Diff(from, to) {
			if s.Kind < last {
				t.Fatalf("%s comes after a %d", s, last)
			}
			last = s.Kind
			switch s.Kind {
			case OpenLink:
				have[fmt.Sprintf("link %s %s", s.Link.A, s.Link.B)]++
			case CloseLink:
				have[fmt.Sprintf("link %s %s", s.Link.A, s.Link.B)]--
			case AddRule:
				have[fmt.Sprintf("rule %s %s %s", s.Node, s.Rule, s.Rule.Origin)]++
			case DeleteRule:
				have[fmt.Sprintf("rule %s %s %s", s.Node, s.Rule, s.Rule.Origin)]--
			}
		}
		for what, n := range want {
			if have[what] != n {
				t.Fatalf("after all steps %q is there %d times, want %d", what, have[what], n)
			}
		}
		for what, n := range have {
			if n != want[what] {
				t.Fatalf("after all steps %q is there %d times, want %d", what, n, want[what])
			}
		}
	})
}
