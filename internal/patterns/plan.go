package patterns

import (
	"slices"

	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

// plan is one rank's view of an iteration.
type plan struct {
	phases    []phasePlan
	ticksTo   []int // neighbours that only sent to us: they are told that we have it all
	ticksFrom []int // neighbours that only receive from us
}

// phasePlan is one rank's view of a phase.
type phasePlan struct{ sends, receives []workload.Exchange }

// planOf picks a rank's part out of the phases of an iteration.
func planOf(phases []workload.Phase, rank int) *plan {
	p := &plan{phases: make([]phasePlan, len(phases))}
	var to, from []int
	for i, phase := range phases {
		for _, e := range phase {
			if e.From == rank {
				p.phases[i].sends = append(p.phases[i].sends, e)
				to = append(to, e.To)
			}
			if e.To == rank {
				p.phases[i].receives = append(p.phases[i].receives, e)
				from = append(from, e.From)
			}
		}
	}
	p.ticksTo, p.ticksFrom = minus(from, to), minus(to, from)
	return p
}

// minus returns the elements of a that are not in b, sorted, each once.
func minus(a, b []int) []int {
	var rest []int
	for _, x := range a {
		if !slices.Contains(b, x) {
			rest = append(rest, x)
		}
	}
	slices.Sort(rest)
	return slices.Compact(rest)
}

// neighbours returns the ranks that a rank exchanges with in any of the schedules, ascending.
func neighbours(schedules []*workload.Schedule, rank int) []int {
	var peers []int
	for _, s := range schedules {
		for _, e := range s.Edges() {
			switch rank {
			case e.A:
				peers = append(peers, e.B)
			case e.B:
				peers = append(peers, e.A)
			}
		}
	}
	slices.Sort(peers)
	return slices.Compact(peers)
}

// reach is the largest number of edges between rank 0 and another rank: how far news from rank 0 travels.
func reach(edges []workload.Edge, ranks int) int {
	next := make([][]int, ranks)
	for _, e := range edges {
		next[e.A] = append(next[e.A], e.B)
		next[e.B] = append(next[e.B], e.A)
	}
	depth, farthest := make([]int, ranks), 0
	for queue := []int{0}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		for _, n := range next[at] {
			if n != 0 && depth[n] == 0 {
				depth[n] = depth[at] + 1
				farthest = max(farthest, depth[n])
				queue = append(queue, n)
			}
		}
	}
	return farthest
}
