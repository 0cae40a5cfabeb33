package figures

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	barsLeft, barHigh, barGap = 150.0, 12.0, 10.0 // pixels
	barsWidth                 = plotWidth - barsLeft - 70
)

// Bars compares a few numbers for each of several things.
type Bars struct {
	Name, Title string
	Series      []string // what each number of a row is
	Rows        []BarRow
}

// BarRow is one thing. A negative value is not there: no bar is drawn.
type BarRow struct {
	Label  string
	Values []float64
	Texts  []string // what stands behind each bar
}

// SVG draws the bars, one under the other.
func (f Bars) SVG(w io.Writer) error {
	longest := 0.0
	for _, r := range f.Rows {
		for _, v := range r.Values {
			longest = max(longest, v)
		}
	}
	each := float64(len(f.Series))*barHigh + barGap
	height := top + 18*float64(len(f.Series)) + each*float64(len(f.Rows)) + 10
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" font-family="sans-serif" font-size="11">`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<rect width="%g" height="%g" fill="white"/>`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<text x="10" y="%g" font-size="14">%s</text>`+"\n", top-14, escape(f.Title))
	y := top
	for i, name := range f.Series {
		fmt.Fprintf(&b, `<rect x="%g" y="%g" width="20" height="8" fill="%s"/><text x="%g" y="%g">%s</text>`+"\n",
			barsLeft, y, colours()[i%len(colours())], barsLeft+26, y+8, escape(name))
		y += 18
	}
	for _, r := range f.Rows {
		fmt.Fprintf(&b, `<text x="%g" y="%.1f" text-anchor="end">%s</text>`+"\n", barsLeft-6, y+float64(len(f.Series))*barHigh/2+4, escape(r.Label))
		for i, v := range r.Values {
			if v >= 0 && longest > 0 {
				long := v / longest * barsWidth
				fmt.Fprintf(&b, `<rect x="%g" y="%.1f" width="%.1f" height="%g" fill="%s"/><text x="%.1f" y="%.1f" font-size="9">%s</text>`+"\n",
					barsLeft, y, long, barHigh-2, colours()[i%len(colours())], barsLeft+long+4, y+8, escape(r.Texts[i]))
			}
			y += barHigh
		}
		y += barGap
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// Tabled makes bars of a table whose first row is its head: the columns that name each row, and those that are drawn. What is no
// number has no bar.
func Tabled(name, title string, table [][]string, labels, values []int) Bars {
	f := Bars{Name: name, Title: title}
	for i, row := range table {
		var words []string
		for _, c := range labels {
			words = append(words, row[c])
		}
		one := BarRow{Label: strings.Join(words, " ")}
		for _, c := range values {
			if i == 0 {
				f.Series = append(f.Series, row[c])
				continue
			}
			v, err := strconv.ParseFloat(row[c], 64)
			if err != nil {
				v = -1
			}
			one.Values, one.Texts = append(one.Values, v), append(one.Texts, row[c])
		}
		if i > 0 {
			f.Rows = append(f.Rows, one)
		}
	}
	return f
}
