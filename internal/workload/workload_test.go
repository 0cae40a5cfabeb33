package workload

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// text writes a schedule's iteration as "from>to …" with " | " between phases.
func text(phases []Phase) string {
	var b strings.Builder
	for i, phase := range phases {
		if i > 0 {
			b.WriteString(" |")
		}
		for _, e := range phase {
			fmt.Fprintf(&b, " %d>%d", e.From, e.To)
		}
	}
	return strings.TrimSpace(b.String())
}

func TestSmallSchedulesByHand(t *testing.T) {
	for _, tc := range []struct {
		name  string
		ranks int
		want  string
	}{
		{"bus", 2, "0>1 1>0"},
		{"bus", 3, "0>1 1>0 1>2 2>1"},
		{"ring", 3, "0>1 1>0 1>2 2>1 2>0 0>2"},
		{"mesh2d", 4, "0>1 1>0 0>2 2>0 1>3 3>1 2>3 3>2"},
		{"alltoall", 3, "0>1 1>0 0>2 2>0 1>2 2>1"},
		{"bipartite", 3, "0>1 1>0 0>2 2>0"},
		{"broadcast", 4, "0>1 0>2 0>3"},
		{"tree", 5, "1>0 3>2 | 2>0 | 4>0"},
		{"treeupdown", 4, "1>0 3>2 | 2>0 | 0>2 | 0>1 2>3"},
		{"butterfly", 4, "0>1 1>0 2>3 3>2 | 0>2 2>0 1>3 3>1"},
		{"hypercube", 4, "0>1 1>0 2>3 3>2 0>2 2>0 1>3 3>1"},
	} {
		s, err := New(tc.name, tc.ranks, Options{Bytes: 7})
		if err != nil {
			t.Errorf("%s(%d): %v", tc.name, tc.ranks, err)
			continue
		}
		if got := text(s.Steps(0)); got != tc.want {
			t.Errorf("%s(%d): %s, want %s", tc.name, tc.ranks, got, tc.want)
		}
		if s.Name() != tc.name || s.Ranks() != tc.ranks || s.Steps(0)[0][0].Bytes != 7 {
			t.Errorf("%s(%d) says it is %s(%d)", tc.name, tc.ranks, s.Name(), s.Ranks())
		}
	}
}

func TestNumberOfEdges(t *testing.T) {
	for _, tc := range []struct {
		name         string
		ranks, edges int
	}{
		{"bus", 8, 7}, {"ring", 8, 8}, {"mesh2d", 12, 17}, {"mesh2d", 7 * 2, 19}, {"mesh3d", 8, 12}, {"mesh3d", 12, 20},
		{"torus2d", 9, 18}, {"torus2d", 12, 24}, {"torus3d", 27, 81}, {"hypercube", 16, 32}, {"butterfly", 16, 32},
		{"alltoall", 8, 28}, {"bipartite", 8, 16}, {"bipartite", 5, 6}, {"broadcast", 8, 7}, {"tree", 8, 7}, {"treeupdown", 9, 8},
		{"random", 8, 8}, {"random", 4, 3}, {"random", 20, 57},
	} {
		s, err := New(tc.name, tc.ranks, Options{})
		if err != nil {
			t.Errorf("%s(%d): %v", tc.name, tc.ranks, err)
		} else if got := len(s.Edges()); got != tc.edges {
			t.Errorf("%s(%d) has %d edges, want %d", tc.name, tc.ranks, got, tc.edges)
		}
	}
}

func TestSidesAreAsEqualAsPossible(t *testing.T) {
	for _, tc := range []struct {
		n, dims, least int
		want           []int
	}{
		{12, 2, 2, []int{3, 4}}, {16, 2, 2, []int{4, 4}}, {64, 3, 2, []int{4, 4, 4}}, {36, 3, 3, []int{3, 3, 4}},
		{24, 3, 2, []int{2, 3, 4}}, {7, 2, 2, nil}, {8, 2, 3, nil}, {18, 3, 3, nil}, {10, 2, 2, []int{2, 5}},
	} {
		if got := sides(tc.n, tc.dims, tc.least); !slices.Equal(got, tc.want) {
			t.Errorf("sides(%d, %d, %d) = %v, want %v", tc.n, tc.dims, tc.least, got, tc.want)
		}
	}
}

func TestErrorsSayWhatExists(t *testing.T) {
	for _, tc := range []struct {
		name  string
		ranks int
		opts  Options
		want  string
	}{
		{"rings", 4, Options{}, "choose one of alltoall, bipartite, broadcast, bus, butterfly, hypercube, mesh2d, mesh3d, random, ring, torus2d, torus3d, tree, treeupdown or alternate"},
		{"ring", 2, Options{}, "3 ranks or more"},
		{"hypercube", 6, Options{}, "a power of two"},
		{"mesh2d", 7, Options{}, "4, 6, 8, 9"},
		{"torus2d", 8, Options{}, "9, 12, 15"},
		{"torus3d", 26, Options{}, "27, 36"},
		{"bus", 1, Options{}, "2 ranks or more"},
		{"bus", MaxRanks + 1, Options{}, "does not exist"},
		{"bus", 2, Options{Bytes: -1}, "0 or more"},
		{"random", 2, Options{Density: 1.5}, "up to 1"},
		{"alternate", 4, Options{First: "ring", Alternate: "bus"}, "at least 1"},
		{"alternate", 6, Options{First: "ring", Alternate: "butterfly", Period: 1}, "a power of two"},
		{"alternate", 6, Options{First: "alternate", Alternate: "bus", Period: 1}, "unknown pattern"},
	} {
		if _, err := New(tc.name, tc.ranks, tc.opts); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s(%d): %v, want %q in it", tc.name, tc.ranks, err, tc.want)
		}
	}
}

// The sizes that an error names must exist, and those it leaves out of its row must not.
func TestNamedSizesAreTheFirstThatExist(t *testing.T) {
	for _, name := range Names() {
		_, sizes := About(name)
		open := strings.Index(sizes, "(")
		if open < 0 {
			continue
		}
		var want []string
		for n := 1; len(want) < strings.Count(sizes, ", ")-strings.Count(sizes[:open], ", ")+1; n++ {
			if Fits(name, n) {
				want = append(want, fmt.Sprint(n))
			}
		}
		if got := strings.TrimSuffix(sizes[open+1:], " …)"); got != strings.Join(want, ", ") {
			t.Errorf("%s names %s, but %v exist", name, got, want)
		}
	}
}

// Every schedule: ranks in range, nobody sends to itself, an ordered pair at most once a phase, edges are
// exactly the pairs that exchange, and all ranks are connected.
func TestScheduleProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(Names()).Draw(t, "name")
		n := rapid.IntRange(2, 64).Draw(t, "ranks")
		opts := Options{Bytes: 10, Seed: rapid.Uint64().Draw(t, "seed"), Density: rapid.Float64Range(0, 1).Draw(t, "density")}
		s, err := New(name, n, opts)
		if (err == nil) != Fits(name, n) {
			t.Fatalf("%s(%d): %v, but Fits says %v", name, n, err, Fits(name, n))
		}
		if err != nil {
			return
		}
		seen := map[Edge]bool{}
		root := make([]int, n)
		for i := range root {
			root[i] = i
		}
		for _, phase := range s.Steps(3) {
			once := map[[2]int]bool{}
			for _, e := range phase {
				if e.From == e.To || min(e.From, e.To) < 0 || max(e.From, e.To) >= n || once[[2]int{e.From, e.To}] {
					t.Fatalf("%s(%d): bad exchange %+v", name, n, e)
				}
				once[[2]int{e.From, e.To}] = true
				seen[Edge{min(e.From, e.To), max(e.From, e.To)}] = true
				from, to := root[e.From], root[e.To]
				for i := range root {
					if root[i] == from {
						root[i] = to
					}
				}
			}
		}
		if len(seen) != len(s.Edges()) || !slices.Equal(s.Edges(), s.EdgesAt(0)) {
			t.Fatalf("%s(%d): %d pairs exchange, %d edges", name, n, len(seen), len(s.Edges()))
		}
		for _, e := range s.Edges() {
			if !seen[e] {
				t.Fatalf("%s(%d): edge %v exchanges nothing", name, n, e)
			}
		}
		for i := range root {
			if root[i] != root[0] {
				t.Fatalf("%s(%d): rank %d is not connected", name, n, i)
			}
		}
		again, _ := New(name, n, opts)
		if text(again.Steps(0)) != text(s.Steps(0)) {
			t.Fatalf("%s(%d) differs the second time", name, n)
		}
	})
}

func TestAlternateTakesTurns(t *testing.T) {
	s, err := New("alternate", 4, Options{First: "bus", Alternate: "ring", Period: 2})
	if err != nil {
		t.Fatal(err)
	}
	var turns []string
	for i := range 6 {
		turns = append(turns, fmt.Sprint(len(s.EdgesAt(i))))
	}
	if got := strings.Join(turns, ""); got != "334433" {
		t.Errorf("edges an iteration: %s, want 334433", got)
	}
	if len(s.Edges()) != 4 || s.Name() != "alternate(bus,ring,2)" {
		t.Errorf("%s has edges %v", s.Name(), s.Edges())
	}
}

func TestSeedChoosesTheGraph(t *testing.T) {
	graph := func(seed uint64) string {
		s, err := New("random", 12, Options{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(s.Edges())
	}
	if one, again := graph(1), graph(1); one != again || one == graph(2) {
		t.Error("the graph must follow from the seed")
	}
}
