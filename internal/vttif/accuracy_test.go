package vttif

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

// bulk is a bulk-synchronous run: each iteration goes through its phases and then computes.
type bulk struct {
	schedule *workload.Schedule
	vms      []ether.MAC // of each rank
	period   time.Duration
	compute  float64 // share of the period
	rate     float64 // bytes/s of each exchange while its phase lasts
}

// between is what the run's nodes count from one moment to another.
func (b *bulk) between(from, to time.Duration) map[Pair]Tally {
	sum := map[Pair]Tally{}
	for i := from / b.period; i*b.period < to; i++ {
		phases := b.schedule.Steps(int(i))
		length := float64(b.period) * (1 - b.compute) / float64(len(phases))
		for k, phase := range phases {
			start := i*b.period + time.Duration(float64(k)*length)
			end := start + time.Duration(length)
			share := min(end, to) - max(start, from)
			if share <= 0 {
				continue
			}
			for _, x := range phase {
				bytes := uint64(b.rate*share.Seconds()) + 64
				frames := bytes/1500 + 1
				there, back := Pair{b.vms[x.From], b.vms[x.To]}, Pair{b.vms[x.To], b.vms[x.From]}
				sum[there] = sum[there].Plus(Tally{OfferedBytes: bytes, OfferedFrames: frames})
				sum[back] = sum[back].Plus(Tally{OfferedBytes: 66 * frames, OfferedFrames: frames, OfferedBare: frames})
			}
		}
	}
	return sum
}

// run plays the workload for d, every node reporting at its own moment, and returns all topologies published.
func (b *bulk) run(d time.Duration, noise []sends, dice *rand.Rand) (top Topology, versions int) {
	s := newStory(Config{})
	last := make([]time.Duration, len(b.vms)) // until when each VM's node has reported
	next := make([]time.Duration, len(b.vms))
	for i := range next {
		next[i] = time.Duration(dice.Int64N(int64(tick)))
	}
	for at := time.Duration(0); at < d; at += tick / 10 {
		s.now = s.start.Add(at)
		for i, mac := range b.vms {
			if at < next[i] {
				continue
			}
			var deltas []Delta
			for p, tally := range b.between(last[i], at) {
				if p.Src == mac {
					deltas = append(deltas, Delta{p, tally})
				}
			}
			for _, f := range noise {
				if b.vms[f.from] == mac {
					deltas = append(deltas, Delta{Pair{mac, b.vms[f.to]}, Tally{OfferedBytes: uint64(f.rate * tick.Seconds()), OfferedFrames: 1}})
				}
			}
			slices.SortFunc(deltas, func(a, b Delta) int { return a.Pair.Compare(b.Pair) })
			s.report(fmt.Sprint("node", i), deltas...)
			last[i], next[i] = at, next[i]+tick
		}
		if at%tick == 0 {
			s.step()
		}
	}
	return s.top, len(s.lines)
}

func TestEveryWorkloadIsRecovered(t *testing.T) {
	dice := rand.New(rand.NewPCG(5, 5))
	runs, exact, named := 0, 0, 0
	for _, pattern := range workload.Names() {
		for _, n := range []int{4, 8, 16} {
			if !workload.Fits(pattern, n) {
				continue
			}
			schedule, err := workload.New(pattern, n, workload.Options{Seed: dice.Uint64()})
			if err != nil {
				t.Fatal(err)
			}
			b := &bulk{
				schedule: schedule, rate: mega,
				period:  time.Duration(20+dice.IntN(4980)) * time.Millisecond,
				compute: 0.9 * dice.Float64(),
			}
			for _, i := range dice.Perm(n) {
				b.vms = append(b.vms, vm(100+i))
			}
			runs++
			top, versions := b.run(3*b.period+2*second, chatter(n), dice)
			if !slices.Equal(endsOf(top), wanted(b)) {
				t.Errorf("%s of %d, period %v, compute %.0f %%: %d edges, want %d", pattern, n, b.period, 100*b.compute, len(top.Edges), len(schedule.Edges()))
				continue
			}
			exact++
			if pattern != "random" && !slices.Contains(top.Groups[0].Names, pattern) {
				t.Errorf("%s of %d is named %v", pattern, n, top.Groups[0].Names)
				continue
			}
			named++
			if phases := len(schedule.Steps(0)); versions > phases {
				t.Errorf("%s of %d, period %v: %d topologies published for %d phases", pattern, n, b.period, versions, phases)
			}
		}
	}
	t.Logf("%d runs, %d exact, %d named", runs, exact, named)
}

func endsOf(top Topology) (ends []Pair) {
	for _, e := range top.Edges {
		ends = append(ends, e.ends())
	}
	return ends
}

func wanted(b *bulk) (ends []Pair) {
	for _, e := range b.schedule.Edges() {
		p := Pair{b.vms[e.A], b.vms[e.B]}
		if p.Src.Compare(p.Dst) > 0 {
			p = Pair{p.Dst, p.Src}
		}
		ends = append(ends, p)
	}
	slices.SortFunc(ends, Pair.Compare)
	return ends
}
