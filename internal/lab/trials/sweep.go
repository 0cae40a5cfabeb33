package trials

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/simulate"
)

// Step is how fast the application is with so many fast paths.
type Step struct {
	K          int     `json:"k"`
	IterationS float64 `json:"iteration_s"`
}

// Sweep is one application with 0, 1, 2 … fast paths, the strongest first, as in Figures 11 to 13.
type Sweep struct {
	Setting  string  `json:"setting"`
	Seed     uint64  `json:"seed"`
	Steps    []Step  `json:"steps"`
	Spearman float64 `json:"spearman"` // of the running time against k
	simulate.Account
}

// Gain is how many times faster the application is with all fast paths than with none.
func (s Sweep) Gain() float64 { return s.Steps[0].IterationS / s.Steps[len(s.Steps)-1].IterationS }

// Sweep measures an iteration at every k from none to as many as the pattern has edges, in one run: the application goes on
// while the limit is raised. `every` leaves out all but each so-manieth k, the last one apart.
func (s Setting) Sweep(every int) (Sweep, error) {
	out := Sweep{Setting: s.String(), Seed: s.Seed}
	spec, err := s.Environment.Spec(s.VMs)
	if err != nil {
		return out, err
	}
	schedule, err := s.Schedule()
	if err != nil {
		return out, err
	}
	config := simulate.Config{Seed: s.Seed, Adapt: adapt.Config{Mode: adapt.Observe, Unchecked: true, MaxChanges: -1}}
	err = simulate.Run(spec, config, func(w *simulate.World) error {
		app := w.Start(s.Order(), 0, 0, schedule)
		n := len(schedule.Edges())
		for k := 0; k <= n; k = min(k+every, max(k+1, n)) {
			if err := allow(w, k); err != nil {
				return err
			}
			t, err := steady(w, app)
			if err != nil {
				return err
			}
			out.Steps = append(out.Steps, Step{k, t})
		}
		var err error
		out.Account, err = w.Account()
		return err
	})
	if err != nil {
		return out, fmt.Errorf("%s: %w", s, err)
	}
	out.Spearman = spearman(out.Steps)
	return out, nil
}

// allow lets adaptation have k links, and waits until it has them.
func allow(w *simulate.World, k int) error {
	if k == 0 {
		return nil // it observes
	}
	links := uint32(k)
	_, err := w.Service().SetAdaptation(context.Background(), &vnetv1.SetAdaptationRequest{
		Mode: vnetv1.AdaptationMode_ADAPTATION_MODE_AUTO, MaxLinks: &links,
	})
	if err != nil {
		return err
	}
	next := w.Now()
	return w.Await(fmt.Sprintf("%d fast paths", k), func() bool {
		if w.Now().Before(next) {
			return false
		}
		next = w.Now().Add(50 * time.Millisecond)
		ad, err := w.Service().GetAdaptation(context.Background(), &vnetv1.GetAdaptationRequest{})
		return err == nil && len(ad.Adaptation.Links) == k
	})
}

// spearman is the rank correlation of k and time, ties counted at their middle.
func spearman(steps []Step) float64 {
	x, y := make([]float64, len(steps)), make([]float64, len(steps))
	for i, s := range steps {
		x[i], y[i] = float64(s.K), math.Round(s.IterationS*1e5) // what differs less is the same
	}
	return correlation(ranks(x), ranks(y))
}

func ranks(values []float64) []float64 {
	sorted := slices.Sorted(slices.Values(values))
	out := make([]float64, len(values))
	for i, v := range values {
		first, _ := slices.BinarySearch(sorted, v)
		last := first
		for last < len(sorted) && sorted[last] == v {
			last++
		}
		out[i] = float64(first+last-1) / 2
	}
	return out
}

func correlation(x, y []float64) float64 {
	mx, my := mean(x), mean(y)
	var xy, xx, yy float64
	for i := range x {
		xy += (x[i] - mx) * (y[i] - my)
		xx += (x[i] - mx) * (x[i] - mx)
		yy += (y[i] - my) * (y[i] - my)
	}
	if xx == 0 || yy == 0 {
		return 0
	}
	return xy / math.Sqrt(xx*yy)
}

func mean(values []float64) (m float64) {
	for _, v := range values {
		m += v / float64(len(values))
	}
	return m
}
