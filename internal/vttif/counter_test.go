package vttif

import (
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

func collect(c *Counter) map[Pair]Tally {
	all := map[Pair]Tally{}
	c.Collect(func(p Pair, t Tally) { all[p] = t })
	return all
}

func TestACounterCountsLikeAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.IntRange(1, 40).Draw(t, "capacity")
		c := NewCounter(capacity)
		twin := map[Pair]Tally{}
		var other Tally
		for range rapid.IntRange(0, 200).Draw(t, "frames") {
			p := Pair{vm(rapid.IntRange(0, 9).Draw(t, "src")), vm(rapid.IntRange(0, 9).Draw(t, "dst"))}
			n, frames, bare := rapid.Uint64Range(0, 65535).Draw(t, "bytes"), rapid.Uint64Range(1, 44).Draw(t, "frames"), rapid.Bool().Draw(t, "bare")
			var one Tally
			if rapid.Bool().Draw(t, "delivered") {
				c.Delivered(p.Src, p.Dst, n, frames)
				one = Tally{DeliveredBytes: n, DeliveredFrames: frames}
			} else {
				c.Offered(p.Src, p.Dst, n, frames, bare)
				one = Tally{OfferedBytes: n, OfferedFrames: frames}
				if bare {
					one.OfferedBare = frames
				}
			}
			if _, known := twin[p]; known || len(twin) < capacity {
				twin[p] = twin[p].Plus(one)
			} else {
				other = other.Plus(one)
			}
		}
		got := collect(c)
		if len(got) != len(twin) || c.Other() != other {
			t.Fatalf("%d pairs, other %+v; want %d, %+v", len(got), c.Other(), len(twin), other)
		}
		for p, want := range twin {
			if got[p] != want {
				t.Fatalf("%v: %+v, want %+v", p, got[p], want)
			}
		}
	})
}

func TestACounterMayBeReadWhileItCounts(t *testing.T) {
	const frames, pairs = 20000, 50
	c := NewCounter(pairs)
	var work sync.WaitGroup
	work.Go(func() {
		for i := range frames {
			c.Offered(vm(i%pairs), vm(999), 100, 1, false)
		}
	})
	for range 50 {
		for p, tally := range collect(c) {
			if p.Dst != vm(999) || tally.OfferedFrames > frames/pairs {
				t.Errorf("%v: %+v", p, tally)
			}
		}
	}
	work.Wait()
	if got := collect(c); len(got) != pairs || got[Pair{vm(7), vm(999)}].OfferedBytes != 100*frames/pairs {
		t.Errorf("%d pairs", len(got))
	}
}

func TestAFloodOfAddressesGoesToOther(t *testing.T) {
	c := NewCounter(100)
	app := Pair{vm(1), vm(2)}
	c.Offered(app.Src, app.Dst, 1000, 1, false)
	const flood = 100_000
	if got := testing.AllocsPerRun(1, func() {
		for i := range flood / 2 { // AllocsPerRun runs twice
			c.Offered(ether.MAC{6, 6, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}, vm(2), 60, 1, false)
		}
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
	c.Offered(app.Src, app.Dst, 1000, 1, false)
	all := collect(c)
	if len(all) != 100 || all[app].OfferedFrames != 2 {
		t.Errorf("%d pairs, application %+v", len(all), all[app])
	}
	var sum Tally
	for _, tally := range all {
		sum = sum.Plus(tally)
	}
	if sum = sum.Plus(c.Other()); sum.OfferedFrames != flood+2 {
		t.Errorf("%d frames in all", sum.OfferedFrames)
	}
}

func TestReportsAddUpToTheCounters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		workers := []*Counter{NewCounter(8), NewCounter(8)}
		d := NewDiffer("host1", 7)
		sum := map[Pair]Tally{}
		var other Tally
		for seq := range uint64(rapid.IntRange(1, 8).Draw(t, "reports")) {
			for range rapid.IntRange(0, 10).Draw(t, "frames") {
				w := workers[rapid.IntRange(0, 1).Draw(t, "worker")]
				w.Offered(vm(rapid.IntRange(0, 3).Draw(t, "src")), vm(rapid.IntRange(0, 3).Draw(t, "dst")), 100, 1, false)
			}
			r := d.Report(workers...)
			if r.Node != "host1" || r.Boot != 7 || r.Seq != seq+1 {
				t.Fatalf("report %+v", r)
			}
			if !slices.IsSortedFunc(r.Deltas, func(a, b Delta) int { return a.Pair.Compare(b.Pair) }) {
				t.Fatal("not sorted")
			}
			for _, delta := range r.Deltas {
				if delta.Tally.IsZero() {
					t.Fatal("a delta of nothing")
				}
				sum[delta.Pair] = sum[delta.Pair].Plus(delta.Tally)
			}
			other = other.Plus(r.Other)
		}
		want, wantOther := map[Pair]Tally{}, workers[0].Other().Plus(workers[1].Other())
		for _, w := range workers {
			w.Collect(func(p Pair, tally Tally) { want[p] = want[p].Plus(tally) })
		}
		if len(want) != len(sum) || other != wantOther {
			t.Fatalf("%d pairs, want %d", len(sum), len(want))
		}
		for p := range want {
			if sum[p] != want[p] {
				t.Fatalf("%v: %+v, want %+v", p, sum[p], want[p])
			}
		}
	})
}

func TestAWorkerThatEndsLeavesNoTrace(t *testing.T) {
	a, b, d := NewCounter(8), NewCounter(8), NewDiffer("host1", 7)
	count := func(c *Counter) { c.Offered(vm(1), vm(2), 100, 1, false) }
	for i, row := range []struct {
		count, given []*Counter
		want         uint64
	}{
		{[]*Counter{a, b}, []*Counter{a, b}, 200},
		{nil, []*Counter{a, b}, 0},
		{[]*Counter{a}, []*Counter{a}, 100},
		{[]*Counter{a}, []*Counter{a}, 100},
		{nil, []*Counter{a}, 0},
	} {
		for _, c := range row.count {
			count(c)
		}
		var got uint64
		for _, delta := range d.Report(row.given...).Deltas {
			got += delta.OfferedBytes
		}
		if got != row.want {
			t.Errorf("report %d: %d bytes, want %d", i, got, row.want)
		}
	}
}

// go test -run '^$' -bench Counter -count 10 ./internal/vttif
func BenchmarkCounter(b *testing.B) {
	for _, row := range []struct {
		name  string
		pairs int
	}{{"1 pair", 1}, {"64 pairs", 64}, {"4096 pairs", 4096}} {
		b.Run(row.name, func(b *testing.B) {
			c := NewCounter(DefaultPairs)
			pairs := make([]Pair, row.pairs)
			for i := range pairs {
				pairs[i] = Pair{vm(i), vm(i + 1)}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				p := &pairs[i]
				if i++; i == len(pairs) {
					i = 0
				}
				c.Offered(p.Src, p.Dst, 1514, 1, false)
			}
		})
	}
}
