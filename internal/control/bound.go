package control

import (
	"fmt"
	"slices"
	"time"
)

const (
	// boundSamples is how many changes the bound is made of: enough for a 95th percentile, few enough to follow the network.
	boundSamples = 50
	// boundFactor is the distance kept from the 95th percentile: one in twenty changes is slower than it.
	boundFactor = 2
	// boundDefault stands until the first change was timed: what the paper's set-up took to adapt (about 2 s).
	boundDefault = 2 * time.Second
)

// BoundOrigin says where the bound comes from.
type BoundOrigin string

// The origins of a bound.
const (
	BoundDefault  BoundOrigin = "default"
	BoundMeasured BoundOrigin = "measured"
	BoundUser     BoundOrigin = "user"
)

// BoundValue is the bound on configuration time with its reasons.
type BoundValue struct {
	Value   time.Duration
	Origin  BoundOrigin
	Samples int           // changes it is made of, at most 50
	Failed  int           // changes left out because they failed, since the start
	P95     time.Duration // of the samples; 0 when there is none
	Text    string        // all this in a sentence
}

// Bound is the upper bound on configuration time: 2 × the 95th percentile of the last 50 changes, or what the user says.
// The usable zero value has no samples. It belongs to the Proxy's control goroutine.
type Bound struct {
	samples []time.Duration // oldest first, at most boundSamples
	failed  int
	user    time.Duration // 0 = none
}

// Add takes a finished change: its time to commit counts if it is OK, otherwise it is only counted.
func (b *Bound) Add(r Result) {
	if !r.OK {
		b.failed++
		return
	}
	if len(b.samples) == boundSamples {
		b.samples = slices.Delete(b.samples, 0, 1)
	}
	b.samples = append(b.samples, r.Commit)
}

// Set makes the user's value win; 0 gives the word back to the measurement.
func (b *Bound) Set(user time.Duration) error {
	if user < 0 {
		return fmt.Errorf("cannot set the bound to %v: it is a time of 0 (measured) or more", user)
	}
	b.user = user
	return nil
}

// Samples are the configuration times the bound is made of, oldest first, for a restart of the Proxy.
func (b *Bound) Samples() []time.Duration { return slices.Clone(b.samples) }

// Restore sets what Samples and a user's value kept.
func (b *Bound) Restore(samples []time.Duration, user time.Duration) {
	b.samples = slices.Clone(samples[max(0, len(samples)-boundSamples):])
	b.user = max(0, user)
}

// Value is the bound now.
func (b *Bound) Value() BoundValue {
	v := BoundValue{Samples: len(b.samples), Failed: b.failed}
	if v.Samples > 0 {
		sorted := slices.Sorted(slices.Values(b.samples))
		v.P95 = sorted[(len(sorted)*95+99)/100-1] // nearest rank
	}
	measured := fmt.Sprintf("2 × p95 of %d changes (%v), %d failed left out", v.Samples, v.P95, v.Failed)
	switch {
	case b.user > 0:
		v.Value, v.Origin, v.Text = b.user, BoundUser, "set by the user; measured: "+measured
	case v.Samples > 0:
		v.Value, v.Origin, v.Text = boundFactor*v.P95, BoundMeasured, measured
	default:
		v.Value, v.Origin, v.Text = boundDefault, BoundDefault, fmt.Sprintf("default; no change was timed yet, %d failed", v.Failed)
	}
	return v
}
