package patterns

import (
	"fmt"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

func TestPlanOf(t *testing.T) {
	for _, tc := range []struct {
		pattern     string
		ranks, rank int
		want        string // a phase: sends to / receives from; then ticks to and from
	}{
		{"bus", 3, 1, "[0 2]/[0 2] ticks to [], from []"},
		{"tree", 4, 0, "[]/[1] []/[2] ticks to [1 2], from []"},
		{"tree", 4, 2, "[]/[3] [0]/[] ticks to [3], from [0]"},
		{"treeupdown", 4, 2, "[]/[3] [0]/[] []/[0] [3]/[] ticks to [], from []"},
		{"broadcast", 3, 0, "[1 2]/[] ticks to [], from [1 2]"},
		{"broadcast", 3, 2, "[]/[0] ticks to [0], from []"},
	} {
		s, err := workload.New(tc.pattern, tc.ranks, workload.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p := planOf(s.Steps(0), tc.rank)
		var got string
		for _, phase := range p.phases {
			to, from := []int{}, []int{}
			for _, e := range phase.sends {
				to = append(to, e.To)
			}
			for _, e := range phase.receives {
				from = append(from, e.From)
			}
			got += fmt.Sprintf("%v/%v ", to, from)
		}
		got += fmt.Sprintf("ticks to %v, from %v", p.ticksTo, p.ticksFrom)
		if got != tc.want {
			t.Errorf("%s(%d), rank %d: %s, want %s", tc.pattern, tc.ranks, tc.rank, got, tc.want)
		}
	}
}

func TestReach(t *testing.T) {
	for _, tc := range []struct {
		pattern     string
		ranks, want int
	}{
		{"bus", 8, 7}, {"ring", 8, 4}, {"ring", 5, 2}, {"alltoall", 8, 1}, {"broadcast", 8, 1},
		{"hypercube", 16, 4}, {"mesh2d", 12, 5}, {"tree", 8, 3}, {"bipartite", 6, 2},
	} {
		s, err := workload.New(tc.pattern, tc.ranks, workload.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := reach(s.Edges(), tc.ranks); got != tc.want {
			t.Errorf("%s(%d): %d, want %d", tc.pattern, tc.ranks, got, tc.want)
		}
	}
}
