package lang

import (
	"fmt"
	"slices"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Shapes are the names of the shapes that Edges knows.
func Shapes() []string {
	return []string{"ring", "bus", "mesh", "torus", "hypercube", "all-to-all", "tree", "star"}
}

// Edges are the links of a shape over n nodes; x and y are the sides of a mesh or torus, 0 for the other shapes. The shape star
// has none: every overlay has the star by itself.
func Edges(shape string, n, x, y int) ([][2]int, error) {
	var edges [][2]int
	add := func(a, b int) {
		e := [2]int{min(a, b), max(a, b)}
		if a != b && !slices.Contains(edges, e) {
			edges = append(edges, e)
		}
	}
	if n < 2 {
		return nil, fmt.Errorf("cannot make a %s of %d nodes: name at least two", shape, n)
	}
	switch shape {
	case "star":
	case "ring", "bus":
		for i := range n - 1 {
			add(i, i+1)
		}
		if shape == "ring" {
			add(n-1, 0)
		}
	case "mesh", "torus":
		if x < 1 || y < 1 || x*y != n {
			return nil, fmt.Errorf("cannot make a %s of %dx%d out of %d nodes: it takes %d", shape, x, y, n, x*y)
		}
		for i := range n {
			if i%x+1 < x || shape == "torus" {
				add(i, i-i%x+(i%x+1)%x)
			}
			if i+x < n || shape == "torus" {
				add(i, (i+x)%n)
			}
		}
	case "hypercube":
		if n&(n-1) != 0 {
			return nil, fmt.Errorf("cannot make a hypercube of %d nodes: it takes 2, 4, 8, 16 …", n)
		}
		for i := range n {
			for bit := 1; bit < n; bit <<= 1 {
				add(i, i^bit)
			}
		}
	case "all-to-all":
		for i := range n {
			for j := range i {
				add(j, i)
			}
		}
	case "tree":
		for i := 1; i < n; i++ {
			add((i-1)/2, i)
		}
	default:
		return nil, fmt.Errorf("cannot make a %q%s: the shapes are %s", shape, suggest(shape, Shapes()), listed(Shapes()))
	}
	return edges, nil
}

// Wanted says which rules Generate makes.
type Wanted uint8

// Which pairs of VMs get rules.
const (
	NoRules     Wanted = iota // links only
	NeededRules               // those whose nodes are linked
	AllRules                  // all
)

// Layout is what Generate makes a description of.
type Layout struct {
	Nodes  []overlay.Name
	VMs    []VM // with node and port
	Edges  [][2]int
	Rules  Wanted
	Direct bool // AllRules give every pair of nodes a link of its own, instead of leading frames hop by hop
}

// Generate is the links of a layout, and rules that use them. Every rule names the side where its frames come in, so that what
// strays by another way, after a failure, takes the star.
func Generate(l Layout) (*Meaning, error) {
	m := &Meaning{VMs: slices.Clone(l.VMs)}
	g := newWays(len(l.Nodes))
	link := func(a, b int) {
		if !g.linked[a][b] {
			g.link(a, b)
			m.Links = append(m.Links, Link{A: l.Nodes[a], B: l.Nodes[b]})
		}
	}
	for _, e := range l.Edges {
		link(e[0], e[1])
	}
	if l.Rules == NoRules {
		return m, nil
	}
	for _, src := range l.VMs {
		for _, dst := range l.VMs {
			a, b := slices.Index(l.Nodes, src.Node), slices.Index(l.Nodes, dst.Node)
			switch {
			case src.Name == dst.Name || a == b || a < 0 || b < 0:
				continue
			case src.Port == "" || dst.Port == "":
				return nil, fmt.Errorf("cannot make rules for %s and %s: say at which node and port each is", src.Name, dst.Name)
			case l.Rules == NeededRules && !g.linked[a][b]:
				continue
			case l.Direct:
				link(a, b)
			}
			way := g.way(a, b)
			if l.Direct {
				way = []int{a, b}
			}
			m.Rules = append(m.Rules, along(l.Nodes, way, src, dst)...)
		}
	}
	return m, nil
}

// along are the rules that lead frames from one VM to another over the nodes of a way.
func along(nodes []overlay.Name, way []int, src, dst VM) (rules []Rule) {
	s, d := Address{Kind: overlay.Exact, VM: VMRef{Name: src.Name}}, Address{Kind: overlay.Exact, VM: VMRef{Name: dst.Name}}
	for i, n := range way {
		r := Rule{Node: nodes[n], From: overlay.AtPort(src.Port), Src: s, Dst: d, To: overlay.AtPort(dst.Port)}
		if i > 0 {
			r.From = overlay.AtLink(nodes[way[i-1]])
		}
		if i < len(way)-1 {
			r.To = overlay.AtLink(nodes[way[i+1]])
		}
		rules = append(rules, r)
	}
	return rules
}

// ways finds shortest ways; of several the one over the nodes named first.
type ways struct{ linked [][]bool }

func newWays(n int) *ways {
	w := &ways{make([][]bool, n)}
	for i := range w.linked {
		w.linked[i] = make([]bool, n)
	}
	return w
}

func (w *ways) link(a, b int) { w.linked[a][b], w.linked[b][a] = true, true }

// way is the nodes from a to b; nil when there is no way.
func (w *ways) way(a, b int) []int {
	before := map[int]int{a: a}
	for queue := []int{a}; len(queue) > 0; queue = queue[1:] {
		for next, linked := range w.linked[queue[0]] {
			if _, seen := before[next]; linked && !seen {
				before[next] = queue[0]
				queue = append(queue, next)
			}
		}
	}
	if _, ok := before[b]; !ok {
		return nil
	}
	way := []int{b}
	for way[0] != a {
		way = slices.Insert(way, 0, before[way[0]])
	}
	return way
}
