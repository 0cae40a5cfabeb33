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

// A counter with room for all counts like a map; one without counts no pair more than it carried, and in all, with what gave
// way, neither a frame more nor less.
func TestACounterCountsLikeAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.SampledFrom([]int{1, 4, 100}).Draw(t, "capacity")
		c := NewCounter(capacity)
		twin := map[Pair]Tally{}
		var all Tally
		for i := range rapid.IntRange(0, 200).Draw(t, "frames") {
			c.At(uint32(1000 * i))
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
			twin[p], all = twin[p].Plus(one), all.Plus(one)
		}
		got, sum := collect(c), c.Gone()
		for p, tally := range got {
			sum = sum.Plus(tally)
			if tally != twin[p] && (capacity == 100 || !tally.above(twin[p]).IsZero()) {
				t.Fatalf("%v: %+v, want %+v", p, tally, twin[p])
			}
		}
		if sum != all || capacity == 100 && len(got) != len(twin) {
			t.Fatalf("%d pairs, in all %+v; want %d, %+v", len(got), sum, len(twin), all)
		}
	})
}

func TestACounterMayBeReadWhileItCounts(t *testing.T) {
	const frames, pairs = 20000, 50
	c := NewCounter(16 * pairs)
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

// A million hostile addresses: an application that ran before and one that starts in the middle are both counted to the last
// frame, nothing is allocated, and the frames that found no lasting room are in Other.
func TestAFloodOfAMillionAddressesHidesNobody(t *testing.T) {
	c, d := NewCounter(0), NewDiffer("host1", 1)
	before, after := Pair{vm(1), vm(2)}, Pair{vm(3), vm(4)}
	const flood = 1_000_000
	var sent, got, other uint64
	reported := map[Pair]uint64{}
	for i := range flood {
		c.At(uint32(i / 100)) // 100,000 frames a second
		c.Offered(ether.MAC{6, 6, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}, vm(2), 60, 1, false)
		sent++
		for _, p := range []Pair{before, after} {
			if i%100 == 0 && (p == before || i > flood/2) {
				c.Offered(p.Src, p.Dst, 1500, 1, false)
				sent++
			}
		}
		if i%10_000 == 0 || i == flood-1 {
			r := d.Report(uint32(i/100), c)
			other += r.Other.OfferedFrames
			for _, delta := range r.Deltas {
				got += delta.OfferedFrames
				reported[delta.Pair] += delta.OfferedFrames
			}
		}
	}
	if reported[before] != flood/100 || reported[after] != flood/200-1 || got+other != sent {
		t.Errorf("counted %d and %d frames of the applications, %d + %d other of %d", reported[before], reported[after], got, other, sent)
	}
	if n := testing.AllocsPerRun(10, func() { // the average, so that what the runtime does beside does not count
		for i := range 100_000 {
			c.Offered(ether.MAC{6, 7, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}, vm(2), 60, 1, false)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestReportsAddUpToTheCounters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		workers := []*Counter{NewCounter(64), NewCounter(64)}
		d := NewDiffer("host1", 7)
		sum := map[Pair]Tally{}
		var other Tally
		for seq := range uint64(rapid.IntRange(1, 12).Draw(t, "reports")) {
			for range max(0, rapid.IntRange(-10, 10).Draw(t, "frames")) {
				w := workers[rapid.IntRange(0, 1).Draw(t, "worker")]
				w.At(uint32(100 * seq))
				w.Offered(vm(rapid.IntRange(0, 3).Draw(t, "src")), vm(rapid.IntRange(0, 3).Draw(t, "dst")), 100, 1, false)
			}
			r := d.Report(uint32(100*seq), workers...)
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
		want, wantOther := map[Pair]Tally{}, Tally{} // nothing gives way
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
	count := func(c *Counter) {
		c.At(0)
		c.Offered(vm(1), vm(2), 100, 1, false)
	}
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
		for _, delta := range d.Report(uint32(100*i), row.given...).Deltas {
			got += delta.OfferedBytes
		}
		if got != row.want {
			t.Errorf("report %d: %d bytes, want %d", i, got, row.want)
		}
	}
}

// TestACounterThatRestsIsReadOnceItCounts: what a batch counts after a report has begun is in the next, also when no other batch
// comes; then the counter is left alone until one does.
func TestACounterThatRestsIsReadOnceItCounts(t *testing.T) {
	c, d := NewCounter(8), NewDiffer("host1", 7)
	count := func() { c.Offered(vm(1), vm(2), 100, 1, false) }
	c.At(1)
	steps := []struct{ before, want int }{{1, 100}, {1, 100}, {0, 0}, {0, 0}, {0, 0}}
	for i, s := range steps {
		for range s.before {
			count()
		}
		got := 0
		for _, delta := range d.Report(uint32(100*i), c).Deltas {
			got += int(delta.OfferedBytes)
		}
		if got != s.want {
			t.Errorf("report %d: %d bytes, want %d", i, got, s.want)
		}
	}
	if !d.last[c].rests(c) {
		t.Error("a counter at which nothing happens is read")
	}
	c.At(2)
	count()
	if r := d.Report(600, c); len(r.Deltas) != 1 || r.Deltas[0].OfferedBytes != 100 {
		t.Errorf("after a rest: %+v", r.Deltas)
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
