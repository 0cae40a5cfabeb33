package vttif

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// reaction is how long after its start continuous traffic between two VMs is published, every node reporting and the Proxy
// stepping each at moments of their own, while other VMs talk ten times, and the same VMs share times as fast.
func reaction(dice *rand.Rand, rate float64, beside ...sends) time.Duration {
	const fine, starts = time.Millisecond, 3 * time.Second
	s := newStory(Config{})
	first := time.Duration(dice.Int64N(int64(tick)))
	flows := append(slices.Clone(beside), sends{0, 1, rate}, sends{1, 0, rate})
	phase := make([]time.Duration, len(flows))
	last := make([]time.Duration, len(flows))
	stepping := time.Duration(dice.Int64N(int64(tick)))
	for i := range phase {
		phase[i] = time.Duration(dice.Int64N(int64(tick))).Truncate(fine)
		if last[i] = starts + first; i < len(beside) {
			last[i] = 0
		}
	}
	for at := time.Duration(0); at < starts+5*time.Second; at += fine {
		s.now = s.start.Add(at)
		for i, f := range flows {
			if at%tick != phase[i] || at <= last[i] {
				continue
			}
			f.rate *= (at - last[i]).Seconds() / tick.Seconds()
			s.report(fmt.Sprint("node", i), f.deltas()[0])
			last[i] = at
		}
		if at%tick != stepping.Truncate(fine) {
			continue
		}
		s.step()
		for _, e := range s.top.Edges {
			if e.A == vm(0) && e.B == vm(1) {
				return at - starts - first
			}
		}
	}
	return time.Hour
}

func TestANewEdgeIsPublishedWithinHalfASecond(t *testing.T) {
	dice := rand.New(rand.NewPCG(8, 8))
	for _, row := range []struct {
		name   string
		beside []sends
	}{
		{"alone", nil},
		{"others talk ten times as fast", []sends{{4, 5, 10 * mega}, {5, 6, 10 * mega}}},
		{"one of its VMs talks as fast with another", []sends{{1, 2, mega}, {2, 1, mega}}},
		{"one of its VMs talks twice as fast with another", []sends{{1, 2, 2 * mega}, {2, 1, 2 * mega}}},
	} {
		var took []time.Duration
		for range 20 {
			took = append(took, reaction(dice, mega, row.beside...))
		}
		slices.Sort(took)
		t.Logf("%s: median %v, longest %v", row.name, took[10], took[19])
		if took[19] > 500*time.Millisecond {
			t.Errorf("%s: %v", row.name, took)
		}
	}
}
