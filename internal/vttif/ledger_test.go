package vttif

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestEveryReportCountsOnce(t *testing.T) {
	type arrival struct {
		boot, seq uint64
		counts    bool
	}
	for _, row := range []struct {
		name     string
		arrivals []arrival
	}{
		{"in order", []arrival{{1, 1, true}, {1, 2, true}, {1, 3, true}}},
		{"repeated", []arrival{{1, 1, true}, {1, 1, false}, {1, 2, true}, {1, 1, false}}},
		{"late", []arrival{{1, 5, true}, {1, 3, true}, {1, 3, false}, {1, 4, true}}},
		{"too late to tell", []arrival{{1, 100, true}, {1, 37, true}, {1, 36, false}}},
		{"a gap of more than is remembered", []arrival{{1, 1, true}, {1, 1000, true}, {1, 999, true}, {1, 1, false}}},
		{"restarted", []arrival{{1, 9, true}, {2, 1, true}, {2, 1, false}, {2, 2, true}}},
		{"stragglers of the boot before", []arrival{{1, 8, true}, {2, 1, true}, {1, 9, true}, {1, 9, false}, {1, 8, false}, {2, 2, true}, {2, 1, false}}},
		{"no number", []arrival{{1, 0, false}}},
	} {
		l := ledger{nodes: map[string]*attendance{}, limit: 10}
		for i, a := range row.arrivals {
			if _, got := l.fresh(0, &Report{Node: "host1", Boot: a.boot, Seq: a.seq}); got != a.counts {
				t.Errorf("%s: arrival %d (%+v) counted: %v", row.name, i, a, got)
			}
		}
	}
}

func TestTheLedgerForgetsTheLongestSilentNode(t *testing.T) {
	l := ledger{nodes: map[string]*attendance{}, limit: 3}
	for i := range 10 {
		l.fresh(time.Duration(i), &Report{Node: fmt.Sprint(i), Boot: 1, Seq: 1})
	}
	if len(l.nodes) != 3 || l.nodes["9"] == nil || l.nodes["7"] == nil {
		t.Errorf("%d nodes", len(l.nodes))
	}
}

func TestWhatAddedUpWhileTheProxyWasAwayIsNoBurst(t *testing.T) {
	s := newStory(Config{})
	ring := flowsOf(t, "ring", 4, 0, mega)
	s.ticks(5*second, ring...)
	peak := s.top.Edges[0].Rate
	for range 600 { // node0 is cut off for a minute
		s.ticks(tick, slices.DeleteFunc(slices.Clone(ring), func(f sends) bool { return f.from == 0 })...)
	}
	var addedUp []Delta
	for _, f := range ring {
		if f.from == 0 {
			f.rate *= 600
			addedUp = append(addedUp, f.deltas()[0])
		}
	}
	s.report("node0", addedUp...)
	for range 10 {
		s.ticks(tick, ring...)
		for _, e := range s.top.Edges {
			if e.Rate > 2*peak {
				t.Fatalf("rate %v, before %v", e.Rate, peak)
			}
		}
	}
	s.want(t, "0.3 s: 1 ring of 4, 4 edges")
}

func TestRestartsLossesAndRepeatsLeaveTheTopologyAlone(t *testing.T) {
	s := newStory(Config{})
	dice := rand.New(rand.NewPCG(1, 1))
	flows := flowsOf(t, "ring", 8, 0, mega)
	var kept []Report
	for i := range 600 {
		s.now = s.now.Add(tick)
		for _, f := range flows {
			node := fmt.Sprint("node", f.from)
			if i > 10 && dice.IntN(4) == 0 { // a quarter is lost
				s.seq[node]++
				continue
			}
			kept = append(kept, s.report(node, f.deltas()...))
		}
		for range 3 { // and what came is repeated, late
			s.in.Add(s.now, kept[len(kept)-1-dice.IntN(min(len(kept), 100))])
		}
		if i%100 == 50 {
			s.boot++
			clear(s.seq)
		}
		s.step()
	}
	s.want(t, "0.3 s: 1 ring of 8, 8 edges")
	if rate := s.top.Edges[0].Rate; rate > 2.05*mega || rate < 1*mega {
		t.Errorf("rate %v", rate)
	}
}
