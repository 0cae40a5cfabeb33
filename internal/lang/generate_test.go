package lang

import (
	"fmt"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

func TestShapes(t *testing.T) {
	for _, tt := range []struct {
		shape    string
		n, x, y  int
		edges    int
		diameter int
	}{
		{"ring", 8, 0, 0, 8, 4}, {"ring", 2, 0, 0, 1, 1}, {"bus", 8, 0, 0, 7, 7}, {"mesh", 8, 4, 2, 10, 4}, {"torus", 9, 3, 3, 18, 2},
		{"torus", 8, 4, 2, 12, 3}, {"hypercube", 8, 0, 0, 12, 3}, {"all-to-all", 6, 0, 0, 15, 1}, {"tree", 7, 0, 0, 6, 4},
	} {
		edges, err := Edges(tt.shape, tt.n, tt.x, tt.y)
		if err != nil || len(edges) != tt.edges {
			t.Errorf("%s of %d: %d edges, want %d: %v", tt.shape, tt.n, len(edges), tt.edges, err)
			continue
		}
		var l Layout
		for i := range tt.n {
			l.Nodes = append(l.Nodes, overlay.Name(fmt.Sprintf("h%d", i)))
			l.VMs = append(l.VMs, VM{Name: fmt.Sprintf("vm%d", i), MAC: ether.MAC{2, 0, 0, 0, 0, byte(i)}, Node: l.Nodes[i], Port: "x"})
		}
		l.Edges = edges
		for l.Rules = NoRules; l.Rules <= AllRules; l.Rules++ {
			for _, l.Direct = range []bool{false, true} {
				m, err := Generate(l)
				if err != nil {
					t.Fatal(err)
				}
				longest := judgeLayout(t, fmt.Sprintf("%s %d %v", tt.shape, l.Rules, l.Direct), l, m)
				if l.Rules == AllRules && !l.Direct && longest != tt.diameter {
					t.Errorf("%s of %d: the longest way is %d, want %d", tt.shape, tt.n, longest, tt.diameter)
				}
			}
		}
	}
	for _, bad := range []string{"rin", "hypercube", "mesh"} {
		if _, err := Edges(bad, 6, 4, 2); err == nil {
			t.Errorf("%s of 6 is accepted", bad)
		}
	}
}

// judgeLayout checks a description and follows every pair that has rules; it returns the longest way in links.
func judgeLayout(t *testing.T, what string, l Layout, m *Meaning) (longest int) {
	text := Format(Describe(m))
	if _, err := Check(what, text); err != nil {
		t.Fatalf("%s: %v\n%s", what, err, text)
	}
	o := m.Overlay()
	ruled := map[[2]ether.MAC]bool{}
	for _, n := range o.Nodes {
		for _, r := range n.Rules {
			ruled[[2]ether.MAC{r.Src.MAC, r.Dst.MAC}] = true
		}
	}
	if want := len(l.VMs) * (len(l.VMs) - 1); l.Rules == AllRules && len(ruled) != want {
		t.Errorf("%s: %d pairs have rules, want %d", what, len(ruled), want)
	}
	for pair := range ruled {
		src := o.VMs[pair[0]]
		path := o.Trace(src.Node, overlay.AtPort(src.Port), pair[0], pair[1])
		last := path.Hops[len(path.Hops)-1]
		if path.End != overlay.Delivered || last.Node != o.VMs[pair[1]].Node {
			t.Errorf("%s: %v to %v: %v", what, pair[0], pair[1], path)
		}
		longest = max(longest, len(path.Hops)-1)
	}
	return longest
}
