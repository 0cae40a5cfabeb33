// Package figures repeats the seed's experiments with the inference itself, Figures 6 and 7, in virtual time.
//
// It builds no lab and sends no frame: reports of made-up traffic go straight into an inferrer.
package figures

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

// Point is one measurement of a line.
type Point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// Line is one setting of the inference.
type Line struct {
	Name   string    `json:"name"`
	Points []Point   `json:"points"`
	Marks  []float64 `json:"marks,omitempty"` // on the x axis: where theory puts the knee
}

// Figure is what an experiment came to.
type Figure struct {
	Name   string   `json:"name"`
	Title  string   `json:"title"`
	XLabel string   `json:"x"`
	YLabel string   `json:"y"`
	LogX   bool     `json:"log_x"`
	LogY   bool     `json:"log_y"`
	Lines  []Line   `json:"lines"`
	Notes  []string `json:"notes"`
}

const (
	// ranks is how many VMs the application has, as in the paper's larger runs.
	ranks = 8
	// rate in bytes/s of each edge, each way.
	rate = 1e6
	// spread is the standard deviation of the logarithm of what an edge carries between two reports.
	spread = 0.2
)

// cluster is VMs whose nodes report to an inferrer.
type cluster struct {
	in    *vttif.Inferrer
	every time.Duration
	dice  *rand.Rand
	now   time.Time
	seq   uint64
	vms   []ether.MAC
	top   vttif.Topology
}

func newCluster(c vttif.Config, n int, seed uint64) *cluster {
	w := &cluster{in: vttif.NewInferrer(c), every: c.Interval(), dice: rand.New(rand.NewPCG(seed, 6)), now: time.Unix(1e9, 0)}
	for _, i := range w.dice.Perm(n) {
		w.vms = append(w.vms, ether.MAC{2, 0, 0, 0, 0, byte(i + 1)})
	}
	return w
}

// interval is what happens between two reports: traffic along the edges, and chatter. It tells whether a topology was published.
func (w *cluster) interval(edges []workload.Edge, chatter bool) bool {
	w.now = w.now.Add(w.every)
	w.seq++
	seconds := w.every.Seconds()
	r := vttif.Report{Node: "all", Boot: 1, Seq: w.seq}
	send := func(a, b int, bytes float64) {
		n := uint64(bytes)
		r.Deltas = append(r.Deltas, vttif.Delta{
			Pair: vttif.Pair{Src: w.vms[a], Dst: w.vms[b]}, Tally: vttif.Tally{OfferedBytes: n, OfferedFrames: n/1500 + 1},
		})
	}
	for _, e := range edges {
		send(e.A, e.B, rate*seconds*math.Exp(spread*w.dice.NormFloat64()))
		send(e.B, e.A, rate*seconds*math.Exp(spread*w.dice.NormFloat64()))
	}
	if chatter {
		for range 2 {
			a := w.dice.IntN(len(w.vms))
			send(a, (a+1+w.dice.IntN(len(w.vms)-1))%len(w.vms), 200)
		}
	}
	w.in.Add(w.now, r)
	top, changed := w.in.Step(w.now)
	w.top = top
	return changed
}

// is tells whether the published topology has exactly these edges.
func (w *cluster) is(edges []workload.Edge) bool {
	if len(w.top.Edges) != len(edges) {
		return false
	}
	want := map[vttif.Pair]bool{}
	for _, e := range edges {
		a, b := w.vms[e.A], w.vms[e.B]
		if a.Compare(b) > 0 {
			a, b = b, a
		}
		want[vttif.Pair{Src: a, Dst: b}] = true
	}
	return !slices.ContainsFunc(w.top.Edges, func(e vttif.Edge) bool { return !want[vttif.Pair{Src: e.A, Dst: e.B}] })
}

func edgesOf(pattern string, n int, seed uint64) []workload.Edge {
	s, err := workload.New(pattern, n, workload.Options{Seed: seed})
	if err != nil {
		panic(fmt.Sprintf("figures: %v", err)) // the caller asked whether it exists
	}
	return s.Edges()
}

// Damping is Figure 6: the application alternates between two topologies, ever faster; how often does the inference say that
// it has changed from one to the other?
func Damping(seedMode, quick bool) Figure {
	f := Figure{
		Name: "fig6", Title: "Figure 6: VTTIF is well damped", LogX: true, LogY: true,
		XLabel: "true topology changes per second", YLabel: "reported changes per second",
	}
	settings := []struct {
		name   string
		config vttif.Config
		knee   float64 // changes/s
	}{{"defaults", vttif.Config{}, 0.05}} // edges stay 10 s, and 20 s once they left too early
	if seedMode {
		f.Name, f.Title = "fig6-seed", f.Title+" (seed mode)"
		settings = settings[:0]
		for _, s := range []struct {
			window time.Duration
			rate   float64
		}{{time.Second, 20}, {2 * time.Second, 20}, {5 * time.Second, 20}, {time.Second, 2}} {
			c := vttif.Seed(s.window, vttif.DefaultHigh)
			c.UpdateRate = s.rate
			// A topology is told from the one before when its turn fills all of the window but the threshold's share, and when
			// it is sampled twice (Nyquist).
			turn := max((1-vttif.DefaultHigh)*s.window.Seconds(), 2/s.rate)
			settings = append(settings, struct {
				name   string
				config vttif.Config
				knee   float64
			}{fmt.Sprintf("window %v, %g Hz", s.window, s.rate), c, 1 / turn})
		}
	} else {
		f.Title += " (defaults)"
	}
	steps, least := 28, 12.0
	if quick {
		steps, least = 6, 6
	}
	a, b := edgesOf("ring", ranks, 1), edgesOf("broadcast", ranks, 1)
	for _, s := range settings {
		line := Line{Name: s.name, Marks: []float64{s.knee}}
		best, at := 0.0, 0.0
		for i := range steps {
			change := 0.02 * math.Pow(10, 2.7*float64(i)/float64(steps-1)) // 0.02 to 10 changes/s
			p := Point{change, alternate(s.config, a, b, change, least)}
			if p.Y > best {
				best, at = p.Y, p.X
			}
			line.Points = append(line.Points, p)
		}
		f.Lines = append(f.Lines, line)
		last := line.Points[len(line.Points)-1]
		f.Notes = append(f.Notes, fmt.Sprintf("%s: most reported %.3g/s, at %.3g true changes/s (expected near %.3g); %.3g/s at %.3g", s.name, best, at, s.knee, last.Y, last.X))
	}
	return f
}

// alternate counts how often one of two topologies is reported after the other, a second.
func alternate(c vttif.Config, a, b []workload.Edge, change, turns float64) float64 {
	w := newCluster(c, ranks, 1)
	turn := 1 / change
	length := max(turns*turn, 60)
	reports, last := 0, 0
	for t := 0.0; t < length; t += w.every.Seconds() {
		edges := a
		if int(t/turn)%2 == 1 {
			edges = b
		}
		if !w.interval(edges, false) {
			continue
		}
		now := 0
		switch {
		case w.is(a):
			now = 1
		case w.is(b):
			now = 2
		}
		if now != 0 && now != last {
			if last != 0 {
				reports++
			}
			last = now
		}
	}
	return float64(reports) / length
}

// Threshold is Figure 7: how many of all patterns are recovered exactly, by the detection threshold.
func Threshold(seedMode, quick bool) Figure {
	f := Figure{
		Name: "fig7", Title: "Figure 7: the detection threshold hardly matters (defaults but for it)", LogX: true,
		XLabel: "detection threshold", YLabel: "patterns recovered exactly, share",
	}
	if seedMode {
		f.Name, f.Title = "fig7-seed", "Figure 7: the detection threshold hardly matters (seed mode)"
	}
	runs := 10
	if quick {
		runs = 2
	}
	for _, n := range []int{4, 8, 16} {
		line := Line{Name: fmt.Sprintf("%d VMs", n)}
		low, high := 0.0, 0.0
		for i := range 25 {
			threshold := 0.0005 * math.Pow(10, 3.3*float64(i)/24) // to 1
			share := recovered(seedMode, threshold, n, runs)
			line.Points = append(line.Points, Point{threshold, share})
			if share == 1 {
				if low == 0 {
					low = threshold
				}
				high = threshold
			}
		}
		f.Lines = append(f.Lines, line)
		f.Notes = append(f.Notes, fmt.Sprintf("%d VMs: every pattern exact for thresholds from %.3g to %.3g", n, low, high))
	}
	return f
}

// recovered is the share of runs of all patterns in which the topology is exact after five seconds.
func recovered(seedMode bool, threshold float64, n, runs int) float64 {
	all, exact := 0, 0
	for _, pattern := range workload.Names() {
		if !workload.Fits(pattern, n) {
			continue
		}
		for run := range runs {
			c := vttif.Config{High: threshold, Low: threshold * vttif.DefaultLow / vttif.DefaultHigh}
			if seedMode {
				c = vttif.Seed(time.Second, threshold)
			}
			w := newCluster(c, n, uint64(run)+1)
			edges := edgesOf(pattern, n, uint64(run)+1)
			for range int(5 * time.Second / w.every) {
				w.interval(edges, true)
			}
			if all++; w.is(edges) {
				exact++
			}
		}
	}
	return float64(exact) / float64(all)
}
