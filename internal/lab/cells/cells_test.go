package cells

import (
	"math"
	"slices"
	"testing"
)

func TestCellsAreSettings(t *testing.T) {
	for _, name := range append(Names(), "wide8/treeupdown") {
		if s, err := SettingNamed(name, 1); err != nil || s.String() != name {
			t.Errorf("%s is %s: %v", name, s, err)
		}
	}
	for _, name := range []string{"ring", "cluster8", "town4/ring", "cluster5/ring", "cluster4/mesh3d", "/ring"} {
		if _, err := SettingNamed(name, 1); err == nil {
			t.Errorf("%q is taken for a cell", name)
		}
	}
}

// A minute's work is the first half as it was and the rest as the second half went.
func TestAJobIsReckonedFromARun(t *testing.T) {
	run := Trial{Runs: map[string]Run{
		"oracle":   {Iterations: 100, IterationS: 0.1, HeadS: 5},
		"fastpath": {Iterations: 95, IterationS: 0.1, HeadS: 5.3},
		"star":     {Iterations: 10, IterationS: 1, HeadS: 5},
	}}
	if n := run.job(); n != 600 {
		t.Errorf("a minute's work is %d iterations, want 600", n)
	}
	if got, want := run.Ratio("fastpath", "oracle"), (5.3+55.3)/60; math.Abs(got-want) > 1e-9 {
		t.Errorf("to the oracle: %v, want %v", got, want)
	}
	if got := run.Ratio("star", "oracle"); math.Abs(got-10) > 1e-9 {
		t.Errorf("the star takes %v times as long, want 10", got)
	}
	rows := run.BaselineRows()
	if len(rows) != 3 || len(rows[0]) != len(BaselineHead()) {
		t.Errorf("rows: %q", rows)
	}
}

// The same job on the star: its first half as it was, the rest as its second half went.
func TestSpeedupIsOfTheSameJob(t *testing.T) {
	s := Speedup{Bound: Bound(8), Star: Run{Iterations: 4, HeadS: 11, IterationS: 5}, Auto: Run{Iterations: 60, HeadS: 32, IterationS: 1}}
	if got, want := s.Total(), (11+58*5.0)/(32+30); math.Abs(got-want) > 1e-9 {
		t.Errorf("%v, want %v", got, want)
	}
	if len(s.Row()) != len(SpeedupHead()) {
		t.Errorf("%d columns, %d names", len(s.Row()), len(SpeedupHead()))
	}
}

func TestRowsHaveTheirColumns(t *testing.T) {
	c := Cell{Setting: "cluster4/ring", Lab: []Trial{{Runs: map[string]Run{"oracle": {IterationS: 1}}}}}
	c.Simulated.Auto.Iterations = 1
	if len(c.Row()) != len(Head()) {
		t.Errorf("%d columns, %d names", len(c.Row()), len(Head()))
	}
}

func TestMergeReplacesRowsOfTheSameName(t *testing.T) {
	got := Merge([][]string{{"a", "1"}, {"b", "1"}}, [][]string{{"b", "2"}, {"c", "2"}}, 1)
	if want := [][]string{{"a", "1"}, {"b", "2"}, {"c", "2"}}; !slices.EqualFunc(got, want, func(x, y []string) bool { return slices.Equal(x, y) }) {
		t.Errorf("%q", got)
	}
}
