package vttif

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

func edgesOf(t testing.TB, name string, n int) []workload.Edge {
	s, err := workload.New(name, n, workload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Edges()
}

func shuffled(edges []workload.Edge, perm []int) []workload.Edge {
	out := make([]workload.Edge, len(edges))
	for i, e := range edges {
		a, b := perm[e.A], perm[e.B]
		out[i] = workload.Edge{A: min(a, b), B: max(a, b)}
	}
	slices.SortFunc(out, func(x, y workload.Edge) int { return (x.A-y.A)*1024 + x.B - y.B })
	return out
}

func TestEveryPatternIsNamedInAnyOrder(t *testing.T) {
	dice := rand.New(rand.NewPCG(2, 2))
	for _, name := range preference() {
		for _, n := range []int{2, 3, 4, 5, 7, 8, 9, 12, 16, 27, 32, 64, 128} {
			if !workload.Fits(name, n) {
				continue
			}
			edges := shuffled(edgesOf(t, name, n), dice.Perm(n))
			started := time.Now()
			names, order := NameOf(n, edges)
			if took := time.Since(started); took > time.Second {
				t.Errorf("%s of %d: %v", name, n, took)
			}
			if !slices.Contains(names, name) {
				t.Errorf("%s of %d is named %v", name, n, names)
				continue
			}
			if names[0] == Pair2 {
				continue
			}
			if got := shuffled(edgesOf(t, names[0], n), order); !slices.Equal(got, edges) {
				t.Errorf("%s of %d: the order %v does not show a %s", name, n, order, names[0])
			}
		}
	}
}

func TestNamesComeInTheOrderOfPreference(t *testing.T) {
	for _, row := range []struct {
		pattern string
		n       int
		want    string
	}{
		{"bus", 2, "pair bus hypercube alltoall bipartite broadcast tree treeupdown butterfly"},
		{"bus", 3, "bus bipartite broadcast tree treeupdown"},
		{"ring", 3, "ring alltoall"},
		{"hypercube", 4, "ring hypercube mesh2d bipartite butterfly"},
		{"mesh3d", 8, "hypercube mesh3d butterfly"},
		{"torus2d", 16, "hypercube torus2d butterfly"},
		{"torus2d", 9, "torus2d"},
		{"tree", 4, "bus tree treeupdown"},
		{"tree", 8, "tree treeupdown"},
		{"alltoall", 8, "alltoall"},
		{"broadcast", 8, "broadcast"},
	} {
		names, _ := NameOf(row.n, edgesOf(t, row.pattern, row.n))
		if got := strings.Join(names, " "); got != row.want {
			t.Errorf("%s of %d: %s, want %s", row.pattern, row.n, got, row.want)
		}
	}
}

func TestWhatFitsNothingHasNoName(t *testing.T) {
	e := func(pairs ...int) (edges []workload.Edge) {
		for i := 0; i < len(pairs); i += 2 {
			edges = append(edges, workload.Edge{A: pairs[i], B: pairs[i+1]})
		}
		return edges
	}
	for _, row := range []struct {
		name  string
		n     int
		edges []workload.Edge
	}{
		{"a ring of 4 with one diagonal", 4, e(0, 1, 1, 2, 2, 3, 0, 3, 0, 2)},
		{"two triangles: as regular as a ring of 6", 6, e(0, 1, 1, 2, 0, 2, 3, 4, 4, 5, 3, 5)},
		{"nobody", 0, nil},
		{"one", 1, nil},
		{"two that do not talk", 2, nil},
	} {
		if names, order := NameOf(row.n, row.edges); len(names)+len(order) != 0 {
			t.Errorf("%s: %v", row.name, names)
		}
	}
	// 4-regular graphs of 64 vertices look like a torus to the colouring; the search must give up soon.
	dice := rand.New(rand.NewPCG(3, 3))
	for range 5 {
		var edges []workload.Edge
		for range 2 {
			perm := dice.Perm(64)
			for i := range perm {
				edges = append(edges, workload.Edge{A: perm[i], B: perm[(i+1)%64]})
			}
		}
		started := time.Now()
		if names, _ := NameOf(64, edges); len(names) != 0 {
			t.Errorf("a random graph is a %v", names)
		}
		if took := time.Since(started); took > time.Second {
			t.Errorf("took %v", took)
		}
	}
}

// Every pattern at 128, and each with three edges swapped: of the same degrees, and none. It should take less than 50 ms.
//
//	go test -run '^$' -bench NameOf ./internal/vttif
func BenchmarkNameOf(b *testing.B) {
	dice := rand.New(rand.NewPCG(4, 4))
	for _, name := range preference() {
		if !workload.Fits(name, 128) {
			continue
		}
		edges := shuffled(edgesOf(b, name, 128), dice.Perm(128))
		swapped := slices.Clone(edges)
		for range 3 {
			x, y := dice.IntN(len(edges)), dice.IntN(len(edges))
			swapped[x].B, swapped[y].B = swapped[y].B, swapped[x].B
		}
		for what, edges := range map[string][]workload.Edge{name: edges, name + " swapped": swapped} {
			b.Run(what, func(b *testing.B) {
				for b.Loop() {
					NameOf(128, edges)
				}
			})
		}
	}
}
