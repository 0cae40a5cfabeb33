package vttif

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

func TestAFloodOfAddressesLeavesTheApplicationUnharmed(t *testing.T) {
	s := newStory(Config{MaxPairs: 200})
	dice := rand.New(rand.NewPCG(6, 6))
	flood := func() (deltas []Delta) {
		for range 500 {
			src := ether.MAC{6, byte(dice.Uint32()), byte(dice.Uint32()), byte(dice.Uint32()), 1, 1}
			deltas = append(deltas, Delta{Pair{src, vm(0)}, Tally{OfferedBytes: 60, OfferedFrames: 1}})
		}
		return deltas
	}
	for i := range 100 {
		s.report("hostile", flood()...)
		if i < 20 {
			s.ticks(tick)
		} else {
			s.ticks(tick, flowsOf(t, "ring", 8, 0, mega)...)
		}
		if len(s.in.flows) > 200 || len(s.in.order) > 200 || len(s.in.vertices) > 400 {
			t.Fatalf("%d flows, %d vertices", len(s.in.flows), len(s.in.vertices))
		}
	}
	s.want(t, "2.3 s: 1 ring of 8, 8 edges")
	s.ticks(60 * time.Second)
	if len(s.in.flows) != 8 || len(s.in.vertices) != 8 {
		t.Errorf("%d flows and %d vertices remembered after the flood", len(s.in.flows), len(s.in.vertices))
	}
}

func TestTheMatrixShowsWhatIsOfferedAndDelivered(t *testing.T) {
	s := newStory(Config{})
	broadcast := ether.MAC{255, 255, 255, 255, 255, 255}
	for range 20 {
		s.now = s.now.Add(tick)
		s.report("host1",
			Delta{Pair{vm(0), broadcast}, Tally{OfferedBytes: 1e6, OfferedFrames: 700}},
			Delta{Pair{vm(2), vm(1)}, Tally{OfferedBytes: 100_000, OfferedFrames: 70}},
			Delta{Pair{vm(2), vm(1)}, Tally{DeliveredBytes: 90_000, DeliveredFrames: 63}})
		s.step()
	}
	s.want(t, "0.3 s: 1 pair of 2, 1 edges")
	got := s.in.Matrix(s.now)
	if len(got) != 2 || got[0].Edge || got[0].Dst != broadcast {
		t.Fatalf("matrix %+v", got)
	}
	want := Entry{Pair: Pair{vm(2), vm(1)}, Offered: 1e6, Delivered: 0.9e6, Edge: true, Total: Tally{
		OfferedBytes: 2e6, OfferedFrames: 1400, DeliveredBytes: 1.8e6, DeliveredFrames: 1260,
	}}
	if got[1] != want {
		t.Errorf("got %+v, want %+v", got[1], want)
	}
}

func TestWeightsFollowWithoutANewVersion(t *testing.T) {
	s := newStory(Config{})
	s.ticks(20*second, sends{0, 1, mega}, sends{1, 2, mega})
	s.ticks(20*second, sends{0, 1, mega}, sends{1, 2, mega / 2})
	s.want(t, "0.3 s: 1 bus of 3, 2 edges")
	for i, want := range []float64{1, 0.5} {
		if got := s.top.Edges[i].Weight; got < want*0.98 || got > want*1.02 {
			t.Errorf("weight %d is %v, want %v", i, got, want)
		}
	}
}

func TestAClockThatStandsOrJumpsDoesNotEndATopology(t *testing.T) {
	s := newStory(Config{})
	s.ticks(5*second, flowsOf(t, "ring", 4, 0, mega)...)
	s.now = s.now.Add(-time.Minute) // time that runs backwards counts as standing still
	s.ticks(5*second, flowsOf(t, "ring", 4, 0, mega)...)
	s.now = s.now.Add(2 * time.Minute) // the Proxy was stopped
	s.ticks(5*second, flowsOf(t, "ring", 4, 0, mega)...)
	s.want(t, "0.3 s: 1 ring of 4, 4 edges")
}

// What the Proxy remembers of 1,000 nodes with 10,000 VMs that talk to 13 others each, all it has room for:
//
//	go test -run Memory -v ./internal/vttif
func TestMemoryIsBoundedForALargeOverlay(t *testing.T) {
	const nodes, vms, others, each = 1000, 10_000, 13, 10
	held := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := held()
	in := NewInferrer(Config{})
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	bins := packLevels([]byte{100, 100, 0, 100})
	for seq := range uint64(4) {
		now = now.Add(tick)
		for n := range nodes {
			r := Report{Node: fmt.Sprint("node", n), Boot: 1, Seq: seq + 1, BinsFrom: uint32(100 * seq), BinsLen: 100}
			for i := range each {
				for k := range others {
					p := Pair{vm(n*each + i), vm((n*each + i + 1 + k*k) % vms)}
					r.Deltas = append(r.Deltas, Delta{p, Tally{OfferedBytes: 10_000, OfferedFrames: 7}})
					r.Bins = append(r.Bins, Bins{Pair: p, Levels: bins})
				}
			}
			in.Add(now, r)
		}
		in.Step(now)
	}
	top, _ := in.Step(now)
	pairs := in.Matrix(now)
	took := held() - before
	t.Logf("%d pairs, %d edges, %d pulses: %.0f MB", len(pairs), len(top.Edges), in.pulses, float64(took)/1e6)
	if len(in.order) < 100_000 || in.pulses != defaultMaxPulses || took > 250e6 {
		t.Errorf("%d flows, %d pulses, %d bytes", len(in.order), in.pulses, took)
	}
	runtime.KeepAlive(in)
}

// go test -run '^$' -bench Step ./internal/vttif
func BenchmarkStep(b *testing.B) {
	in := NewInferrer(Config{})
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	dice := rand.New(rand.NewPCG(7, 7))
	var deltas []Delta
	for range 30_000 {
		deltas = append(deltas, Delta{Pair{vm(dice.IntN(10_000)), vm(dice.IntN(10_000))}, Tally{OfferedBytes: 100, OfferedFrames: 1}})
	}
	seq := uint64(0)
	for b.Loop() {
		now = now.Add(tick)
		seq++
		in.Add(now, Report{Node: "n", Boot: 1, Seq: seq, Deltas: deltas})
		in.Step(now)
	}
}
