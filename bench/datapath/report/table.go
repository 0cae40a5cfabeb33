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

// WriteTables writes in Markdown: all figures as median (least–greatest), then the ratios to each yardstick, then what
// each system was.
func (r *Result) WriteTables(w io.Writer, figures []Figure, y Yardsticks) {
	figures = r.measured(figures)
	fmt.Fprintf(w, "Medians, with the least and the greatest of the rounds:\n\n")
	r.table(w, figures, func(_ Figure) string { return "" }, func(system string, f Figure) string {
		s, ok := r.Of(system, f.Key)
		if !ok {
			return ""
		}
		return fmt.Sprintf("%s (%s–%s)", f.format(s.Median), f.format(s.Min), f.format(s.Max))
	})
	for _, to := range []struct {
		title string
		of    func(f Figure) string // which system
	}{
		{"Ratios to " + y.Ceiling, func(Figure) string { return y.Ceiling }},
		{"Ratios to " + y.Bridge, func(Figure) string { return y.Bridge }},
		{"Ratios to the best user-space peer in that figure", func(f Figure) string {
			best, _ := r.Best(f.Key, f.Less, y.Peers)
			return best
		}},
	} {
		var some []Figure
		for _, f := range figures {
			if _, ok := r.Of(to.of(f), f.Key); ok {
				some = append(some, f)
			}
		}
		if len(some) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s, taken round by round:\n\n", to.title)
		r.table(w, some, func(f Figure) string { return "÷ " + to.of(f) }, func(system string, f Figure) string {
			s, ok := r.Ratio(system, f.Key, to.of(f), f.Key)
			if !ok {
				return ""
			}
			return fmt.Sprintf("%.2f (%.2f–%.2f)", s.Median, s.Min, s.Max)
		})
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

// table writes a row a system and a column a figure; note says what to divide by, and then the units fall away.
func (r *Result) table(w io.Writer, figures []Figure, note func(Figure) string, cell func(system string, f Figure) string) {
	head, rule := []string{""}, []string{"---"}
	for _, f := range figures {
		unit := note(f)
		if unit == "" {
			unit = f.Unit
		}
		head, rule = append(head, f.Title+", "+unit), append(rule, "---:")
	}
	fmt.Fprintf(w, "| %s |\n|%s|\n", strings.Join(head, " | "), strings.Join(rule, "|"))
	for _, s := range r.Systems {
		line := []string{s.Name}
		for _, f := range figures {
			if s.NotRun != "" {
				line = append(line, "not run")
				continue
			}
			line = append(line, cell(s.Name, f))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(line, " | "))
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
