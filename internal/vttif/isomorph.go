package vttif

import (
	"slices"

	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

// graph is undirected, without loops or parallel edges.
type graph struct {
	n      int
	edges  int
	next   [][]int  // neighbours
	joined []bool   // n × n
	colour []uint64 // of each vertex; isomorphisms keep colours once refined
}

func newGraph(n int, edges []workload.Edge) *graph {
	g := &graph{n: n, next: make([][]int, n), joined: make([]bool, n*n), colour: make([]uint64, n)}
	for _, e := range edges {
		if e.A == e.B || g.joined[e.A*n+e.B] {
			continue
		}
		g.edges++
		g.joined[e.A*n+e.B], g.joined[e.B*n+e.A] = true, true
		g.next[e.A] = append(g.next[e.A], e.B)
		g.next[e.B] = append(g.next[e.B], e.A)
	}
	return g
}

// unrefined colours by degree.
func (g *graph) unrefined() {
	for v := range g.n {
		g.colour[v] = uint64(len(g.next[v]))
	}
}

// maxTries bounds the search for one isomorphism. The patterns are so regular that the first or second try at each vertex
// is right; what needs more is taken for irregular.
const maxTries = 200_000

// onto finds an isomorphism from g to h: the vertex of h for each of g; nil if there is none, or g is not connected.
func (g *graph) onto(h *graph) []int {
	if g.n != h.n || g.edges != h.edges || !refine(g, h) {
		return nil
	}
	m := &matcher{from: g, to: h, tries: maxTries, image: make([]int, g.n), taken: make([]bool, g.n)}
	m.plan()
	if len(m.order) < g.n || !m.match(0) {
		return nil
	}
	return m.image
}

// refine colours both graphs by the colours of their neighbours until that tells no more vertices apart (the
// one-dimensional Weisfeiler–Leman test). It is false when the colourings differ: then there is no isomorphism.
func refine(g, h *graph) bool {
	g.unrefined()
	h.unrefined()
	for classes := 0; ; {
		a, b := slices.Sorted(slices.Values(g.colour)), slices.Sorted(slices.Values(h.colour))
		if !slices.Equal(a, b) {
			return false
		}
		now := len(slices.Compact(a))
		if now == classes {
			return true
		}
		classes = now
		g.recolour()
		h.recolour()
	}
}

// recolour mixes each vertex's colour with the multiset of its neighbours'. Two multisets that collide only leave the search
// more to do.
func (g *graph) recolour() {
	fresh := make([]uint64, g.n)
	for v := range g.n {
		sum := mix(g.colour[v])
		for _, u := range g.next[v] {
			sum += mix(g.colour[u] ^ 0x5851f42d4c957f2d)
		}
		fresh[v] = mix(sum)
	}
	g.colour = fresh
}

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// matcher maps the vertices of from in breadth-first order, so that each has a neighbour that is mapped already.
type matcher struct {
	from, to *graph
	order    []int
	parent   []int // in from; -1 of the first
	image    []int
	taken    []bool // of to
	placed   []bool // of from
	tries    int
}

// plan starts at a vertex of the rarest colour: the fewest places to try.
func (m *matcher) plan() {
	g := m.from
	count := map[uint64]int{}
	for _, c := range g.colour {
		count[c]++
	}
	first := 0
	for v := range g.n {
		if count[g.colour[v]] < count[g.colour[first]] {
			first = v
		}
	}
	m.placed, m.parent = make([]bool, g.n), make([]int, g.n)
	seen := make([]bool, g.n)
	m.order, seen[first], m.parent[first] = append(m.order, first), true, -1
	for i := 0; i < len(m.order); i++ {
		for _, u := range g.next[m.order[i]] {
			if !seen[u] {
				seen[u], m.parent[u] = true, m.order[i]
				m.order = append(m.order, u)
			}
		}
	}
}

// match places the vertices from the i-th on.
func (m *matcher) match(i int) bool {
	if i == len(m.order) {
		return true
	}
	u := m.order[i]
	if m.parent[u] >= 0 {
		for _, v := range m.to.next[m.image[m.parent[u]]] {
			if m.try(i, u, v) {
				return true
			}
		}
		return false
	}
	for v := range m.to.n {
		if m.try(i, u, v) {
			return true
		}
	}
	return false
}

func (m *matcher) try(i, u, v int) bool {
	if m.tries == 0 || m.taken[v] || m.from.colour[u] != m.to.colour[v] {
		return false
	}
	m.tries--
	if !m.fits(u, v) {
		return false
	}
	m.image[u], m.taken[v], m.placed[u] = v, true, true
	if m.match(i + 1) {
		return true
	}
	m.taken[v], m.placed[u] = false, false
	return false
}

// fits tells whether v has the same neighbours among the placed as u: each of u's, and no more of them.
func (m *matcher) fits(u, v int) bool {
	placed := 0
	for _, w := range m.from.next[u] {
		if m.placed[w] {
			if !m.to.joined[v*m.to.n+m.image[w]] {
				return false
			}
			placed++
		}
	}
	for _, x := range m.to.next[v] {
		if m.taken[x] {
			placed--
		}
	}
	return placed == 0
}
