package vttif

import (
	"fmt"

	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

const (
	// Pair2 is the name of two VMs that talk; every other pattern that exists for two has the same shape.
	Pair2 = "pair"
	// maxNamed is the largest group that is named: the matrix of its edges takes a quarter of a megabyte.
	maxNamed = 512
)

// preference is the order in which the names of isomorphic graphs are given: the simplest word first, and what is only a
// way of running through another graph (tree up and down, butterfly) last.
func preference() []string {
	return []string{
		"bus", "ring", "hypercube", "torus2d", "torus3d", "mesh2d", "mesh3d", "alltoall", "bipartite", "broadcast",
		"tree", "treeupdown", "butterfly",
	}
}

// NameOf gives the names of all patterns of package workload whose graph over n vertices is isomorphic to the given edges,
// most preferred first, and the vertex that plays each rank of the first. Both are empty when nothing fits.
func NameOf(n int, edges []workload.Edge) (names []string, order []int) {
	if n < 2 || n > maxNamed {
		return nil, nil
	}
	g := newGraph(n, edges)
	if n == 2 && g.edges == 1 {
		names, order = []string{Pair2}, []int{0, 1}
	}
	for _, name := range preference() {
		schedule, err := workload.New(name, n, workload.Options{})
		if err != nil {
			continue // no such pattern of n ranks
		}
		as := newGraph(n, schedule.Edges()).onto(g)
		if as == nil {
			continue
		}
		if len(names) == 0 {
			order = as
		}
		names = append(names, name)
	}
	return names, order
}

// String is the group's name and size, as "ring of 4".
func (g Group) String() string { return fmt.Sprintf("%s of %d", g.Name, len(g.VMs)) }
