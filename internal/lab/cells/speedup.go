package cells

import (
	"context"
	"fmt"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/trials"
)

const (
	// AutoSpan is a minute's work: the job is what the adapted overlay does in it, from the first byte, inference and all.
	AutoSpan = time.Minute
	// StarSpan is for how long the same job is followed on the star; the rest of it is reckoned from its second half.
	StarSpan = 40 * time.Second
)

// Speedup is the running time of one job on the star to that with adaptation.
type Speedup struct {
	Setting string  `json:"setting"`
	Seed    uint64  `json:"seed"`
	Bytes   int64   `json:"bytes"` // of a message
	Bound   float64 `json:"bound"` // by arithmetic
	Star    Run     `json:"star"`
	Auto    Run     `json:"auto"`
	lab.Account
}

// Total is the same job's running time on the star, by that with adaptation.
func (s Speedup) Total() float64 {
	return s.Star.Seconds(s.Auto.Iterations) / s.Auto.Seconds(s.Auto.Iterations)
}

// Bound of an all-to-all of n VMs on equal wires: n(n-1) messages through the Proxy's wire, n-1 through each host's.
func Bound(n int) float64 { return float64(n) }

// Measure runs an all-to-all in a lab, on the star and then with adaptation, in messages of so many bytes.
func Measure(ctx context.Context, place string, bytes int64, star, auto time.Duration, seed uint64) (out Speedup, err error) {
	s, err := SettingNamed(place+"/alltoall", seed)
	if err != nil {
		return out, err
	}
	s.Environment.Bytes = bytes
	out = Speedup{Setting: s.String(), Seed: seed, Bytes: bytes, Bound: Bound(s.VMs)}
	b, end, err := open(ctx, s)
	if err != nil {
		return out, err
	}
	defer end()
	if out.Star, err = b.run(ctx, "star", star); err != nil {
		return out, fmt.Errorf("%s on the star: %w", s, err)
	}
	if out.Auto, err = b.run(ctx, "fastpath", auto); err != nil {
		return out, fmt.Errorf("%s with adaptation: %w", s, err)
	}
	out.Account, err = b.daemons.Account(ctx)
	return out, err
}

// SpeedupHead names the columns of Row.
func SpeedupHead() []string {
	return []string{
		"cell", "bytes a message", "seed", "iterations", "on the star, s", "adapted, s", "speed-up", "bound", "of the bound", "links", "frames lost", "duplicates",
	}
}

// Row is its line of the table.
func (s Speedup) Row() []string {
	n := s.Auto.Iterations
	return []string{
		s.Setting, fmt.Sprint(s.Bytes), fmt.Sprint(s.Seed), fmt.Sprint(n), fmt.Sprintf("%.1f", s.Star.Seconds(n)), fmt.Sprintf("%.1f", s.Auto.Seconds(n)),
		fmt.Sprintf("%.2f", s.Total()), fmt.Sprintf("%.0f", s.Bound), fmt.Sprintf("%.2f", s.Total()/s.Bound), fmt.Sprint(s.Auto.Links),
		fmt.Sprint(s.FramesLost), fmt.Sprint(s.Duplicates),
	}
}

// open builds the lab of a setting, with its overlay.
func open(ctx context.Context, s trials.Setting) (b bench, end func(), err error) {
	spec, err := s.Environment.Spec(s.VMs)
	if err != nil {
		return b, nil, err
	}
	l, err := lab.Start(ctx, spec, lab.Options{})
	if err != nil {
		return b, nil, err
	}
	d, err := l.StartOverlay(ctx)
	if err != nil {
		l.Close()
		return b, nil, err
	}
	return bench{Setting: s, lab: l, daemons: d}, func() { l.Close() }, nil
}
