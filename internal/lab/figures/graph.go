package figures

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// Graph is an application topology to be drawn: VMs in a circle, edges as thick as they are strong.
type Graph struct {
	Title string
	VMs   []string
	Edges []GraphEdge
}

// GraphEdge joins two of the VMs, by index.
type GraphEdge struct {
	A, B   int
	Weight float64 // 0..1
	Label  string
}

const (
	graphSize   = 420.0 // pixels
	graphRadius = 140.0
	vmRadius    = 24.0
	thickest    = 9.0
)

// SVG draws the graph.
func (g Graph) SVG(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" font-family="sans-serif" font-size="12">`+"\n", graphSize, graphSize)
	fmt.Fprintf(&b, `<rect width="%g" height="%g" fill="white"/>`+"\n", graphSize, graphSize)
	fmt.Fprintf(&b, `<text x="%g" y="20" text-anchor="middle" font-size="14">%s</text>`+"\n", graphSize/2, escape(g.Title))
	at := func(i int) (x, y float64) {
		angle := 2*math.Pi*float64(i)/float64(len(g.VMs)) - math.Pi/2
		return graphSize/2 + graphRadius*math.Cos(angle), graphSize/2 + 10 + graphRadius*math.Sin(angle)
	}
	for _, e := range g.Edges {
		x1, y1 := at(e.A)
		x2, y2 := at(e.B)
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%.1f"/>`+"\n", x1, y1, x2, y2, colours()[0], 1+(thickest-1)*e.Weight)
	}
	for _, e := range g.Edges { // a third of the way, where labels of crossing edges keep apart
		x1, y1 := at(e.A)
		x2, y2 := at(e.B)
		x, y := x1+(x2-x1)*0.36, y1+(y2-y1)*0.36
		fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="34" height="16" rx="3" fill="white" stroke="#999"/>`+"\n", x-17, y-8)
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", x, y+4, escape(e.Label))
	}
	for i, name := range g.VMs {
		x, y := at(i)
		fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="%g" fill="#f4e3b2" stroke="black"/>`+"\n", x, y, vmRadius)
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", x, y+4, escape(name))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}
