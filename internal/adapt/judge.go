package adapt

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

const (
	// skipPeriods after a change do not count: transport has to find its rate again, and an iteration was cut in two.
	skipPeriods = 2
	// judgeWithin is how long an effect is looked for, after what is skipped.
	judgeWithin = 30 * time.Second
	// late is what the reports of the last interval may take.
	late = 300 * time.Millisecond
	// slower: what takes at least this share of the rate away is taken back; what changes less is no difference.
	slower = 0.05
	// significant is the p below which a difference is believed.
	significant = 0.01
	// worthwhile is the share of a group's bytes that a change must take off the Proxy to be kept if it makes nothing faster.
	worthwhile = 0.10
	// suspicious: with too little traffic before the change to compare, this share of that little makes a comparison with
	// the star worth its cost.
	suspicious = 0.7
	// firstBar is how long a change that was taken back is not made again; doubled each time, up to lastBar, until one is
	// kept or barForgotten has passed.
	firstBar     = time.Minute
	lastBar      = time.Hour
	barForgotten = time.Hour
)

// Outcome is what became of a change, for one group.
type Outcome string

// The outcomes.
const (
	Kept      Outcome = "kept"
	Reverted  Outcome = "reverted"
	Suspected Outcome = "suspected"  // taken back for a moment, to compare with the star
	NoVerdict Outcome = "no verdict" // it stays, because nothing can be said
)

// Verdict is what the judge found.
type Verdict struct {
	Proposal uint64
	Group    string      // "ring of 4"
	VMs      []ether.MAC // sorted
	Outcome  Outcome
	Reason   string  // one line
	Before   float64 // bytes/s delivered before the change, 0 if unknown
	After    float64 // and after it
	P        float64 // of Mann and Whitney; 1 when not compared
	Diverted []Direct
}

// Faster tells whether the change is known to have made the group faster.
func (v Verdict) Faster() bool {
	return v.Outcome == Kept && v.P < significant && v.Before > 0 && v.After > v.Before
}

// Judge finds out whether changes helped the groups they were made for. The whole change is judged, not link by link: in a
// bulk-synchronous program the slowest pair rules, so that a link alone shows nothing until the last. It belongs to one
// goroutine.
type Judge struct {
	trials []*trial
	bars   map[Direct]*barState
	rests  []Rest
}

type barState struct {
	until time.Time
	count int
	why   string
}

// trial is one group's part of a change.
type trial struct {
	proposal uint64
	group    vttif.Group
	diverted []Direct
	off      float64  // share of the group's bytes that left the Proxy
	before   []uint64 // what it delivered in each interval before the change
	hint     []uint64 // the same until the sources flipped, for what has just started
	made     time.Time
	bound    time.Duration
	asked    bool       // no test
	version  uint64     // of the topology last looked at
	beside   string     // the other groups on the same hosts
	now      vttif.Goal // of the group, when last looked at
	looks    int
	doubted  bool
	test     *test
}

// test is a comparison with the star, on purpose.
type test struct {
	began time.Time // when the way back was decided
	made  time.Time // when it was gone; zero until then
	rates side      // of the direct ways
}

// NewJudge makes a judge with nothing to judge.
func NewJudge() *Judge { return &Judge{bars: map[Direct]*barState{}} }

// Change is a proposal that was carried out.
type Change struct {
	Proposal Proposal
	Began    time.Time // the first message to a node
	Made     time.Time // the last source flipped
	Bound    time.Duration
	Asked    bool // the user asked for it: the star is not tried again without being asked
}

// Made takes a change that was carried out, and opens a trial for each group it diverts; those before are over when theirs
// is not the same group any more.
func (j *Judge) Made(c Change, t vttif.Topology, o *overlay.Overlay, courses Courses) {
	for _, tr := range j.trials {
		if tr.test != nil && tr.test.made.IsZero() && tr.tookBack(c.Proposal.restored) {
			tr.test.made = c.Made
		}
	}
	for _, g := range t.Groups {
		mine, off := part(g, c.Proposal.Diverted)
		if len(mine) == 0 {
			continue
		}
		tr := &trial{
			proposal: c.Proposal.ID, group: g, diverted: mine, off: off, made: c.Made, bound: c.Bound, asked: c.Asked,
			version: t.Version, beside: beside(g, t, o),
		}
		if course, ok := courses(g.VMs); ok {
			tr.before = lastStretch(cut(course, c.Began.Add(-judgeWithin), c.Began), course.Slot, tr.gap())
			tr.hint = cut(course, c.Made.Add(-judgeWithin), c.Made.Add(-course.Slot)) // the star carries all until the last flip
		}
		j.trials = slices.DeleteFunc(j.trials, func(old *trial) bool {
			if !overlap(old.group.VMs, g.VMs) {
				return false
			}
			if sameEdges(old.group, g) { // more of the same
				tr.before, tr.hint = old.before, old.hint
				tr.off += old.off
			}
			tr.diverted = append(tr.diverted, old.diverted...)
			return true
		})
		j.trials = append(j.trials, tr)
	}
}

// tookBack tells whether pairs that lost their rules are all those of the trial.
func (tr *trial) tookBack(restored []vttif.Pair) bool {
	return !slices.ContainsFunc(tr.diverted, func(d Direct) bool { return !slices.Contains(restored, d.Pair) })
}

// part is what of a change is about a group, and what share of its bytes that is.
func part(g vttif.Group, all []Direct) (mine []Direct, off float64) {
	for _, d := range all {
		i := slices.IndexFunc(g.Edges, func(e vttif.Edge) bool { return unordered(e.A, e.B) == d.Pair })
		if i >= 0 {
			mine = append(mine, d)
			if g.Rate > 0 {
				off += g.Edges[i].Rate / g.Rate
			}
		}
	}
	return mine, off
}

func overlap(a, b []ether.MAC) bool {
	return slices.ContainsFunc(a, func(m ether.MAC) bool { return slices.Contains(b, m) })
}

func sameEdges(a, b vttif.Group) bool {
	return slices.EqualFunc(a.Edges, b.Edges, func(x, y vttif.Edge) bool { return x.A == y.A && x.B == y.B })
}

// beside are the other groups that share a host with one: they share its wires, too.
func beside(g vttif.Group, t vttif.Topology, o *overlay.Overlay) string {
	hosts := map[overlay.Name]bool{}
	for _, m := range g.VMs {
		hosts[o.VMs[m].Node] = true
	}
	var text strings.Builder
	for _, other := range t.Groups {
		if !slices.Equal(other.VMs, g.VMs) && slices.ContainsFunc(other.VMs, func(m ether.MAC) bool { return hosts[o.VMs[m].Node] }) {
			for _, e := range other.Edges {
				fmt.Fprintf(&text, "%s-%s ", e.A, e.B)
			}
		}
	}
	return text.String()
}

// Courses tells what a group delivered; see vttif.Inferrer.Course.
type Courses func(vms []ether.MAC) (vttif.Course, bool)

// Step looks at all trials and returns what is decided.
func (j *Judge) Step(now time.Time, t vttif.Topology, o *overlay.Overlay, courses Courses) (verdicts []Verdict) {
	j.rests = slices.DeleteFunc(j.rests, func(r Rest) bool { return !now.Before(r.Until) })
	for d, b := range j.bars {
		if now.Sub(b.until) > barForgotten {
			delete(j.bars, d)
		}
	}
	j.trials = slices.DeleteFunc(j.trials, func(tr *trial) bool {
		v, over := j.look(now, tr, t, o, courses)
		if v.Outcome != "" {
			v.Proposal, v.Group, v.VMs, v.Diverted = tr.proposal, tr.group.String(), tr.group.VMs, tr.diverted
			verdicts = append(verdicts, v)
		}
		return over
	})
	return verdicts
}

// look judges one trial, if it is time to.
func (j *Judge) look(now time.Time, tr *trial, t vttif.Topology, o *overlay.Overlay, courses Courses) (Verdict, bool) {
	if why, changed := tr.changed(t, o); changed {
		if tr.test != nil {
			j.lift(tr)
		}
		return Verdict{Outcome: NoVerdict, Reason: why, P: 1}, true
	}
	if tr.test != nil {
		return j.lookBack(now, tr, courses)
	}
	from := tr.made.Add(tr.skip())
	seen := now.Sub(from)
	if seen < Judging<<tr.looks+late && seen < judgeWithin+late {
		return Verdict{}, false
	}
	tr.looks++
	c, ok := courses(tr.group.VMs)
	if !ok {
		return Verdict{Outcome: NoVerdict, Reason: "the application is over", P: 1}, true
	}
	last := seen >= judgeWithin+late
	tr.now = goalIn(t, tr.group)
	before, after := compare(tr.before, firstStretch(cut(c, from, now), c.Slot, tr.gap()), c.Slot, sure(tr.group.Goal), tr.period())
	switch {
	case !before.enough():
		return j.unproven(now, tr, c, last)
	case !last && !after.enough():
		return Verdict{}, false
	case !after.enough():
		return Verdict{Outcome: NoVerdict, Reason: "the application was silent after the change", Before: before.mean, After: after.mean, P: 1}, true
	}
	v := Verdict{Before: before.mean, After: after.mean, P: RankSum(before.rates, after.rates)}
	if before.rough || after.rough {
		v.P = 1
	}
	return j.decide(now, tr, v, last)
}

// decide says what a comparison means.
func (j *Judge) decide(now time.Time, tr *trial, v Verdict, last bool) (Verdict, bool) {
	sure, more := v.P < significant, v.After/v.Before-1
	switch {
	case sure && more < -slower:
		v.Outcome, v.Reason = Reverted, fmt.Sprintf("slower by %.0f %% (%s before, %s after, p = %.2g)", -100*more, rate(v.Before), rate(v.After), v.P)
	case sure && more > slower:
		v.Outcome, v.Reason = Kept, fmt.Sprintf("faster by %.0f %% (%s before, %s after, p = %.2g)", 100*more, rate(v.Before), rate(v.After), v.P)
	case !sure && (more < -slower || more > slower) && !last:
		return Verdict{}, false
	case !sure && (more < -slower || more > slower):
		v.Outcome, v.Reason = Kept, fmt.Sprintf("undecided after %v (%s before, %s after, p = %.2g)", judgeWithin, rate(v.Before), rate(v.After), v.P)
	case tr.off >= worthwhile:
		v.Outcome, v.Reason = Kept, fmt.Sprintf("no faster and no slower, and %.0f %% of its bytes are off the Proxy (%s before, %s after)", 100*min(tr.off, 1), rate(v.Before), rate(v.After))
	default:
		v.Outcome, v.Reason = Reverted, fmt.Sprintf("no faster, and only %.0f %% of its bytes are off the Proxy (%s before, %s after)", 100*tr.off, rate(v.Before), rate(v.After))
	}
	if v.Outcome == Reverted {
		j.bar(now, tr, v.Reason)
	} else {
		j.lift(tr)
	}
	return v, true
}

// changed says why a trial cannot be judged any more.
func (tr *trial) changed(t vttif.Topology, o *overlay.Overlay) (string, bool) {
	if t.Version == tr.version {
		return "", false
	}
	i := slices.IndexFunc(t.Groups, func(g vttif.Group) bool { return slices.Equal(g.VMs, tr.group.VMs) })
	switch {
	case i < 0:
		return "the application is over, or its VMs are others", true
	case !sameEdges(t.Groups[i], tr.group):
		return "the application's pattern has changed", true
	case beside(tr.group, t, o) != tr.beside:
		return "another application came, changed or went on the same hosts", true
	}
	tr.version = t.Version
	return "", false
}

// skip is what does not count after a change.
func (tr *trial) skip() time.Duration {
	return max(Reaction+tr.bound, skipPeriods*sure(tr.group.Goal))
}

// gap is how long nothing must be delivered to end a stretch.
func (tr *trial) gap() time.Duration { return max(pause, skipPeriods*sure(tr.group.Goal)) }

// period is the group's now, or what it was before the change.
func (tr *trial) period() time.Duration {
	if p := sure(tr.now); p > 0 {
		return p
	}
	return sure(tr.group.Goal)
}

func sure(g vttif.Goal) time.Duration {
	if g.Confidence < vttif.SureEnough {
		return 0
	}
	return g.Period
}

func goalIn(t vttif.Topology, g vttif.Group) vttif.Goal {
	i := slices.IndexFunc(t.Groups, func(o vttif.Group) bool { return slices.Equal(o.VMs, g.VMs) })
	if i < 0 {
		return vttif.Goal{}
	}
	return t.Groups[i].Goal
}

// Trials tells what is being judged.
func (j *Judge) Trials() (list []Verdict) {
	for _, tr := range j.trials {
		v := Verdict{Proposal: tr.proposal, Group: tr.group.String(), VMs: tr.group.VMs, Diverted: tr.diverted, P: 1}
		if v.Reason = "its effect is being measured"; tr.test != nil {
			v.Reason = "on the star for a moment, to compare"
		}
		list = append(list, v)
	}
	return list
}
