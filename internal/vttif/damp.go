package vttif

import (
	"slices"
	"time"
)

// add publishes the candidates, all at once: when they have stood still for Settle, so that an application that starts
// appears as one topology and not edge by edge, and otherwise before AddAfter is over.
func (in *Inferrer) add(at time.Duration, now time.Time) bool {
	oldest, ripe := at, 0
	for _, f := range in.candidates {
		if in.ripe(at, f) {
			oldest = min(oldest, f.entered)
			ripe++
		}
	}
	if ripe == 0 {
		return false
	}
	// What entered in this Step may have started two intervals ago: one until its node's report, one until the Step.
	latest := in.cfg.AddAfter - 2*in.slot
	if at-in.candidatesNew < in.cfg.Settle && at-oldest < latest {
		return false
	}
	wait := in.candidates[:0]
	for _, f := range in.candidates {
		if !in.ripe(at, f) {
			wait = append(wait, f)
			continue
		}
		if in.missed(at, f) {
			in.patient(f)
		} else {
			f.stay = 0
		}
		f.candidate, f.published, f.used = false, true, true
		f.unused, f.active, f.since = 0, at, now
		f.rate, f.peak = max(f.fast, f.slow), f.slow // the window is not full yet of what has just started
		in.published = append(in.published, f)
	}
	in.candidates = wait
	slices.SortFunc(in.published, func(f, g *flow) int { return f.pair.Compare(g.pair) })
	return true
}

const (
	// patience is how long traffic must last that is weak beside what its VMs exchange or lately exchanged: longer than the
	// burst of a monitor's poll stays in the window, shorter than the phase of an application that does so little.
	patience = 2500 * time.Millisecond
	// brisk in bytes/s is what needs no patience if it is strong enough to enter at all: more than a poll moves.
	brisk = 64 << 10
	// equal is the share of the strongest beside it from which traffic needs none either, however little that is.
	equal = 0.5
)

// ripe tells whether a candidate may be published: at once when it is like what its VMs do anyway, or when they do nothing
// else; after some patience when it could be chatter in a pause.
func (in *Inferrer) ripe(at time.Duration, f *flow) bool {
	if in.cfg.Global || at-f.entered >= patience {
		return true
	}
	if max(f.slow, f.fast) < DefaultHigh*max(f.a.fast, f.b.fast) {
		return false // what started now outshines it: the last second's average does not know yet
	}
	beside, rate := max(f.a.peak, f.b.peak), f.slow
	switch { // the average over so short a time makes too much of one burst
	case f.even:
		rate = max(rate, f.fast)
	case f.fast < equal*max(f.a.even, f.b.even):
		return false
	}
	return rate >= equal*beside || f.slow >= brisk && f.slow >= DefaultHigh*beside
}

// remove unpublishes edges that have not been used for RemoveAfter, and groups that are over. It waits a little for edges
// that are about to be due, so that a topology that is left behind leaves at once.
func (in *Inferrer) remove(at time.Duration) bool {
	over := func(f *flow) bool { return at-f.active >= in.cfg.GroupOver }
	due := func(f *flow) bool { return !f.used && f.unused >= in.stays(f) }
	some, soon, late := false, false, false
	for _, f := range in.published {
		switch {
		case over(f):
			some, late = true, true
		case due(f):
			some = true
			late = late || f.unused >= in.stays(f)+in.cfg.AddAfter
		case !f.used && f.unused >= in.stays(f)-in.cfg.Settle:
			soon = true
		}
	}
	if !some || soon && !late {
		return false
	}
	in.published = slices.DeleteFunc(in.published, func(f *flow) bool {
		if !over(f) && !due(f) {
			return false
		}
		if !over(f) {
			f.left = at
		}
		f.published, f.used, f.peak, f.rate, f.period = false, false, 0, 0, 0
		in.quiet(f)
		return true
	})
	return true
}

// stays is how long an edge is kept that is not used while its group is active: the smoothing follows the bound and the
// application's period.
func (in *Inferrer) stays(f *flow) time.Duration {
	if in.cfg.Global || in.removeAfter == 0 {
		return in.removeAfter
	}
	return max(in.removeAfter, keepPeriods*f.period, f.stay)
}

// mostPatience is how many times RemoveAfter edges stay at the most, however often they left too early.
const mostPatience = 4

// missed tells whether an edge left so lately that, if it came back now, its leaving was a mistake.
func (in *Inferrer) missed(at time.Duration, f *flow) bool {
	return f.left > 0 && at-f.left < in.removeAfter
}

// patient keeps the edges of a group twice as long, after one has come back as soon as it had left: an application that
// alternates a little slower than edges stay would otherwise have each change taken back at once.
func (in *Inferrer) patient(back *flow) {
	stay := min(2*in.stays(back), mostPatience*in.removeAfter)
	back.stay = stay
	for _, f := range in.published {
		if f.home() == back.home() {
			f.stay = max(f.stay, stay)
		}
	}
}
