package control

import (
	"math/rand/v2"
	"time"
)

const (
	// starFirst: a star link is tried again within this time, so that it is back within 1 s; spread by dice because all
	// hosts lose the Proxy at once.
	starFirst = 200 * time.Millisecond
	// starCap is the longest wait for the Proxy: a host is back at most this long after it.
	starCap = 10 * time.Second
	// fastFirst: a fast path that died is not missed (the star carries its frames), so it is left alone this long.
	fastFirst = 5 * time.Second
	// fastCap is the longest wait for a fast path: long enough to cost nothing, short enough to find a healed path.
	fastCap = 5 * time.Minute
)

// Backoff says when to try a link again. It belongs to the goroutine that dials the link.
type Backoff struct {
	star  bool
	delay time.Duration // the wait chosen last, without jitter; 0 = none yet
	up    time.Time     // zero while the link is down
}

// StarBackoff is for a link to the Proxy: within 200 ms at first, doubling, at most 10 s, jitter downwards.
func StarBackoff() *Backoff { return &Backoff{star: true} }

// FastBackoff is for a fast path: no sooner than 5 s, doubling, at most 5 min, jitter upwards but not above that.
func FastBackoff() *Backoff { return &Backoff{} }

// Up notes that the link stands.
func (b *Backoff) Up(now time.Time) { b.up = now }

// Down says when to try (again): after a link was lost, or an attempt failed. A link that stood longer than the wait before
// it starts afresh; one that flaps goes on doubling.
func (b *Backoff) Down(now time.Time, dice *rand.Rand) time.Time {
	if !b.up.IsZero() && now.Sub(b.up) > b.delay {
		b.delay = 0
	}
	b.up = time.Time{}
	first, cap := fastFirst, fastCap
	if b.star {
		first, cap = starFirst, starCap
	}
	fresh := b.delay == 0
	if b.delay = min(2*b.delay, cap); fresh {
		b.delay = first
	}
	jitter := time.Duration(dice.Float64() * float64(b.delay))
	switch {
	case b.star && fresh:
		return now.Add(jitter)
	case b.star:
		return now.Add(b.delay - jitter/2)
	}
	return now.Add(min(b.delay+jitter/4, cap))
}
