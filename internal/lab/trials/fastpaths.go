package trials

import (
	"fmt"

	"github.com/virtuoso-vnet/virtuoso/internal/lab/figures"
)

// paper11 is Figure 11 as its text tells it (§4.2): seconds by fast paths.
func paper11(k int) (float64, bool) {
	s, ok := map[int]float64{0: 1700, 1: 1400, 14: 1000, 28: 700}[k]
	return s, ok
}

// Figure11 is all-to-all of eight VMs in one cluster.
func Figure11(o Options) (Report, error) {
	return fastPaths("fig11", "cluster", "alltoall", o, paper11)
}

// Figure12 is the bus over two clusters.
func Figure12(o Options) (Report, error) {
	return fastPaths("fig12", "metro", "bus", o, nil)
}

// Figure13 is all-to-all over a wide area.
func Figure13(o Options) (Report, error) {
	return fastPaths("fig13", "wide", "alltoall", o, nil)
}

// onStar is how long the jobs of these figures take without fast paths: as Figure 11's did, so that the numbers compare.
const onStar = 1700.0

// fastPaths shows the running time of one job against the number of fast paths.
func fastPaths(name, environment, pattern string, o Options, paper func(int) (float64, bool)) (Report, error) {
	e, err := EnvironmentNamed(environment)
	if err != nil {
		return Report{}, err
	}
	setting := Setting{Environment: e, VMs: 8, Pattern: pattern, Seed: o.Seed}
	every := 1
	if o.Quick {
		every = 7
	}
	sweep, err := setting.Sweep(every)
	if err != nil {
		return Report{}, err
	}
	r := Report{
		Name: name, Title: fmt.Sprintf("%s of 8 VMs, %s", pattern, e.Title), Seed: o.Seed, Account: sweep.Account, Data: sweep,
		Head: []string{"fast paths", "iteration, s", "job, s", "gain", "paper, s", "paper's gain"},
	}
	iterations := onStar / sweep.Steps[0].IterationS
	line, theirs := figures.Line{Name: "here"}, figures.Line{Name: "paper"}
	for _, s := range sweep.Steps {
		row := []string{fmt.Sprint(s.K), seconds(s.IterationS), seconds(s.IterationS * iterations), fmt.Sprintf("%.2f", sweep.Steps[0].IterationS/s.IterationS), "", ""}
		line.Points = append(line.Points, figures.Point{X: float64(s.K), Y: s.IterationS * iterations})
		if paper != nil {
			if p, ok := paper(s.K); ok {
				row[4], row[5] = seconds(p), fmt.Sprintf("%.2f", onStar/p)
				theirs.Points = append(theirs.Points, figures.Point{X: float64(s.K), Y: p})
			}
		}
		r.Rows = append(r.Rows, row)
	}
	lines := []figures.Line{line}
	if len(theirs.Points) > 0 {
		lines = append(lines, theirs)
	}
	r.draw(figures.Figure{
		Name: name, Title: fmt.Sprintf("Figure %s: %s", name[3:], r.Title), XLabel: "fast paths, strongest first", YLabel: "running time, s", Lines: lines,
	})
	r.Notes = []string{fmt.Sprintf("The job is %.0f iterations, %.0f s on the star as in Figure 11. Spearman's correlation of time and number: %.3f. Gain with all: %.2f.",
		iterations, onStar, sweep.Spearman, sweep.Gain())}
	return r, nil
}
