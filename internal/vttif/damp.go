package vttif

import (
	"slices"
	"time"
)

// add publishes the candidates, all at once: when they have stood still for Settle, so that an application that starts
// appears as one topology and not edge by edge, and otherwise before AddAfter is over.
func (in *Inferrer) add(at time.Duration) bool {
	if len(in.candidates) == 0 {
		return false
	}
	oldest := at
	for _, f := range in.candidates {
		oldest = min(oldest, f.entered)
	}
	// What entered in this Step may have started two intervals ago: one until its node's report, one until the Step.
	latest := in.cfg.AddAfter - 2*in.slot
	if at-in.candidatesNew < in.cfg.Settle && at-oldest < latest {
		return false
	}
	for _, f := range in.candidates {
		f.candidate, f.published, f.used = false, true, true
		f.unused, f.active = 0, at
		f.rate, f.peak = max(f.fast, f.slow), f.slow // the window is not full yet of what has just started
	}
	in.published = append(in.published, in.candidates...)
	in.candidates = in.candidates[:0]
	slices.SortFunc(in.published, func(f, g *flow) int { return f.pair.Compare(g.pair) })
	return true
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
		f.published, f.used, f.peak, f.rate, f.period = false, false, 0, 0, 0
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
	return max(in.removeAfter, keepPeriods*f.period)
}
