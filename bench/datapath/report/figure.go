package report

import "fmt"

// Figure is one column: what a value means.
type Figure struct {
	Key   string
	Title string
	Unit  string
	Scale float64 // a sample divided by this is in the unit; 0 is 1
	Less  bool    // less is better
}

// format writes a sample with three digits that count.
func (f Figure) format(v float64) string {
	if f.Scale != 0 {
		v /= f.Scale
	}
	return digits(v)
}

func digits(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
