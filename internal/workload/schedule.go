// Package workload knows the schedules of the patterns benchmark: who sends how much to whom, in which
// phase of which iteration.
//
// It moves no bytes and keeps no time. The benchmark carries a schedule out over sockets, the simulator
// over memory, and the inference compares what it saw with a schedule's edges to name it.
package workload

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// MaxRanks bounds a schedule. An all-to-all among 1,024 has a million exchanges an iteration: more than
// any host of this overlay carries.
const MaxRanks = 1024

// DefaultDensity is the share of all pairs that the random pattern uses when it is not told: sparse, yet
// with more edges than a tree from 8 ranks on.
const DefaultDensity = 0.3

// Exchange is one directed message.
type Exchange struct {
	From, To int   // ranks, from 0
	Bytes    int64 // of content
}

// Phase is a set of exchanges that happen at the same time, at most one for each ordered pair. There is no
// barrier: a rank goes on to the next phase when its own exchanges are done.
type Phase []Exchange

// Edge is an undirected pair of ranks that exchange something, A < B.
type Edge struct{ A, B int }

// Options are what a pattern takes besides its name and size. The zero value is usable.
type Options struct {
	Bytes     int64   // of each exchange; 0 is allowed and exchanges empty messages
	Seed      uint64  // random: which graph
	Density   float64 // random: share of all pairs, in (0, 1]; 0 = DefaultDensity. The graph is always connected
	Alternate string  // alternate: the second pattern
	First     string  // alternate: the first pattern
	Period    int     // alternate: iterations of one before the other follows, at least 1
}

// Schedule says what happens in every iteration. It is immutable and safe for any number of readers, who
// must not modify the slices it returns.
type Schedule struct {
	name   string
	ranks  int
	turns  []turn // iteration i follows turns[(i/period) % len(turns)]
	period int
	edges  []Edge // of all turns together
}

// turn is one set of phases, with its edges.
type turn struct {
	phases []Phase
	edges  []Edge
}

// New builds the schedule of a named pattern. The error of an unknown name lists the patterns, that of an
// impossible size says which sizes exist.
func New(name string, ranks int, opts Options) (*Schedule, error) {
	if opts.Bytes < 0 {
		return nil, fmt.Errorf("cannot exchange %d bytes: give 0 or more", opts.Bytes)
	}
	if name == alternate {
		return newAlternate(ranks, opts)
	}
	t, err := newTurn(name, ranks, opts)
	if err != nil {
		return nil, err
	}
	return &Schedule{name: name, ranks: ranks, turns: []turn{t}, period: 1, edges: t.edges}, nil
}

// newAlternate builds a schedule of two patterns in turns.
func newAlternate(ranks int, opts Options) (*Schedule, error) {
	if opts.Period < 1 {
		return nil, fmt.Errorf("cannot alternate every %d iterations: the period is at least 1", opts.Period)
	}
	s := &Schedule{name: fmt.Sprintf("alternate(%s,%s,%d)", opts.First, opts.Alternate, opts.Period), ranks: ranks, period: opts.Period}
	for _, name := range []string{opts.First, opts.Alternate} {
		t, err := newTurn(name, ranks, opts)
		if err != nil {
			return nil, fmt.Errorf("cannot alternate: %w", err)
		}
		s.turns = append(s.turns, t)
		s.edges = append(s.edges, t.edges...)
	}
	s.edges = sortedEdges(s.edges)
	return s, nil
}

// newTurn builds the phases of one plain pattern.
func newTurn(name string, ranks int, opts Options) (turn, error) {
	shape, ok := shapes()[name]
	if !ok {
		return turn{}, fmt.Errorf("unknown pattern %q: choose one of %s", name, list(Names()))
	}
	if ranks > MaxRanks || !shape.fits(ranks) {
		return turn{}, fmt.Errorf("a %s of %d ranks does not exist: it needs %s", name, ranks, shape.sizes)
	}
	if !(opts.Density >= 0 && opts.Density <= 1) {
		return turn{}, fmt.Errorf("density %v: give a share of all pairs above 0 and up to 1", opts.Density)
	}
	var t turn
	for _, pairs := range shape.phases(ranks, opts) {
		phase := make(Phase, len(pairs))
		for i, p := range pairs {
			phase[i] = Exchange{From: p.from, To: p.to, Bytes: opts.Bytes}
			t.edges = append(t.edges, Edge{min(p.from, p.to), max(p.from, p.to)})
		}
		t.phases = append(t.phases, phase)
	}
	t.edges = sortedEdges(t.edges)
	return t, nil
}

// Name is the pattern's name as it was asked for.
func (s *Schedule) Name() string { return s.name }

// Ranks is the number of participants.
func (s *Schedule) Ranks() int { return s.ranks }

// Steps returns the phases of an iteration, counted from 0.
func (s *Schedule) Steps(iteration int) []Phase { return s.turn(iteration).phases }

// EdgesAt returns the pairs that exchange something in an iteration, in ascending order.
func (s *Schedule) EdgesAt(iteration int) []Edge { return s.turn(iteration).edges }

// Edges returns the pairs that exchange something in any iteration, in ascending order.
func (s *Schedule) Edges() []Edge { return s.edges }

func (s *Schedule) turn(iteration int) turn { return s.turns[iteration/s.period%len(s.turns)] }

// sortedEdges sorts and removes duplicates.
func sortedEdges(edges []Edge) []Edge {
	slices.SortFunc(edges, func(x, y Edge) int {
		if x.A != y.A {
			return x.A - y.A
		}
		return x.B - y.B
	})
	return slices.Compact(edges)
}

// newDice makes the only dice of this package: the same seed and size give the same graph everywhere.
func newDice(seed uint64, ranks int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(ranks))) }
