package vttif

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

// trial is one run of the accuracy test.
type trial struct {
	pattern string
	ranks   int
	seed    uint64
	period  time.Duration
	compute float64
	chatty  bool
}

func (r trial) String() string {
	return fmt.Sprintf("%s of %d, period %v, computing %.0f %%, chatter %v, seed %d", r.pattern, r.ranks, r.period.Round(time.Millisecond), 100*r.compute, r.chatty, r.seed)
}

// trials goes round all patterns and sizes; periods are spread evenly by their logarithm.
func trials(n int, dice *rand.Rand) (all []trial, missing []string) {
	var shapes []trial
	for _, pattern := range workload.Names() {
		for _, ranks := range []int{4, 8, 16} {
			if !workload.Fits(pattern, ranks) {
				missing = append(missing, fmt.Sprintf("%s of %d", pattern, ranks))
				continue
			}
			shapes = append(shapes, trial{pattern: pattern, ranks: ranks})
		}
	}
	for i := range n {
		r := shapes[i%len(shapes)]
		r.seed = dice.Uint64()
		r.period = time.Duration(20e6 * math.Exp(dice.Float64()*math.Log(250))) // 20 ms to 5 s
		r.compute = 0.9 * dice.Float64()
		r.chatty = i/len(shapes)%2 == 1
		all = append(all, r)
	}
	return all, missing
}

// play runs the application over three iterations and two seconds at least.
func (r trial) play(t *testing.T) (top Topology, want []Pair, versions int) {
	dice := rand.New(rand.NewPCG(r.seed, 1))
	w := newWorld(r.ranks, Config{}, dice)
	j := newJob(t, w, r.pattern, r.ranks, r.period, r.compute, dice)
	jobs := []func(){j.millisecond}
	if r.chatty {
		jobs = append(jobs, w.chatter(dice))
	}
	w.play(2*time.Second+3*r.period, jobs...)
	for _, e := range j.schedule.Edges() {
		p := Pair{w.vms[e.A], w.vms[e.B]}
		if p.Src.Compare(p.Dst) > 0 {
			p = Pair{p.Dst, p.Src}
		}
		want = append(want, p)
	}
	slices.SortFunc(want, Pair.Compare)
	return w.top, want, len(w.saw)
}

func endsOf(top Topology) (ends []Pair) {
	for _, e := range top.Edges {
		ends = append(ends, e.ends())
	}
	return ends
}

// ACCURACY_RUNS sets the number of runs; `make accuracy` does 1,500, and docs/soak.md holds its last result.
func TestEveryPatternIsRecovered(t *testing.T) {
	runs := 160
	if n, err := strconv.Atoi(os.Getenv("ACCURACY_RUNS")); err == nil {
		runs = n
	}
	all, missing := trials(runs, rand.New(rand.NewPCG(5, 5)))
	exact, named, steady := 0, 0, 0
	for _, r := range all {
		top, want, versions := r.play(t)
		if !slices.Equal(endsOf(top), want) {
			t.Logf("not exact: %v: %d edges, want %d", r, len(top.Edges), len(want))
			continue
		}
		exact++
		if r.pattern != "random" && !slices.Contains(top.Groups[0].Names, r.pattern) {
			t.Logf("not named: %v: %v", r, top.Groups[0].Names)
			continue
		}
		named++
		if versions <= 3 {
			steady++
		}
	}
	t.Logf("%d runs: %d exact (%.1f %%), of these %d named (%.1f %%); %d with at most three topologies published; do not exist: %v",
		runs, exact, 100*float64(exact)/float64(runs), named, 100*float64(named)/float64(exact), steady, missing)
	if float64(exact) < 0.99*float64(runs) || float64(named) < 0.99*float64(exact) {
		t.Errorf("less than 99 %%")
	}
}
