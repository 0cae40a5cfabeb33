package report

import (
	"fmt"
	"io"
)

// Aim is what a system's figure, or its ratio to another's, is to reach.
type Aim struct {
	What       string
	System     string
	Figure     Figure
	To         string // the system to divide by; BestPeer is the best of the peers; empty for none
	ToFigure   string // empty: the same
	Bound      float64
	DownToThis bool // the bound is a greatest, not a least
}

// BestPeer in Aim.To stands for whichever user-space peer is best in the figure.
const BestPeer = "best peer"

// Measure is the median of what an aim speaks of, in its figure's unit or as a ratio.
func (r *Result) Measure(a Aim, y Yardsticks) (s Spread, ok bool) {
	to, toFigure := a.To, a.ToFigure
	if toFigure == "" {
		toFigure = a.Figure.Key
	}
	if to == BestPeer {
		if to, ok = r.Best(toFigure, a.Figure.Less, y.Peers); !ok {
			return s, false
		}
	}
	if to != "" {
		return r.Ratio(a.System, a.Figure.Key, to, toFigure)
	}
	s, ok = r.Of(a.System, a.Figure.Key)
	if a.Figure.Scale != 0 {
		s = Spread{s.Min / a.Figure.Scale, s.Median / a.Figure.Scale, s.Max / a.Figure.Scale}
	}
	return s, ok
}

// WriteAims writes which aims are reached by what was measured, and which are not.
func (r *Result) WriteAims(w io.Writer, aims []Aim, y Yardsticks) {
	fmt.Fprintf(w, "| aim | wanted | measured | |\n|---|---:|---:|---|\n")
	for _, a := range aims {
		s, ok := r.Measure(a, y)
		if !ok {
			continue
		}
		sign, verdict := "≥", "missed"
		if a.DownToThis {
			sign = "≤"
		}
		if (s.Median <= a.Bound) == a.DownToThis || s.Median == a.Bound {
			verdict = "reached"
		}
		fmt.Fprintf(w, "| %s | %s %s | %s (%s–%s) | %s |\n", a.What, sign, digits(a.Bound), digits(s.Median), digits(s.Min), digits(s.Max), verdict)
	}
}
