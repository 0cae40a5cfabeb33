package demo

import (
	"math"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

func TestSpeedupBound(t *testing.T) {
	for _, c := range []struct {
		pattern string
		ranks   int
		want    float64
		why     string
	}{
		{"ring", 4, 4, "eight messages cross the Proxy's line, two each host's"},
		{"ring", 8, 8, "sixteen against two"},
		{"alltoall", 4, 4, "twelve against three"},
		{"bus", 4, 3, "six against the two of a VM in the middle"},
		{"broadcast", 4, 1, "the root sends three and three cross the Proxy: nothing to win"},
	} {
		s, err := workload.New(c.pattern, c.ranks, workload.Options{Bytes: exchange})
		if err != nil {
			t.Fatal(err)
		}
		if got := speedupBound(s); math.Abs(got-c.want) > 0.01 {
			t.Errorf("%s of %d: bound %.2f, want %.2f (%s)", c.pattern, c.ranks, got, c.want, c.why)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 5}, 5}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

func TestTimingCountsWhatLiesWithin(t *testing.T) {
	t0 := time.Unix(100, 0)
	a := &application{procs: nil}
	for i := range 10 { // ten iterations of 100 ms, one after the other
		a.iterations = append(a.iterations, iteration{Iteration: i, StartNS: t0.Add(time.Duration(i) * 100 * time.Millisecond).UnixNano(), MS: 100})
	}
	got := a.timing(t0.Add(150*time.Millisecond), t0.Add(850*time.Millisecond))
	if got.IterationMS != 100 || got.Iterations != 6 { // 2 to 7: the ones that begin before or end after are left out
		t.Errorf("got %+v, want 6 iterations of 100 ms", got)
	}
}

func TestRefusesSizesAPatternDoesNotHave(t *testing.T) {
	if _, err := New(Config{VMs: 5, Pattern: "hypercube"}); err == nil {
		t.Error("a hypercube of five was accepted")
	}
	if _, err := New(Config{VMs: 4, Pattern: "rign"}); err == nil {
		t.Error("an unknown pattern was accepted")
	}
}

func TestLinesAreHandedOnWhole(t *testing.T) {
	var got []string
	l := &lines{take: func(s string) { got = append(got, s) }}
	for _, part := range []string{"on", "e\ntwo\nth", "ree", "\n"} {
		l.Write([]byte(part))
	}
	if len(got) != 3 || got[0] != "one" || got[1] != "two" || got[2] != "three" {
		t.Errorf("got %q", got)
	}
}
