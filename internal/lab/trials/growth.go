package trials

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/simulate"
)

// Frame is the overlay and what it knows at one moment.
type Frame struct {
	AtS        float64     `json:"at_s"`   // since the application began
	Matrix     [][]float64 `json:"matrix"` // bit/s offered from VM i to VM j
	Links      [][2]int    `json:"links"`  // fast paths, as hosts, from 0
	Topology   string      `json:"topology"`
	Iterations int         `json:"iterations"`
}

// Figure8 is a ring of four in one run: nothing, then traffic, then the inferred ring, then one fast path more every second.
func Figure8(o Options) (Report, error) {
	e, err := EnvironmentNamed("cluster")
	if err != nil {
		return Report{}, err
	}
	s := Setting{Environment: e, VMs: 4, Pattern: "ring", Seed: o.Seed}
	r := Report{
		Name: "fig8", Title: "a ring of four VMs: its matrix, and the overlay that grows into it", Seed: o.Seed,
		Head:  []string{"at, s", "inferred", "fast paths", "iterations"},
		Notes: []string{"The limit on fast paths is raised by one each second, so that the growth can be seen; without one all come in one change."},
	}
	frames, account, err := s.grow()
	if err != nil {
		return r, err
	}
	for _, f := range frames {
		var links []string
		for _, l := range f.Links {
			links = append(links, fmt.Sprintf("host%d–host%d", l[0]+1, l[1]+1))
		}
		r.Rows = append(r.Rows, []string{fmt.Sprintf("%.2f", f.AtS), f.Topology, strings.Join(links, " "), fmt.Sprint(f.Iterations)})
	}
	r.Account, r.Data = account, frames
	r.Pictures = map[string]func(io.Writer) error{"fig8.svg": func(w io.Writer) error { return drawFrames(w, r.Title, frames) }}
	return r, nil
}

func (s Setting) grow() (frames []Frame, account simulate.Account, err error) {
	spec, err := s.Environment.Spec(s.VMs)
	if err != nil {
		return nil, account, err
	}
	schedule, err := s.Schedule()
	if err != nil {
		return nil, account, err
	}
	config := simulate.Config{Seed: s.Seed, Adapt: adapt.Config{Mode: adapt.Observe, MaxChanges: -1, Unchecked: true}}
	err = simulate.Run(spec, config, func(w *simulate.World) error {
		app := w.Start(s.Order(), 0, 0, schedule)
		began := w.Now()
		var macs []ether.MAC
		for _, vm := range spec.VMs {
			macs = append(macs, vm.MAC)
		}
		take := func(after time.Duration) error {
			if err := w.Pass(after, nil); err != nil {
				return err
			}
			f, err := frame(w, macs)
			f.AtS, f.Iterations = w.Now().Sub(began).Seconds(), app.Iterations()
			frames = append(frames, f)
			return err
		}
		if err := take(50 * time.Millisecond); err != nil {
			return err
		}
		if err := take(450 * time.Millisecond); err != nil {
			return err
		}
		for k := 1; k <= len(schedule.Edges()); k++ {
			if err := allow(w, k); err != nil {
				return err
			}
			if err := take(time.Second); err != nil {
				return err
			}
		}
		account, err = w.Account()
		return err
	})
	return frames, account, err
}

// frame asks the Proxy what it sees and has done.
func frame(w *simulate.World, macs []ether.MAC) (f Frame, err error) {
	ctx := context.Background()
	f.Matrix = make([][]float64, len(macs))
	for i := range macs {
		f.Matrix[i] = make([]float64, len(macs))
	}
	traffic, err := w.Service().GetTraffic(ctx, &vnetv1.GetTrafficRequest{})
	if err != nil {
		return f, err
	}
	index := func(text string) int {
		return slices.IndexFunc(macs, func(m ether.MAC) bool { return m.String() == text })
	}
	for _, e := range traffic.Entries {
		if i, j := index(e.SrcMac), index(e.DstMac); i >= 0 && j >= 0 {
			f.Matrix[i][j] = e.OfferedBps
		}
	}
	app, err := w.Service().GetApp(ctx, &vnetv1.GetAppRequest{})
	if err != nil {
		return f, err
	}
	for _, g := range app.App.Groups {
		f.Topology = fmt.Sprintf("%s, %d edges", g.Name, len(g.Edges))
	}
	ad, err := w.Service().GetAdaptation(ctx, &vnetv1.GetAdaptationRequest{})
	if err != nil {
		return f, err
	}
	for _, l := range ad.Adaptation.Links {
		var a, b int
		if _, err := fmt.Sscanf(l.A+" "+l.B, "host%d host%d", &a, &b); err != nil {
			return f, fmt.Errorf("a fast path joins %s and %s, which are none of the scenario's hosts", l.A, l.B)
		}
		f.Links = append(f.Links, [2]int{a - 1, b - 1})
	}
	return f, nil
}

const (
	panel  = 210.0 // pixels, of one moment
	cell   = 26.0
	circle = 62.0
)

// drawFrames draws a moment a column: the matrix above, the overlay below (dotted: the star, dark: fast paths).
func drawFrames(out io.Writer, title string, frames []Frame) error {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="420" font-family="sans-serif" font-size="11">`+"\n", panel*float64(len(frames)))
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="12" y="20" font-size="14">Figure 8: %s</text>`+"\n", title)
	most := 1.0
	for _, f := range frames {
		for _, row := range f.Matrix {
			most = max(most, slices.Max(row))
		}
	}
	for n, f := range frames {
		drawFrame(&b, f, panel*float64(n), most)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(out, b.String())
	return err
}

func drawFrame(b *strings.Builder, f Frame, x, most float64) {
	n := len(f.Matrix)
	fmt.Fprintf(b, `<text x="%.0f" y="44">%.2f s, iteration %d</text><text x="%.0f" y="60" fill="#555">%s</text>`+"\n", x+20, f.AtS, f.Iterations, x+20, f.Topology)
	for i, row := range f.Matrix {
		for j, v := range row {
			fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%g" height="%g" stroke="#bbb" fill="#0b6e99" fill-opacity="%.2f"/>`+"\n",
				x+36+cell*float64(j), 74+cell*float64(i), cell, cell, v/most)
		}
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="end">vm%d</text>`+"\n", x+32, 74+cell*(float64(i)+0.65), i+1)
	}
	cx, cy := x+panel/2, 300.0
	at := func(i int) (float64, float64) {
		angle := 2*math.Pi*float64(i)/float64(n) - math.Pi/4
		return cx + circle*math.Cos(angle), cy + circle*math.Sin(angle)
	}
	line := func(x1, y1, x2, y2 float64, style string) {
		fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" %s/>`+"\n", x1, y1, x2, y2, style)
	}
	for i := range n {
		hx, hy := at(i)
		line(cx, cy, hx, hy, `stroke="#888" stroke-dasharray="3 4"`)
	}
	for _, l := range f.Links {
		x1, y1 := at(l[0])
		x2, y2 := at(l[1])
		line(x1, y1, x2, y2, `stroke="#222" stroke-width="3"`)
	}
	node := func(x, y float64, fill, name string) {
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="19" fill="%s" stroke="black"/><text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", x, y, fill, x, y+4, name)
	}
	node(cx, cy, "#d9e8d0", "Proxy")
	for i := range n {
		hx, hy := at(i)
		node(hx, hy, "#f4e3b2", fmt.Sprintf("host%d", i+1))
	}
}
