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
