package report

import (
	"fmt"
	"io"
	"slices"
)

// Finding is something that was measured of one system alone.
type Finding struct {
	Trial  string    `json:"trial"`
	What   string    `json:"what"` // with its unit
	Values []float64 `json:"values"`
	Aim    string    `json:"aim,omitempty"` // in words, such as "≥ 0.9"
}

// AddFindings adds values to the findings that are there, by what they are of.
func (r *Result) AddFindings(more []Finding) {
	for _, f := range more {
		i := slices.IndexFunc(r.Findings, func(o Finding) bool { return o.Trial == f.Trial && o.What == f.What })
		if i < 0 {
			f.Values = slices.Clone(f.Values)
			r.Findings = append(r.Findings, f)
			continue
		}
		r.Findings[i].Values = append(r.Findings[i].Values, f.Values...)
	}
}

// WriteFindings writes them as a table in Markdown.
func (r *Result) WriteFindings(w io.Writer) {
	if len(r.Findings) == 0 {
		return
	}
	fmt.Fprintf(w, "| trial | what | times | min | median | max | aim |\n|---|---|---:|---:|---:|---:|---|\n")
	for _, f := range r.Findings {
		s, _ := SpreadOf(f.Values)
		fmt.Fprintf(w, "| %s | %s | %d | %s | %s | %s | %s |\n", f.Trial, f.What, len(f.Values), digits(s.Min), digits(s.Median), digits(s.Max), f.Aim)
	}
}
