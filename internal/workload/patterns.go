package workload

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// The names of the patterns.
const (
	bus        = "bus"
	ring       = "ring"
	mesh2d     = "mesh2d"
	mesh3d     = "mesh3d"
	torus2d    = "torus2d"
	torus3d    = "torus3d"
	hypercube  = "hypercube"
	alltoall   = "alltoall"
	bipartite  = "bipartite"
	broadcast  = "broadcast"
	tree       = "tree"
	treeupdown = "treeupdown"
	butterfly  = "butterfly"
	random     = "random"
	alternate  = "alternate" // of two others, so it has no shape of its own
)

// pair is a directed exchange before it has a size.
type pair struct{ from, to int }

// shape is a family of graphs, one for each size that fits.
type shape struct {
	about  string // one line for --list
	sizes  string // which sizes exist, in words
	fits   func(ranks int) bool
	phases func(ranks int, opts Options) [][]pair
}

// Names lists the plain patterns in alphabetical order; "alternate" takes two of them.
func Names() []string { return slices.Sorted(maps.Keys(shapes())) }

// About describes a plain pattern in one line and says which sizes exist; both are empty for an unknown name.
func About(name string) (what, sizes string) { return shapes()[name].about, shapes()[name].sizes }

// Fits tells whether a plain pattern exists among so many ranks.
func Fits(name string, ranks int) bool {
	s, ok := shapes()[name]
	return ok && ranks <= MaxRanks && s.fits(ranks)
}

// shapes is the table of all plain patterns.
func shapes() map[string]shape {
	pow2 := func(n int) bool { return n >= 2 && bits.OnesCount(uint(n)) == 1 }
	const powers = "a power of two, 2 or more (2, 4, 8, 16 …)"
	grid := func(dims, side int, wrap bool, about, sizes string) shape {
		return shape{about, sizes, func(n int) bool { return sides(n, dims, side) != nil },
			func(n int, _ Options) [][]pair { return [][]pair{gridPairs(sides(n, dims, side), wrap)} }}
	}
	return map[string]shape{
		bus:       {"neighbours in a row exchange", "2 ranks or more", atLeast(2), func(n int, _ Options) [][]pair { return [][]pair{gridPairs([]int{n}, false)} }},
		ring:      {"neighbours in a circle exchange", "3 ranks or more", atLeast(3), func(n int, _ Options) [][]pair { return [][]pair{gridPairs([]int{n}, true)} }},
		mesh2d:    grid(2, 2, false, "neighbours in a rectangle exchange", "a product of two sides of 2 or more (4, 6, 8, 9, 10, 12 …)"),
		mesh3d:    grid(3, 2, false, "neighbours in a box exchange", "a product of three sides of 2 or more (8, 12, 16, 18, 20, 24 …)"),
		torus2d:   grid(2, 3, true, "neighbours in a rectangle that wraps around exchange", "a product of two sides of 3 or more (9, 12, 15, 16, 18, 20 …)"),
		torus3d:   grid(3, 3, true, "neighbours in a box that wraps around exchange", "a product of three sides of 3 or more (27, 36, 45, 48, 54, 60 …)"),
		hypercube: {"ranks whose numbers differ in one bit exchange, all at once", powers, pow2, hypercubePhases},
		butterfly: {"ranks whose numbers differ in one bit exchange, bit after bit", powers, pow2, butterflyPhases},
		alltoall:  {"every rank sends to every other", "2 ranks or more", atLeast(2), alltoallPhases},
		bipartite: {"every rank of the lower half exchanges with every one of the upper", "2 ranks or more", atLeast(2), bipartitePhases},
		broadcast: {"rank 0 sends to all others", "2 ranks or more", atLeast(2), broadcastPhases},
		tree:      {"values are combined pairwise until rank 0 has them", "2 ranks or more", atLeast(2), func(n int, _ Options) [][]pair { return upSweep(n) }},
		treeupdown: {"a tree, then the result goes back the same way", "2 ranks or more", atLeast(2),
			func(n int, _ Options) [][]pair { return append(upSweep(n), downSweep(n)...) }},
		random: {"a connected sparse graph drawn from the seed", "2 ranks or more", atLeast(2), randomPhases},
	}
}

func atLeast(least int) func(int) bool { return func(n int) bool { return n >= least } }

// list joins names for a message.
func list(names []string) string { return strings.Join(names, ", ") + fmt.Sprintf(" or %s", alternate) }

// both adds an exchange each way.
func both(pairs []pair, a, b int) []pair { return append(pairs, pair{a, b}, pair{b, a}) }

// sides factors n into so many sides of at least `least`, as equal as possible, ascending; nil if it cannot.
func sides(n, dims, least int) []int {
	if dims == 1 {
		if n < least {
			return nil
		}
		return []int{n}
	}
	var best []int
	for side := least; power(side, dims) <= n; side++ {
		if n%side != 0 {
			continue
		}
		// The smallest side is fixed and the rest is at least as long; a longer smallest side is more equal.
		if rest := sides(n/side, dims-1, side); rest != nil {
			best = append([]int{side}, rest...)
		}
	}
	return best
}

func power(base, exponent int) int {
	p := 1
	for range exponent {
		p *= base
	}
	return p
}

// gridPairs joins neighbours along each dimension; rank = x + sides[0]·(y + sides[1]·z).
func gridPairs(sides []int, wrap bool) []pair {
	n := 1
	for _, s := range sides {
		n *= s
	}
	var pairs []pair
	for rank := range n {
		stride := 1
		for _, s := range sides {
			switch at := rank / stride % s; {
			case at+1 < s:
				pairs = both(pairs, rank, rank+stride)
			case wrap:
				pairs = both(pairs, rank, rank-at*stride)
			}
			stride *= s
		}
	}
	return pairs
}

func hypercubePhases(n int, opts Options) [][]pair {
	return [][]pair{slices.Concat(butterflyPhases(n, opts)...)}
}

func butterflyPhases(n int, _ Options) [][]pair {
	var phases [][]pair
	for bit := 1; bit < n; bit <<= 1 {
		var pairs []pair
		for rank := range n {
			if rank&bit == 0 {
				pairs = both(pairs, rank, rank|bit)
			}
		}
		phases = append(phases, pairs)
	}
	return phases
}

func alltoallPhases(n int, _ Options) [][]pair {
	var pairs []pair
	for a := range n {
		for b := range a {
			pairs = both(pairs, b, a)
		}
	}
	return [][]pair{pairs}
}

func bipartitePhases(n int, _ Options) [][]pair {
	var pairs []pair
	for a := range n / 2 {
		for b := n / 2; b < n; b++ {
			pairs = both(pairs, a, b)
		}
	}
	return [][]pair{pairs}
}

func broadcastPhases(n int, _ Options) [][]pair {
	var pairs []pair
	for to := 1; to < n; to++ {
		pairs = append(pairs, pair{0, to})
	}
	return [][]pair{pairs}
}

// upSweep combines neighbours, then neighbours of neighbours: after phase k rank 0 stands for 2^(k+1) ranks.
func upSweep(n int) [][]pair {
	var phases [][]pair
	for reach := 1; reach < n; reach *= 2 {
		var pairs []pair
		for from := reach; from < n; from += 2 * reach {
			pairs = append(pairs, pair{from, from - reach})
		}
		phases = append(phases, pairs)
	}
	return phases
}

// downSweep is upSweep backwards.
func downSweep(n int) [][]pair {
	phases := upSweep(n)
	slices.Reverse(phases)
	for _, pairs := range phases {
		for i, p := range pairs {
			pairs[i] = pair{p.to, p.from}
		}
	}
	return phases
}

// randomPhases draws a random spanning tree and adds random pairs until the density is reached.
func randomPhases(n int, opts Options) [][]pair {
	density := opts.Density
	if density == 0 {
		density = DefaultDensity
	}
	dice := newDice(opts.Seed, n)
	order := dice.Perm(n)
	var inTree, rest []Edge
	used := map[Edge]bool{}
	for i := 1; i < n; i++ {
		a, b := order[i], order[dice.IntN(i)]
		e := Edge{min(a, b), max(a, b)}
		used[e] = true
		inTree = append(inTree, e)
	}
	for a := range n {
		for b := a + 1; b < n; b++ {
			if e := (Edge{a, b}); !used[e] {
				rest = append(rest, e)
			}
		}
	}
	dice.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	more := int(density*float64(n*(n-1)/2)+0.5) - len(inTree)
	edges := sortedEdges(append(inTree, rest[:max(0, more)]...))
	var pairs []pair
	for _, e := range edges {
		pairs = both(pairs, e.A, e.B)
	}
	return [][]pair{pairs}
}
