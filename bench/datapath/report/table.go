package report

import (
	"fmt"
	"io"
	"strings"
)

// Yardsticks are the systems that others are divided by.
type Yardsticks struct {
	Ceiling string   // the bare wire
	Bridge  string   // what the kernel's own overlay reaches
	Peers   []string // user-space overlays, of which the best counts
}

// WriteTables writes the medians of all figures, then one table a figure with ratios and spreads, in Markdown.
func (r *Result) WriteTables(w io.Writer, figures []Figure, y Yardsticks) {
	figures = r.measured(figures)
	head, rule := "| |", "|---|"
	for _, f := range figures {
		head += fmt.Sprintf(" %s %s |", f.Title, f.Unit)
		rule += "---:|"
	}
	fmt.Fprintf(w, "%s\n%s\n", head, rule)
	for _, s := range r.Systems {
		line := "| " + s.Name + " |"
		for _, f := range figures {
			cell := ""
			if spread, ok := r.Of(s.Name, f.Key); ok {
				cell = f.format(spread.Median)
			}
			if s.NotRun != "" {
				cell = "not run"
			}
			line += " " + cell + " |"
		}
		fmt.Fprintln(w, line)
	}
	for _, f := range figures {
		r.writeFigure(w, f, y)
	}
	fmt.Fprintln(w)
	for _, s := range r.Systems {
		if s.NotRun != "" {
			fmt.Fprintf(w, "- **%s**: not run: %s\n", s.Name, s.NotRun)
			continue
		}
		fmt.Fprintf(w, "- **%s**: %s\n", s.Name, s.What)
	}
}

// measured are the figures that there are samples of.
func (r *Result) measured(figures []Figure) (there []Figure) {
	for _, f := range figures {
		for _, s := range r.Samples {
			if s.Figure == f.Key {
				there = append(there, f)
				break
			}
		}
	}
	return there
}

// writeFigure writes one figure: its spread, and its ratios to the yardsticks.
func (r *Result) writeFigure(w io.Writer, f Figure, y Yardsticks) {
	best, _ := r.Best(f.Key, f.Less, y.Peers)
	columns := []struct{ title, to string }{{"× " + y.Ceiling, y.Ceiling}, {"× " + y.Bridge, y.Bridge}, {"× " + best, best}}
	fmt.Fprintf(w, "\n%s, %s:\n\n| | min | median | max |", f.Title, f.Unit)
	rule := "\n|---|---:|---:|---:|"
	for _, c := range columns {
		if _, ok := r.Of(c.to, f.Key); ok {
			fmt.Fprintf(w, " %s |", c.title)
			rule += "---:|"
		}
	}
	fmt.Fprintln(w, rule)
	for _, s := range r.Systems {
		spread, ok := r.Of(s.Name, f.Key)
		if !ok {
			continue
		}
		cells := []string{s.Name, f.format(spread.Min), f.format(spread.Median), f.format(spread.Max)}
		for _, c := range columns {
			if _, ok := r.Of(c.to, f.Key); !ok {
				continue
			}
			cell := ""
			if ratio, ok := r.Ratio(s.Name, f.Key, c.to, f.Key); ok {
				cell = fmt.Sprintf("%.2f (%.2f–%.2f)", ratio.Median, ratio.Min, ratio.Max)
			}
			cells = append(cells, cell)
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
}
