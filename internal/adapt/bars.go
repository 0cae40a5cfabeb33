package adapt

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

const (
	// testFor is how long the star is tried for a comparison: the change, what is skipped, and the shortest judgement.
	testFor = 20 * time.Second
	// hintOver is how many intervals are taken together for a hint: nodes do not report at the same moment.
	hintOver = 2
)

// unproven judges a change before which there was too little traffic to compare: an application that has just started.
// If what little there was went clearly better, the star is tried on purpose.
func (j *Judge) unproven(now time.Time, tr *trial, c vttif.Course, last bool) (Verdict, bool) {
	since := firstStretch(cut(c, tr.made.Add(tr.skip()), now), c.Slot, tr.gap())
	after := sample(since, c.Slot, 0, 1) // a period found from before and after together may be neither's
	if !after.enough() {
		if !last {
			return Verdict{}, false
		}
		return Verdict{Outcome: NoVerdict, Reason: "there was too little traffic to compare", P: 1}, true
	}
	best := peak(tr.hint, c.Slot)
	has := peak(since, c.Slot)
	v := Verdict{Before: best, After: after.mean, P: 1}
	if has < suspicious*best && !tr.asked && !tr.doubted && !last {
		tr.doubted = true // it may be a pause: the next look says
		return Verdict{}, false
	}
	if has < suspicious*best && !tr.asked {
		tr.test = &test{began: now, rates: after}
		v.Outcome, v.Reason = Suspected, fmt.Sprintf("it had only begun before the change, and went up to %s then, to %s since: the star is tried again, to compare", rate(best), rate(has))
		for _, d := range tr.diverted {
			b := j.barOf(d)
			b.until, b.why = now.Add(testFor), "compared with the star"
		}
		return v, false
	}
	v.Outcome, v.Reason = Kept, fmt.Sprintf("not compared: it had only begun before the change; %s after it", rate(v.After))
	return v, true
}

// peak is the highest rate over hintOver intervals.
func peak(bytes []uint64, slot time.Duration) (best float64) {
	for i := hintOver; i <= len(bytes); i++ {
		sum := uint64(0)
		for _, b := range bytes[i-hintOver : i] {
			sum += b
		}
		best = max(best, float64(sum)/(hintOver*slot.Seconds()))
	}
	return best
}

// lookBack compares the star, tried again, with the direct ways.
func (j *Judge) lookBack(now time.Time, tr *trial, courses Courses) (Verdict, bool) {
	over := now.Sub(tr.test.began) >= testFor
	c, ok := courses(tr.group.VMs)
	if tr.test.made.IsZero() || !ok {
		if over || !ok {
			j.lift(tr)
			return Verdict{Outcome: NoVerdict, Reason: "the star could not be tried", P: 1}, true
		}
		return Verdict{}, false
	}
	from := tr.test.made.Add(tr.skip())
	if now.Sub(from) < Judging+late {
		return Verdict{}, false
	}
	star := sample(firstStretch(cut(c, from, now), c.Slot, tr.gap()), c.Slot, 0, 1)
	if !star.enough() && !over {
		return Verdict{}, false
	}
	if !star.enough() {
		j.lift(tr)
		return Verdict{Outcome: NoVerdict, Reason: "there was too little traffic to compare", P: 1}, true
	}
	v := Verdict{Before: star.mean, After: tr.test.rates.mean, P: RankSum(star.rates, tr.test.rates.rates)}
	if v.P < significant && v.After < (1-slower)*v.Before {
		v.Outcome = Reverted
		v.Reason = fmt.Sprintf("slower by %.0f %% than the star (%s there, %s direct, p = %.2g)", 100*(1-v.After/v.Before), rate(v.Before), rate(v.After), v.P)
		j.bar(now, tr, v.Reason)
		return v, true
	}
	v.Outcome, v.Reason = Kept, fmt.Sprintf("the star is no faster (%s there, %s direct, p = %.2g)", rate(v.Before), rate(v.After), v.P)
	j.lift(tr)
	return v, true
}

func mean(values []float64) (m float64) {
	for _, v := range values {
		m += v / float64(len(values))
	}
	return m
}

func (j *Judge) barOf(d Direct) *barState {
	b := j.bars[d]
	if b == nil {
		b = &barState{}
		j.bars[d] = b
	}
	return b
}

// bar keeps what did harm from being done again, and leaves the group as it is for as long as a judgement takes.
func (j *Judge) bar(now time.Time, tr *trial, why string) {
	for _, d := range tr.diverted {
		b := j.barOf(d)
		b.until, b.why = now.Add(min(firstBar<<min(b.count, 10), lastBar)), why
		b.count++
	}
	j.rests = append(j.rests, Rest{VMs: tr.group.VMs, Until: now.Add(EffectiveBound(tr.bound)), Why: "a change was just taken back"})
}

// lift ends the bars of a trial: what it did is good.
func (j *Judge) lift(tr *trial) {
	for _, d := range tr.diverted {
		delete(j.bars, d)
	}
}

// Bars are what may not be done now, in order of the pairs.
func (j *Judge) Bars(now time.Time) (list []Bar) {
	for d, b := range j.bars {
		if now.Before(b.until) {
			list = append(list, Bar{Pair: d.Pair, Ends: d.Ends, Until: b.until, Why: b.why, Count: b.count})
		}
	}
	slices.SortFunc(list, func(a, b Bar) int { return cmp.Or(a.Pair.Compare(b.Pair), a.Ends.compare(b.Ends)) })
	return list
}

// Rests are the groups that are left as they are.
func (j *Judge) Rests() []Rest { return slices.Clone(j.rests) }

// Restore takes the bars of an earlier judge.
func (j *Judge) Restore(bars []Bar) {
	for _, b := range bars {
		j.bars[Direct{b.Pair, b.Ends}] = &barState{until: b.Until, why: b.Why, count: b.Count}
	}
}
