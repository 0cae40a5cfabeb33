package figures

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strings"
)

const (
	plotWidth, plotHeight        = 640.0, 400.0 // pixels
	left, right, top, bottom     = 64.0, 150.0, 36.0, 48.0
	leastOfLog                   = 1e-3 // what a logarithmic axis shows 0 as
	ticksOfLinear                = 5
	lineWidth, dotRadius, dashes = 2.0, 2.5, "4 3"
)

func colours() []string { return []string{"#0b6e99", "#c4501b", "#4c8c2b", "#7a4ea3", "#8a6d1d"} }

// axis maps values to pixels.
type axis struct {
	low, high float64
	log       bool
	from, to  float64
}

func (a axis) at(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		v, low, high = math.Log10(max(v, low)), math.Log10(low), math.Log10(high)
	}
	return a.from + (v-low)/(high-low)*(a.to-a.from)
}

func (a axis) ticks() (all []float64) {
	if !a.log {
		for i := range ticksOfLinear + 1 {
			all = append(all, a.low+(a.high-a.low)*float64(i)/ticksOfLinear)
		}
		return all
	}
	for v := math.Pow(10, math.Floor(math.Log10(a.low))); v <= a.high*1.0001; v *= 10 {
		if v >= a.low*0.9999 {
			all = append(all, v)
		}
	}
	return all
}

// axes spans all points.
func (f Figure) axes() (x, y axis) {
	x = axis{log: f.LogX, low: math.Inf(1), high: math.Inf(-1), from: left, to: plotWidth - right}
	y = axis{log: f.LogY, low: 0, high: 1, from: plotHeight - bottom, to: top}
	if f.LogY {
		y.low, y.high = leastOfLog, leastOfLog*10
	}
	for _, l := range f.Lines {
		for _, p := range l.Points {
			x.low, x.high = min(x.low, p.X), max(x.high, p.X)
			y.high = max(y.high, p.Y)
		}
	}
	if f.LogY {
		y.high = math.Pow(10, math.Ceil(math.Log10(y.high)))
	}
	if f.LogX {
		x.low = math.Pow(10, math.Floor(math.Log10(x.low)+1e-9))
		x.high = math.Pow(10, math.Ceil(math.Log10(x.high)-0.01))
	}
	return x, y
}

// SVG draws the figure.
func (f Figure) SVG(w io.Writer) error {
	var b strings.Builder
	text := func(x, y float64, anchor, what string, more ...string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="%s" %s>%s</text>`+"\n", x, y, anchor, strings.Join(more, " "), escape(what))
	}
	line := func(x1, y1, x2, y2 float64, style string) {
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" %s/>`+"\n", x1, y1, x2, y2, style)
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" font-family="sans-serif" font-size="11">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%g" height="%g" fill="white"/>`+"\n", plotWidth, plotHeight)
	text(left, top-14, "start", f.Title, `font-size="14"`)
	x, y := f.axes()
	for _, v := range x.ticks() {
		line(x.at(v), y.from, x.at(v), y.to, `stroke="#ddd"`)
		text(x.at(v), y.from+16, "middle", fmt.Sprintf("%.4g", v))
	}
	for _, v := range y.ticks() {
		line(x.from, y.at(v), x.to, y.at(v), `stroke="#ddd"`)
		text(x.from-6, y.at(v)+4, "end", fmt.Sprintf("%.4g", v))
	}
	text((x.from+x.to)/2, plotHeight-10, "middle", f.XLabel)
	text(14, (y.from+y.to)/2, "middle", f.YLabel, fmt.Sprintf(`transform="rotate(-90 14 %.1f)"`, (y.from+y.to)/2))
	for i, l := range f.Lines {
		colour := colours()[i%len(colours())]
		var points []string
		for _, p := range l.Points {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x.at(p.X), y.at(p.Y)))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="%g" fill="%s"/>`+"\n", x.at(p.X), y.at(p.Y), dotRadius, colour)
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="%g"/>`+"\n", strings.Join(points, " "), colour, lineWidth)
		for _, m := range l.Marks {
			line(x.at(m), y.from, x.at(m), y.to, fmt.Sprintf(`stroke="%s" stroke-dasharray="%s"`, colour, dashes))
		}
		at := top + 10 + 18*float64(i)
		line(x.to+12, at-4, x.to+32, at-4, fmt.Sprintf(`stroke="%s" stroke-width="%g"`, colour, lineWidth))
		text(x.to+38, at, "start", l.Name)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// CSV writes every point.
func (f Figure) CSV(w io.Writer) error {
	out := csv.NewWriter(w)
	_ = out.Write([]string{"line", f.XLabel, f.YLabel}) // Error has it
	for _, l := range f.Lines {
		for _, p := range l.Points {
			_ = out.Write([]string{l.Name, fmt.Sprintf("%.6g", p.X), fmt.Sprintf("%.6g", p.Y)})
		}
	}
	out.Flush()
	return out.Error()
}
