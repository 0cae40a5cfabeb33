package cells

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/program"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/trials"
)

const (
	// Span is how long each policy runs the application; what a minute's work takes follows from it.
	Span = 10 * time.Second
	// BaselineSpan lets the trigger of 10 MB in 10 s come and be measured.
	BaselineSpan = 24 * time.Second
	// QuickSpan is for a first look.
	QuickSpan = 5 * time.Second
)

// Cell is one setting in the simulator and, a few times, in the lab.
type Cell struct {
	Setting   string            `json:"setting"`
	Edges     int               `json:"edges"`
	Simulated trials.Comparison `json:"simulated"`
	Lab       []Trial           `json:"lab"`
}

// Names are the cells that are repeated.
func Names() []string {
	return []string{
		"cluster4/ring", "cluster4/alltoall", "cluster4/treeupdown", "adjacent4/ring", "adjacent4/alltoall", "metro4/ring",
		"metro4/hypercube", "metro4/bus", "wide4/ring", "wide4/alltoall", "metro8/bus", "cluster8/alltoall",
	}
}

// SettingNamed reads "cluster8/ring".
func SettingNamed(name string, seed uint64) (trials.Setting, error) {
	place, pattern, ok := strings.Cut(name, "/")
	if !ok || len(place) < 2 {
		return trials.Setting{}, fmt.Errorf("cannot read %q as a cell: write ENVIRONMENT and VMs, then the pattern, as cluster8/ring", name)
	}
	e, err := trials.EnvironmentNamed(place[:len(place)-1])
	s := trials.Setting{Environment: e, VMs: int(place[len(place)-1] - '0'), Pattern: pattern, Seed: seed}
	if err == nil {
		_, err = s.Schedule()
	}
	if err == nil {
		_, err = e.Spec(s.VMs)
	}
	return s, err
}

// Repeat runs a cell in the lab so many times, for so long by each policy, and in the simulator.
func Repeat(ctx context.Context, name string, runs int, seed uint64, span time.Duration) (Cell, error) {
	c := Cell{Setting: name}
	for i := range runs {
		s, err := SettingNamed(name, seed+uint64(i))
		if err != nil {
			return c, err
		}
		if i == 0 {
			if c.Simulated, err = s.Compare(trials.Work); err != nil {
				return c, err
			}
			c.Edges = c.Simulated.Edges
		}
		t, err := try(ctx, s, span, "star", "oracle", "fastpath")
		if err != nil {
			return c, err
		}
		c.Lab = append(c.Lab, t)
	}
	return c, nil
}

// Head names the columns of Row.
func Head() []string {
	return []string{
		"cell", "runs", "edges", "links", "star, ms: lab", "simulator", "oracle, ms: lab", "simulator", "fastpath, ms: lab", "simulator",
		"speed-up: lab", "simulator", "to oracle: lab", "simulator", "frames lost", "duplicates", "missed",
	}
}

// Row is the cell's line of the table: medians of the runs.
func (c Cell) Row() []string {
	of := func(f func(Trial) float64) float64 {
		var all []float64
		for _, t := range c.Lab {
			all = append(all, f(t))
		}
		return program.Median(all)
	}
	ms := func(policy string) string {
		return fmt.Sprintf("%.1f", 1000*of(func(t Trial) float64 { return t.Runs[policy].IterationS }))
	}
	var lost, twice, missed, links int64
	for _, t := range c.Lab {
		lost += t.FramesLost
		twice += int64(t.Duplicates)
		missed += int64(t.Missed)
		links = max(links, int64(t.Runs["fastpath"].Links))
	}
	simulated := func(s float64) string { return fmt.Sprintf("%.1f", 1000*s) }
	return []string{
		c.Setting, fmt.Sprint(len(c.Lab)), fmt.Sprint(c.Edges), fmt.Sprint(links),
		ms("star"), simulated(c.Simulated.Star), ms("oracle"), simulated(c.Simulated.Oracle.IterationS),
		ms("fastpath"), simulated(c.Simulated.Auto.Seconds / float64(c.Simulated.Auto.Iterations)),
		fmt.Sprintf("%.2f", of(func(t Trial) float64 { return t.Ratio("star", "fastpath") })), fmt.Sprintf("%.2f", c.Simulated.Speedup),
		fmt.Sprintf("%.3f", of(func(t Trial) float64 { return t.Ratio("fastpath", "oracle") })), fmt.Sprintf("%.3f", c.Simulated.Ratio),
		fmt.Sprint(lost), fmt.Sprint(twice), fmt.Sprint(missed),
	}
}

// Baselines runs one setting by every policy in one lab, for so long each, and by tinc in another like it, if the machine has it;
// the quick form leaves out the policies that take their time, and tinc. What was measured before an error is in the trial.
func Baselines(ctx context.Context, name string, seed uint64, span time.Duration, quick bool) (Trial, error) {
	s, err := SettingNamed(name, seed)
	if err != nil {
		return Trial{}, err
	}
	if quick {
		return try(ctx, s, QuickSpan, "star", "first-packet", "oracle", "fastpath")
	}
	t, err := try(ctx, s, span, Policies()...)
	program, there := tincd()
	if err != nil || !there {
		return t, err
	}
	t.Runs[tincName], err = overTinc(ctx, s, span, program)
	if err != nil {
		delete(t.Runs, tincName)
		err = fmt.Errorf("%s over tinc: %w", name, err)
	}
	return t, err
}

// overTinc runs the application over tinc, in a lab of its own.
func overTinc(ctx context.Context, s trials.Setting, span time.Duration, program string) (Run, error) {
	r := Run{Policy: tincName}
	spec, err := s.Environment.Spec(s.VMs)
	if err != nil {
		return r, err
	}
	l, err := lab.Start(ctx, spec, lab.Options{})
	if err != nil {
		return r, err
	}
	defer l.Close()
	at, err := startTinc(ctx, l, program)
	if err != nil {
		return r, err
	}
	return bench{Setting: s, lab: l}.program(ctx, r, at, span)
}

// Policies are all that a setting is compared by, and how to call them.
func Policies() []string {
	return []string{"star", "mesh", "first-packet", "byte-threshold", "oracle", "fastpath"}
}

// BaselineHead names the columns of BaselineRows.
func BaselineHead() []string {
	return []string{"cell", "policy", "iteration, ms", "a minute's work, s", "speed-up", "to oracle", "links"}
}

// BaselineRows are the lines of the table, one a policy.
func (t Trial) BaselineRows() (rows [][]string) {
	if _, ok := t.Runs["oracle"]; !ok {
		return nil // nothing to compare with
	}
	n := t.job()
	for _, policy := range append(Policies(), tincName) {
		r, ok := t.Runs[policy]
		if !ok {
			continue
		}
		links := fmt.Sprint(r.Links)
		if policy == tincName {
			links = "its own"
		}
		rows = append(rows, []string{
			t.Setting, policy, fmt.Sprintf("%.1f", 1000*r.IterationS), fmt.Sprintf("%.1f", r.Seconds(n)),
			fmt.Sprintf("%.2f", t.Ratio("star", policy)), fmt.Sprintf("%.3f", t.Ratio(policy, "oracle")), links,
		})
	}
	return rows
}

// Merge puts rows in the place of those that have the same first columns, or behind all.
func Merge(old, rows [][]string, key int) [][]string {
	for _, row := range rows {
		i := slices.IndexFunc(old, func(o []string) bool { return len(o) == len(row) && slices.Equal(o[:key], row[:key]) })
		if i >= 0 {
			old[i] = row
			continue
		}
		old = append(old, row)
	}
	return old
}
