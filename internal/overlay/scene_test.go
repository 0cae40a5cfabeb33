package overlay

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// crowded is an overlay of many hosts, of which rules speak of a few.
func crowded(t *rapid.T) *Overlay {
	o := New("p")
	o.Flood = rapid.IntRange(0, 4).Draw(t, "flood") > 0
	all := []Name{"p"}
	for i := range rapid.IntRange(1, 8).Draw(t, "hosts") {
		all = append(all, Name(fmt.Sprintf("h%d", i)))
	}
	for i, n := range all {
		o.Nodes[n] = &Node{Name: n}
		for p := range rapid.IntRange(0, 4).Draw(t, "ports") {
			o.Nodes[n].Ports = append(o.Nodes[n].Ports, Port{Name: fmt.Sprintf("v%d", p)})
		}
		for _, m := range all[1:max(i, 1)] {
			if rapid.IntRange(0, 2).Draw(t, "link") == 0 {
				o.AddLink(MakeLink(n, m, OriginUser))
			}
		}
	}
	for range rapid.IntRange(2, 14).Draw(t, "rules") {
		drawRuleAt(t, o, rapid.SampledFrom(all).Draw(t, "at"))
	}
	return o
}

// The part of the overlay that is looked at for a class shows whatever is wrong anywhere.
func TestTheSceneShowsEverything(t *testing.T) {
	bad, small := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		o := crowded(t)
		g := newGraph(o)
		rules := make([][]*Rule, len(g.order))
		for _, c := range classesOf(allRules(o), o.Flood) {
			for name, n := range o.Nodes {
				rules[g.nodes[name].index] = newRuleSet(n.Rules).of(c)
			}
			g.set(nil, rules)
			seen := len(g.states)
			w := g.walk(rules, nil)
			_, inScene := w.fault(c)
			w.release()
			g.states = g.states[:0]
			for s := range g.places {
				g.live[s] = true
				g.states = append(g.states, s)
			}
			w = g.walk(rules, nil)
			cycle, anywhere := w.fault(c)
			w.release()
			if inScene != anywhere {
				t.Fatalf("%s: the scene shows %v, all shows %v: %s\n%s", c, inScene, anywhere, cycle, dump(o))
			}
			if anywhere {
				bad++
			}
			if seen < len(g.places) {
				small++
			}
		}
	})
	t.Logf("%d classes with a fault; in %d the scene was a part of the whole", bad, small)
	if bad == 0 || small == 0 {
		t.Error("the overlays are too dull to show anything")
	}
}

// Which rules speak of a class is the same by the index and by looking at all of them, and so is which edits are rivals.
func TestIndicesAgainstTwins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOverlay(t)
		other := drawOverlay(t)
		for _, n := range o.Nodes {
			set := newRuleSet(n.Rules)
			for _, c := range classesOf(slices.Concat(allRules(o), allRules(other)), o.Flood) {
				var slow []Rule
				for _, r := range n.Rules {
					if r.Src.Covers(c.src) && r.Dst.Covers(c.dst) {
						slow = append(slow, r)
					}
				}
				slices.SortStableFunc(slow, func(a, b Rule) int {
					if a.stronger(b) {
						return -1
					}
					return 1
				})
				var quick []Rule
				for _, r := range set.of(c) {
					quick = append(quick, *r)
				}
				if !slices.Equal(slow, quick) || set.speaksOf(c) != (len(slow) > 0) {
					t.Fatalf("%s at %s: %v, want %v", c, n.Name, quick, slow)
				}
			}
		}
		steps := Diff(o, other)
		all := editsOf(steps)
		for _, a := range steps {
			slow := slices.ContainsFunc(steps, func(b Step) bool {
				return b.Node == a.Node && (a.Kind == AddRule && b.Kind == DeleteRule || a.Kind == DeleteRule && b.Kind == AddRule) && a.Rule.rivals(b.Rule)
			})
			if quick := all.swaps(a); quick != slow {
				t.Fatalf("%s swaps: %v, want %v, among %v", a, quick, slow, steps)
			}
		}
	})
}
