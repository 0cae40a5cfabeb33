package trials

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/simulate"
)

// What is promised of every setting holds in a few; `vnet experiment grid` has them all.
func TestFastPathsAreAsGoodAsAnOracles(t *testing.T) {
	for _, c := range []struct{ environment, pattern string }{
		{"cluster", "ring"}, {"metro", "treeupdown"}, {"wide", "alltoall"},
	} {
		t.Run(c.environment+"/"+c.pattern, func(t *testing.T) {
			t.Parallel()
			e, err := EnvironmentNamed(c.environment)
			if err != nil {
				t.Fatal(err)
			}
			s := Setting{Environment: e, VMs: 4, Pattern: c.pattern, Seed: 3}
			got, err := s.Compare(Work)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case got.Ratio > 1.05:
				t.Errorf("%.3f times the oracle's time", got.Ratio)
			case got.ToMesh > 1.02:
				t.Errorf("%.3f times the full mesh's time", got.ToMesh)
			case got.Auto.Links > got.Edges:
				t.Errorf("%d links for %d edges", got.Auto.Links, got.Edges)
			case got.Speedup < 0.999:
				t.Errorf("slower than the star: %.3f", got.Speedup)
			case got.FramesLost != 0 || got.Duplicates != 0:
				t.Errorf("%d frames lost, %d twice", got.FramesLost, got.Duplicates)
			case got.Oracle.IterationS > 0.5:
				t.Errorf("the oracle's iteration takes %.2f s: longer than the comparison is promised for", got.Oracle.IterationS)
			}
		})
	}
}

func TestMoreFastPathsAreFaster(t *testing.T) {
	e, err := EnvironmentNamed("cluster")
	if err != nil {
		t.Fatal(err)
	}
	sweep, err := Setting{Environment: e, VMs: 4, Pattern: "alltoall", Seed: 1}.Sweep(1)
	if err != nil {
		t.Fatal(err)
	}
	if len(sweep.Steps) != 7 || sweep.Spearman > -0.9 || sweep.Gain() < 3 {
		t.Errorf("%+v", sweep)
	}
}

func TestAlternationIsDamped(t *testing.T) {
	e, err := EnvironmentNamed("cluster")
	if err != nil {
		t.Fatal(err)
	}
	a, err := Alternate(e, 500*time.Millisecond, 1)
	if err != nil {
		t.Fatal(err)
	}
	if a.Changes == 0 || a.Reversed != 0 || a.PerTurn > 0.2 || a.Iterations < a.OnStar {
		t.Errorf("%+v", a)
	}
}

// A link that comes back within the bound that was in force then is counted, whatever the bound is in the end; failed changes
// did nothing.
func TestReversalsAreReckonedByTheBoundThen(t *testing.T) {
	change := func(at time.Duration, outcome, what string, bound time.Duration) *vnetv1.Change {
		return &vnetv1.Change{
			Started: timestamppb.New(time.Unix(0, 0).Add(at)), Outcome: outcome, EffectiveBound: durationpb.New(bound),
			Proposal: &vnetv1.Proposal{Steps: []*vnetv1.Step{{What: what}}},
		}
	}
	const s = time.Second
	for _, c := range []struct {
		name     string
		history  []*vnetv1.Change // newest first
		reversed int
		soonest  float64
	}{
		{"after the bound", []*vnetv1.Change{change(10*s, "committed", "open link a–b", 6*s), change(4*s, "committed", "close link a–b", 7*s)}, 0, 6},
		{"within it", []*vnetv1.Change{change(10*s, "committed", "open link a–b", 7*s), change(4*s, "committed", "close link a–b", 6*s)}, 1, 6},
		{"closed soon", []*vnetv1.Change{change(9*s, "committed", "close link a–b", 6*s), change(4*s, "committed", "open link a–b", 6*s)}, 1, 5},
		{"another link", []*vnetv1.Change{change(5*s, "committed", "open link a–c", 6*s), change(4*s, "committed", "close link a–b", 6*s)}, 0, 0},
		{"failed", []*vnetv1.Change{change(5*s, "failed", "open link a–b", 6*s), change(4*s, "committed", "close link a–b", 6*s)}, 0, 0},
	} {
		var a Alternation
		a.Reckon(&vnetv1.Adaptation{History: c.history}, &vnetv1.Bound{Value: durationpb.New(3 * s)})
		if a.Reversed != c.reversed || a.SoonestS != c.soonest || a.BoundS != 9 {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
}

func TestSpearmanCountsTiesAtTheirMiddle(t *testing.T) {
	for _, c := range []struct {
		times []float64
		want  float64
	}{{[]float64{4, 3, 2, 1}, -1}, {[]float64{1, 2, 3}, 1}, {[]float64{3, 2, 2, 1}, -0.9487}, {[]float64{1, 1}, 0}} {
		var steps []Step
		for k, s := range c.times {
			steps = append(steps, Step{k, s})
		}
		if got := spearman(steps); math.Abs(got-c.want) > 1e-3 {
			t.Errorf("spearman(%v) = %.4f, want %.4f", c.times, got, c.want)
		}
	}
}

// Each experiment, in its quick form, fills every column of its table and accounts for every frame.
func TestReportsAreWhole(t *testing.T) {
	for _, e := range Experiments() {
		if e.Name == "grid" || e.Name == "fig10" || e.Name == "damping" { // their parts are tested above
			continue
		}
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			r, err := e.Run(Options{Seed: 1, Quick: true})
			if err != nil {
				t.Fatal(err)
			}
			var table, csv, pictures bytes.Buffer
			if err := r.Table(&table); err != nil {
				t.Fatal(err)
			}
			if err := r.CSV(&csv); err != nil {
				t.Fatal(err)
			}
			for _, draw := range r.Pictures {
				if err := draw(&pictures); err != nil {
					t.Fatal(err)
				}
			}
			for _, row := range r.Rows {
				if len(row) != len(r.Head) {
					t.Errorf("row %q has not the columns of %q", row, r.Head)
				}
			}
			if len(r.Rows) < 2 || strings.Count(csv.String(), "\n") != len(r.Rows)+1 || r.Name != "fig9" && !strings.Contains(pictures.String(), "</svg>") {
				t.Errorf("%s", table.String())
			}
			if r.Account != (simulate.Account{Probes: r.Account.Probes, Dropped: r.Account.Dropped}) {
				t.Errorf("the account does not balance: %+v", r.Account)
			}
		})
	}
}

// Every scenario is a lab file, and its VMs are where the oracle's pairs say.
func TestScenariosAreWhole(t *testing.T) {
	for _, e := range Environments() {
		for _, vms := range []int{4, 8} {
			spec, err := e.Spec(vms)
			if err != nil {
				t.Error(err)
				continue
			}
			for i, vm := range spec.VMs {
				if len(spec.VMs) != vms || vm.Host != spec.Hosts[i+1].Name || spec.Hosts[i+1].Up != 100_000_000 {
					t.Errorf("%s: %+v", spec.Name, vm)
				}
			}
		}
	}
	if _, err := (Environment{Name: "cluster"}).Spec(5); err == nil {
		t.Error("there is a scenario of five VMs")
	}
}
