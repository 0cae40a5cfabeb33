// Package report is the results of a side-by-side measurement, merged, judged against each other, and printed.
//
// It measures nothing and knows no system by itself: the caller says which system is the yardstick.
package report

import (
	"slices"
)

// Sample is one measured value.
type Sample struct {
	System string  `json:"system"`
	Figure string  `json:"figure"`
	Round  int     `json:"round"`
	Value  float64 `json:"value"` // in the figure's unit
}

// System is something that was measured, or was not.
type System struct {
	Name    string `json:"name"`
	What    string `json:"what"`              // version and configuration, in words
	NotRun  string `json:"not_run,omitempty"` // why it could not be measured
	Checked int64  `json:"checked"`           // bytes that crossed it and arrived as they were sent
}

// Result is what one run of the benchmark found.
type Result struct {
	Machine string   `json:"machine"`
	Systems []System `json:"systems"`
	Rounds  int      `json:"rounds"`
	Samples []Sample `json:"samples"`
	// Findings are of trials, which have no rounds.
	Findings []Finding `json:"findings,omitempty"`
}

// Merge joins the results of several runs. The rounds of a figure follow each other in the order of the runs; a system
// that could not be measured in one of them counts as measured.
func Merge(results []Result) Result {
	var all Result
	for _, r := range results {
		if all.Machine == "" {
			all.Machine = r.Machine
		}
		for _, s := range r.Systems {
			i := slices.IndexFunc(all.Systems, func(o System) bool { return o.Name == s.Name })
			switch {
			case i < 0:
				all.Systems = append(all.Systems, s)
			case s.NotRun == "":
				s.Checked += all.Systems[i].Checked
				all.Systems[i] = s
			}
		}
		all.AddFindings(r.Findings)
		// A figure's rounds are numbered on from those that are there.
		next := map[string]int{}
		for _, s := range all.Samples {
			next[s.Figure] = max(next[s.Figure], s.Round+1)
		}
		for _, s := range r.Samples {
			s.Round += next[s.Figure]
			all.Samples = append(all.Samples, s)
		}
	}
	for _, s := range all.Samples {
		all.Rounds = max(all.Rounds, s.Round+1)
	}
	return all
}

// Values are what a system's figure was, by round.
func (r *Result) Values(system, figure string) map[int]float64 {
	values := map[int]float64{}
	for _, s := range r.Samples {
		if s.System == system && s.Figure == figure {
			values[s.Round] = s.Value
		}
	}
	return values
}

// Spread is the least, the middle and the greatest of some values.
type Spread struct{ Min, Median, Max float64 }

// SpreadOf is the spread of values; ok is false when there are none. The middle of an even number is the mean of two.
func SpreadOf(values []float64) (s Spread, ok bool) {
	if len(values) == 0 {
		return s, false
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return Spread{Min: v[0], Median: (v[(n-1)/2] + v[n/2]) / 2, Max: v[n-1]}, true
}

// Of is the spread of a system's figure over the rounds.
func (r *Result) Of(system, figure string) (Spread, bool) {
	var values []float64
	for _, v := range r.Values(system, figure) {
		values = append(values, v)
	}
	return SpreadOf(values)
}

// Ratio is the spread of the ratios, round by round, of one system's figure to another's: a machine that swings from
// round to round swings for both.
func (r *Result) Ratio(system, figure, to, toFigure string) (Spread, bool) {
	below := r.Values(to, toFigure)
	var ratios []float64
	for round, v := range r.Values(system, figure) {
		if b := below[round]; b > 0 {
			ratios = append(ratios, v/b)
		}
	}
	return SpreadOf(ratios)
}

// Best is which of the systems has the best median of a figure; more is better, unless less is.
func (r *Result) Best(figure string, less bool, systems []string) (best string, ok bool) {
	var champion float64
	for _, name := range systems {
		s, measured := r.Of(name, figure)
		if measured && (!ok || (s.Median > champion) != less) {
			best, champion, ok = name, s.Median, true
		}
	}
	return best, ok
}
