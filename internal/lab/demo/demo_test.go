package demo

import (
	"math"
	"testing"

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

func TestRefusesSizesAPatternDoesNotHave(t *testing.T) {
	if _, err := New(Config{VMs: 5, Pattern: "hypercube"}); err == nil {
		t.Error("a hypercube of five was accepted")
	}
	if _, err := New(Config{VMs: 4, Pattern: "rign"}); err == nil {
		t.Error("an unknown pattern was accepted")
	}
}
