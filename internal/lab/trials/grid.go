package trials

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab/figures"
)

// Cell is one setting of the grid.
type Cell struct {
	Comparison
	Sweep Sweep `json:"sweep"`
}

// Grid is every pattern in every environment with four and eight VMs: running time by fast paths, and by policies.
func Grid(o Options) (Report, error) {
	var settings []Setting
	for _, e := range Environments() {
		for _, vms := range []int{4, 8} {
			for _, p := range Patterns(vms) {
				if o.Quick && (vms == 8 || p != "ring" && p != "alltoall" && p != "treeupdown") {
					continue
				}
				settings = append(settings, Setting{Environment: e, VMs: vms, Pattern: p, Seed: o.Seed})
			}
		}
	}
	cells := make([]Cell, len(settings))
	err := each(len(settings), func(i int) (err error) {
		if cells[i].Comparison, err = settings[i].Compare(Work); err != nil {
			return err
		}
		cells[i].Sweep, err = settings[i].Sweep(max(1, cells[i].Edges/14))
		return err
	})
	r := Report{
		Name: "grid", Title: "all patterns in all environments", Seed: o.Seed, Data: cells,
		Head: []string{"setting", "edges", "links", "star, s", "auto, s", "speed-up", "to oracle", "to mesh", "mesh links", "inference, s", "adaptation, s", "reverted", "k: iteration, ms", "Spearman", "lost", "twice"},
	}
	if err != nil {
		return r, err
	}
	for _, c := range cells {
		r.Account = r.Account.Plus(c.Account()).Plus(c.Sweep.Account)
		r.Rows = append(r.Rows, c.row())
	}
	r.Notes = worst(cells)
	drawGrid(&r, settings, cells)
	return r, nil
}

func (c Cell) row() []string {
	steps := ""
	for _, s := range c.Sweep.Steps {
		steps += fmt.Sprintf("%d:%.0f ", s.K, 1000*s.IterationS)
	}
	n := float64(c.Auto.Iterations)
	return []string{
		c.Setting, fmt.Sprint(c.Edges), fmt.Sprint(c.Auto.Links), seconds(n * c.Star), seconds(c.Auto.Seconds), fmt.Sprintf("%.2f", c.Speedup),
		fmt.Sprintf("%.3f", c.Ratio), fmt.Sprintf("%.3f", c.ToMesh), fmt.Sprint(c.Mesh.Links), fmt.Sprintf("%.2f", c.Auto.InferredS), fmt.Sprintf("%.2f", c.Auto.AdaptedS),
		fmt.Sprint(c.Auto.Reverted), steps, fmt.Sprintf("%.2f", c.Sweep.Spearman), fmt.Sprint(c.FramesLost + c.Sweep.FramesLost), fmt.Sprint(c.Duplicates + c.Sweep.Twice),
	}
}

// worst names the cells that decide whether a promise holds.
func worst(cells []Cell) []string {
	far := slices.MaxFunc(cells, func(a, b Cell) int { return cmp.Compare(a.Ratio, b.Ratio) })
	mesh := slices.MaxFunc(cells, func(a, b Cell) int { return cmp.Compare(a.ToMesh, b.ToMesh) })
	slow := slices.MinFunc(cells, func(a, b Cell) int { return cmp.Compare(a.Speedup, b.Speedup) })
	extra, virtual := 0, 0.0
	for _, c := range cells {
		extra = max(extra, c.Auto.Links-c.Edges)
		virtual += c.Auto.Seconds
	}
	return []string{
		fmt.Sprintf("%d settings. Furthest from the oracle: %s at %.3f (promised: 1.05).", len(cells), far.Setting, far.Ratio),
		fmt.Sprintf("Furthest from the full mesh: %s at %.3f (promised: 1.02).", mesh.Setting, mesh.ToMesh),
		fmt.Sprintf("Least speed-up: %s at %.2f. Links beyond the pattern's edges: at most %d.", slow.Setting, slow.Speedup, extra),
	}
}

// drawGrid draws running time by fast paths, relative to the star: a picture an environment and size.
func drawGrid(r *Report, settings []Setting, cells []Cell) {
	pictures := map[string]*figures.Figure{}
	for i, c := range cells {
		s := settings[i]
		name := fmt.Sprintf("grid-%s%d", s.Environment.Name, s.VMs)
		f := pictures[name]
		if f == nil {
			f = &figures.Figure{
				Name: name, Title: fmt.Sprintf("%d VMs, %s", s.VMs, s.Environment.Title),
				XLabel: "share of the pattern's edges that have a fast path", YLabel: "running time, relative to the star",
			}
			pictures[name] = f
		}
		line := figures.Line{Name: s.Pattern}
		for _, step := range c.Sweep.Steps {
			line.Points = append(line.Points, figures.Point{X: float64(step.K) / float64(c.Edges), Y: step.IterationS / c.Sweep.Steps[0].IterationS})
		}
		f.Lines = append(f.Lines, line)
	}
	for _, f := range pictures {
		r.draw(*f)
	}
}

// Damping is an application that alternates, at turns from 0.2 to 30 s.
func Damping(o Options) (Report, error) {
	e, err := EnvironmentNamed("cluster")
	if err != nil {
		return Report{}, err
	}
	turns := []float64{0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 7, 10, 12, 15, 20, 25, 30}
	if o.Quick {
		turns = []float64{0.2, 1, 5}
	}
	r := Report{
		Name: "damping", Title: fmt.Sprintf("%s and %s of eight VMs in turns, single cluster", alternateFirst, alternateSecond), Seed: o.Seed,
		Head: Alternation{}.Head(),
	}
	all := make([]Alternation, len(turns))
	err = each(len(turns), func(i int) (err error) {
		all[i], err = Alternate(e, time.Duration(turns[i]*float64(time.Second)), o.Seed)
		return err
	})
	if err != nil {
		return r, err
	}
	changes, gain := figures.Line{Name: "changes a turn"}, figures.Line{Name: "gain over the star / 10"}
	for _, a := range all {
		r.Account = r.Account.Plus(a.Account)
		r.Rows = append(r.Rows, a.Row())
		changes.Points = append(changes.Points, figures.Point{X: a.TurnS, Y: a.PerTurn})
		gain.Points = append(gain.Points, figures.Point{X: a.TurnS, Y: a.gain() / 10})
	}
	r.draw(figures.Figure{
		Name: "damping", Title: "Alternation: " + r.Title, XLabel: "length of a turn, s", YLabel: "", LogX: true, Lines: []figures.Line{changes, gain},
	})
	r.Data = all
	return r, nil
}
