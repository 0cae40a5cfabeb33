package vttif

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

// story drives an Inferrer in virtual time: one node a VM, a report and a Step every 100 ms, and a line for each topology
// that is published.
type story struct {
	in    *Inferrer
	now   time.Time
	start time.Time
	seq   map[string]uint64
	boot  uint64
	top   Topology
	lines []string
}

const tick = 100 * time.Millisecond

func newStory(c Config) *story {
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	return &story{in: NewInferrer(c), now: start, start: start, seq: map[string]uint64{}, boot: 1}
}

// vm is the MAC of VM i.
func vm(i int) ether.MAC { return ether.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)} }

// sends is a flow: rate bytes/s from one VM to another, acknowledged when acks is set.
type sends struct {
	from, to int
	rate     float64
}

// deltas is what the flow's ends count in one tick: data, and a bare acknowledgement back for every second segment.
func (f sends) deltas() []Delta {
	bytes := uint64(f.rate * tick.Seconds())
	frames := bytes/1500 + 1
	acks := frames / 2
	return []Delta{
		{Pair{vm(f.from), vm(f.to)}, Tally{OfferedBytes: bytes, OfferedFrames: frames, DeliveredBytes: bytes, DeliveredFrames: frames}},
		{Pair{vm(f.to), vm(f.from)}, Tally{OfferedBytes: acks * 66, OfferedFrames: acks, OfferedBare: acks}},
	}
}

// ticks lets traffic flow for d.
func (s *story) ticks(d time.Duration, flows ...sends) {
	for ; d > 0; d -= tick {
		s.now = s.now.Add(tick)
		for _, f := range flows {
			s.report(fmt.Sprint("node", f.from), f.deltas()...)
		}
		s.step()
	}
}

func (s *story) report(node string, deltas ...Delta) Report {
	s.seq[node]++
	r := Report{Node: node, Boot: s.boot, Seq: s.seq[node], Deltas: deltas}
	s.in.Add(s.now, r)
	return r
}

func (s *story) step() {
	top, changed := s.in.Step(s.now)
	if changed {
		s.lines = append(s.lines, fmt.Sprintf("%.1f s: %d %s, %d edges", s.now.Sub(s.start).Seconds(), top.Version, top.Name(), len(top.Edges)))
	}
	s.top = top
}

// want compares all that was published so far.
func (s *story) want(t *testing.T, lines ...string) {
	t.Helper()
	if got, want := strings.Join(s.lines, "\n"), strings.Join(lines, "\n"); got != want {
		t.Fatalf("published:\n%s\nwant:\n%s", got, want)
	}
}

// flowsOf is a workload's traffic, each edge both ways at the given rate; rank i is VM base+i.
func flowsOf(t *testing.T, pattern string, ranks, base int, rate float64) []sends {
	t.Helper()
	s, err := workload.New(pattern, ranks, workload.Options{Bytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	var flows []sends
	for _, e := range s.Edges() {
		flows = append(flows, sends{base + e.A, base + e.B, rate}, sends{base + e.B, base + e.A, rate})
	}
	return flows
}

func chatter(n int) []sends {
	var flows []sends
	for i := range n {
		for j := range i {
			flows = append(flows, sends{i, j, 100}, sends{j, i, 100}) // a ping a second: 98 bytes each way
		}
	}
	return append(flows, sends{0, 2, 500}, sends{2, 0, 500}) // keystrokes and their echo
}

const (
	mega   = 1e6 // bytes/s
	second = time.Second
)

func TestARingThatStartsIsPublishedOnceWithinHalfASecond(t *testing.T) {
	s := newStory(Config{})
	s.ticks(60*second, append(flowsOf(t, "ring", 4, 0, mega), chatter(4)...)...)
	s.want(t, "0.3 s: 1 ring of 4, 4 edges")
	g := s.top.Groups[0]
	if g.Confidence < 0.99 || !g.Active || g.Names[1] != "hypercube" || len(g.Order) != 4 {
		t.Errorf("group %+v", g)
	}
}

func TestEdgesThatTrickleInAreHeldBackAtMostHalfASecond(t *testing.T) {
	s := newStory(Config{})
	all := flowsOf(t, "ring", 16, 0, mega)
	for i := 2; i <= len(all); i += 2 {
		s.ticks(tick, all[:i]...)
	}
	s.ticks(second, all...)
	s.want(t, "0.4 s: 1 bus of 5, 4 edges", "0.8 s: 2 bus of 9, 8 edges", "1.2 s: 3 bus of 13, 12 edges", "1.6 s: 4 bus of 16, 15 edges", "1.8 s: 5 ring of 16, 16 edges")
}

func TestComputePhasesLongerThanTheExchangeKeepTheTopology(t *testing.T) {
	for _, compute := range []time.Duration{500 * time.Millisecond, 2 * second, 9 * second, 45 * second, 150 * second} {
		s := newStory(Config{})
		for range 20 {
			s.ticks(300*time.Millisecond, append(flowsOf(t, "ring", 4, 0, mega), chatter(4)...)...)
			s.ticks(compute, chatter(4)...)
		}
		s.want(t, "0.3 s: 1 ring of 4, 4 edges")
	}
}

func TestChatterAloneIsNothing(t *testing.T) {
	s := newStory(Config{})
	s.ticks(120*second, chatter(8)...)
	s.want(t)
	if len(s.in.Matrix(s.now)) == 0 {
		t.Error("chatter is hidden from the matrix")
	}
}

func TestBareAcknowledgementsAreNoTraffic(t *testing.T) {
	s := newStory(Config{})
	for range 50 {
		s.now = s.now.Add(tick)
		s.report("node0", Delta{Pair{vm(0), vm(1)}, Tally{OfferedBytes: 66000, OfferedFrames: 1000, OfferedBare: 1000}})
		s.step()
	}
	s.want(t)
}

func TestEdgesLeftBehindLeaveTogetherAfterRemoveAfter(t *testing.T) {
	s := newStory(Config{})
	s.ticks(10*second, flowsOf(t, "ring", 6, 0, mega)...)
	s.ticks(60*second, flowsOf(t, "ring", 4, 0, mega)...)
	s.want(t, "0.3 s: 1 ring of 6, 6 edges", "10.3 s: 2 mesh2d of 6, 7 edges", "20.9 s: 3 ring of 4, 4 edges")
}

func TestTheBoundStretchesRemoval(t *testing.T) {
	s := newStory(Config{})
	s.in.Bound(3 * second)
	s.ticks(10*second, flowsOf(t, "ring", 6, 0, mega)...)
	s.ticks(60*second, flowsOf(t, "ring", 4, 0, mega)...)
	s.want(t, "0.3 s: 1 ring of 6, 6 edges", "10.3 s: 2 mesh2d of 6, 7 edges", "40.9 s: 3 ring of 4, 4 edges")
}

func TestFastAlternationSettlesOnTheUnion(t *testing.T) {
	s := newStory(Config{})
	for range 30 {
		s.ticks(3*second, flowsOf(t, "bus", 8, 0, mega)...)
		s.ticks(3*second, flowsOf(t, "hypercube", 8, 0, mega)...)
	}
	s.want(t, "0.3 s: 1 bus of 8, 7 edges", "3.3 s: 2 irregular of 8, 15 edges")
}

func TestSlowAlternationIsFollowed(t *testing.T) {
	s := newStory(Config{})
	for range 2 {
		s.ticks(40*second, flowsOf(t, "ring", 8, 0, mega)...)
		s.ticks(40*second, flowsOf(t, "broadcast", 8, 0, mega)...)
	}
	s.want(t,
		"0.3 s: 1 ring of 8, 8 edges", "40.3 s: 2 irregular of 8, 13 edges", "50.9 s: 3 broadcast of 8, 7 edges",
		"80.3 s: 4 irregular of 8, 13 edges", "90.9 s: 5 ring of 8, 8 edges", "120.3 s: 6 irregular of 8, 13 edges", "130.9 s: 7 broadcast of 8, 7 edges")
}

// Turns a little longer than edges stay: the first edge that comes back when it has just left makes them stay longer. No
// change is taken back twice.
func TestAlternationJustBeyondTheBoundSettlesOnTheUnionToo(t *testing.T) {
	for _, turn := range []time.Duration{10200 * time.Millisecond, 12 * second, 15 * second, 19 * second} {
		s := newStory(Config{})
		for range 10 {
			s.ticks(turn, flowsOf(t, "ring", 8, 0, mega)...)
			s.ticks(turn, flowsOf(t, "broadcast", 8, 0, mega)...)
		}
		if len(s.lines) > 4 || len(s.top.Edges) != 13 {
			t.Errorf("turns of %v: %v", turn, s.lines)
		}
	}
}

func TestAButterflyOfSlowStagesIsOneTopology(t *testing.T) {
	s := newStory(Config{})
	for range 10 {
		for bit := 1; bit < 8; bit <<= 1 {
			var stage []sends
			for i := range 8 {
				stage = append(stage, sends{i, i ^ bit, mega})
			}
			s.ticks(2*second, stage...)
		}
	}
	s.want(t, "0.3 s: 1 pair of 2 + pair of 2 + pair of 2 + pair of 2, 4 edges", "2.3 s: 2 ring of 4 + ring of 4, 8 edges", "4.3 s: 3 hypercube of 8, 12 edges")
}

func TestASilentGroupIsOverAfterThreeMinutes(t *testing.T) {
	s := newStory(Config{})
	s.ticks(10*second, flowsOf(t, "ring", 4, 0, mega)...)
	s.ticks(300*second, flowsOf(t, "bus", 4, 10, mega)...)
	s.want(t, "0.3 s: 1 ring of 4, 4 edges", "10.3 s: 2 ring of 4 + bus of 4, 7 edges", "190.9 s: 3 bus of 4, 3 edges")
}

func TestTwoRingsOfUnlikeStrengthAndADownloadFromTheLAN(t *testing.T) {
	const server = 99
	s := newStory(Config{LAN: func(m ether.MAC) bool { return m == vm(server) }})
	flows := append(flowsOf(t, "ring", 4, 0, 5*mega), flowsOf(t, "ring", 4, 10, 0.1*mega)...)
	s.ticks(60*second, append(flows, sends{server, 0, 100 * mega}, sends{server, 11, 100 * mega})...)
	s.want(t, "0.3 s: 1 ring of 4 + ring of 4, 10 edges")
	for _, g := range s.top.Groups {
		if len(g.LAN) != 1 || len(g.VMs) != 4 || len(g.Edges) != 5 {
			t.Errorf("group %+v", g)
		}
	}
}

func TestADownloadDoesNotWearOutARingThatComputes(t *testing.T) {
	const server = 99
	s := newStory(Config{LAN: func(m ether.MAC) bool { return m == vm(server) }})
	download := sends{server, 0, 100 * mega}
	for range 10 {
		s.ticks(second, append(flowsOf(t, "ring", 4, 0, mega), download)...)
		s.ticks(30*second, download)
	}
	s.want(t, "0.3 s: 1 ring of 4, 5 edges")
}

// A hundredth of what the VMs just did could be chatter in a compute phase: it is an application once it has lasted.
func TestAMuchWeakerApplicationOnTheSameVMsIsSeenWhenItLasts(t *testing.T) {
	s := newStory(Config{})
	s.ticks(10*second, flowsOf(t, "ring", 4, 0, 10*mega)...)
	s.ticks(20*second, flowsOf(t, "broadcast", 4, 0, 0.15*mega)...)
	s.want(t, "0.3 s: 1 ring of 4, 4 edges", "12.8 s: 2 irregular of 4, 5 edges", "20.9 s: 3 broadcast of 4, 3 edges")
}

// A launcher tells every VM what to run before the application speaks: that is over when the application is seen.
func TestWhatStartsAnApplicationIsNoEdgeOfIt(t *testing.T) {
	s := newStory(Config{})
	s.ticks(tick, sends{0, 1, 0.26 * mega}, sends{0, 2, 0.26 * mega}, sends{0, 3, 0.26 * mega})
	s.ticks(tick)
	s.ticks(20*second, flowsOf(t, "ring", 4, 0, 0.5*mega)...)
	s.want(t, "0.4 s: 1 ring of 4, 4 edges")
}

func TestTheSeedsNormalisationHidesTheWeakRing(t *testing.T) {
	s := newStory(Seed(second, 0.1))
	flows := append(flowsOf(t, "ring", 4, 0, 5*mega), flowsOf(t, "ring", 4, 10, 0.1*mega)...)
	s.ticks(10*second, flows...)
	s.want(t, "0.1 s: 1 ring of 4, 4 edges")
	s.ticks(10*second, flowsOf(t, "bus", 4, 10, mega)...)
	s.want(t, "0.1 s: 1 ring of 4, 4 edges", "10.3 s: 2 ring of 4 + bus of 4, 7 edges", "11.0 s: 3 bus of 4, 3 edges")
}
