package program

import (
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 5}, 5}} {
		if got := Median(c.in); got != c.want {
			t.Errorf("Median(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

func TestTimingCountsWhatLiesWithin(t *testing.T) {
	t0 := time.Unix(100, 0)
	a := &Application{procs: nil}
	for i := range 10 { // ten iterations of 100 ms, one after the other
		a.iterations = append(a.iterations, iteration{Iteration: i, StartNS: t0.Add(time.Duration(i) * 100 * time.Millisecond).UnixNano(), MS: 100})
	}
	ms, n := a.Timing(t0.Add(150*time.Millisecond), t0.Add(850*time.Millisecond))
	if ms != 100 || n != 6 { // 2 to 7: the ones that begin before or end after are left out
		t.Errorf("got %d iterations of %v ms, want 6 of 100", n, ms)
	}
}

func TestLinesAreHandedOnWhole(t *testing.T) {
	var got []string
	l := &Lines{Take: func(s string) { got = append(got, s) }}
	for _, part := range []string{"on", "e\ntwo\nth", "ree", "\n"} {
		l.Write([]byte(part))
	}
	if len(got) != 3 || got[0] != "one" || got[1] != "two" || got[2] != "three" {
		t.Errorf("got %q", got)
	}
}
