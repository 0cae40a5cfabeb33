package vttif

import (
	"cmp"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// SureEnough is the confidence from which a period is taken for one.
const SureEnough = 0.5

const (
	// goalEvery is how often a group's period is looked for, and goalGap how much apart two groups': each takes some
	// milliseconds.
	goalEvery = time.Second
	goalGap   = 200 * time.Millisecond
	// goalPairs is how many pairs of a group are looked at, the strongest.
	goalPairs = 32
	// goalKept is how long a group that is gone is remembered.
	goalKept = time.Minute
	// trendOver is how many periods found, one each goalEvery, the trend is taken from.
	trendOver = 60
	// trendLeast is how many there must be.
	trendLeast = 6
	// arrivalCells is how far back the delivered bytes of a group are known, in intervals between reports.
	arrivalCells = 600
	// wholePeriods is the longest time the delivered rate is taken over, if that holds a period.
	wholePeriods = 10 * time.Second
	// keepPeriods is how many periods an edge stays unused (DESIGN part 7).
	keepPeriods = 3
)

// goal is what is known of how fast one set of VMs works.
type goal struct {
	vms     []ether.MAC
	flows   []*flow
	seen    time.Duration // when the group was last there
	looked  time.Duration // when its period was last looked for
	value   Goal
	periods []float64 // ns, the last found with confidence
	arrived []uint64  // delivered bytes in all, one for each interval of the last arrivalCells; ring
	newest  int64     // interval
	oldest  int64
	talks   []talkSum // at the last looks
	course  course
}

// goals keeps the goals of the groups just published up to date, and fills them in.
func (in *Inferrer) goalsOf(at time.Duration, groups []Group) {
	for i := range groups {
		g := &groups[i]
		o := in.goalOf(at, g)
		o.arrivals(in.interval(at))
		o.course.note(in.interval(at), o.flows)
		if at-o.looked >= goalEvery && at-in.looked >= goalGap {
			o.looked, in.looked = at, at
			in.look(o)
		}
		o.value.Delivered = o.delivered(in.interval(at), in.slot)
		g.Goal = o.value
	}
	in.goals = slices.DeleteFunc(in.goals, func(o *goal) bool { return at-o.seen > goalKept })
}

// goalOf finds the goal of a group's VMs.
func (in *Inferrer) goalOf(at time.Duration, g *Group) *goal {
	i := slices.IndexFunc(in.goals, func(o *goal) bool { return slices.Equal(o.vms, g.VMs) })
	if i < 0 {
		i = len(in.goals)
		in.goals = append(in.goals, &goal{vms: g.VMs, arrived: make([]uint64, arrivalCells), looked: at})
	}
	o := in.goals[i]
	o.seen = at
	same := len(o.flows) == len(g.Edges)
	for j := 0; same && j < len(o.flows); j++ {
		same = o.flows[j].pair == g.Edges[j].ends() && in.flows[o.flows[j].pair] == o.flows[j]
	}
	if !same {
		o.flows = o.flows[:0]
		for _, e := range g.Edges {
			o.flows = append(o.flows, in.flows[e.ends()])
		}
		o.newest, o.oldest, o.talks = in.interval(at)-1, in.interval(at), nil
		if o.course.sums == nil {
			o.course.begin(in.interval(at), o.flows)
		} else {
			o.course.turn(o.flows)
		}
	}
	return o
}

// arrivals notes what was delivered so far.
func (o *goal) arrivals(interval int64) {
	sum := delivered(o.flows)
	for o.newest < interval {
		o.newest++
		o.arrived[o.newest%arrivalCells] = sum
	}
	o.arrived[interval%arrivalCells] = sum
	o.oldest = max(o.oldest, o.newest-arrivalCells+1)
}

// delivered is the rate at which bytes arrived, over whole periods where there is one.
func (o *goal) delivered(interval int64, slot time.Duration) float64 {
	over := time.Second
	if o.value.Confidence >= SureEnough {
		over = o.value.Period * max(1, wholePeriods/o.value.Period)
	}
	known := time.Duration(interval-o.oldest) * slot
	if over > known {
		over = known
		if n := over / max(o.value.Period, 1); o.value.Confidence >= SureEnough && n > 0 {
			over = n * o.value.Period
		}
	}
	if over <= 0 {
		return 0
	}
	back := float64(over) / float64(slot)
	whole := int64(back)
	before := float64(o.arrived[(interval-whole)%arrivalCells])
	if older := interval - whole - 1; older >= o.oldest {
		before -= (back - float64(whole)) * (before - float64(o.arrived[older%arrivalCells]))
	}
	return (float64(o.arrived[interval%arrivalCells]) - before) / over.Seconds()
}

// look finds the period of a group's iterations.
func (in *Inferrer) look(o *goal) {
	type beat struct {
		p      *pulse
		weight float64
	}
	var beats []beat
	for _, f := range o.flows {
		if f.a.lan || f.b.lan {
			continue
		}
		for dir, p := range f.pulse {
			if p != nil {
				beats = append(beats, beat{p, float64(f.total[dir].payload())})
			}
		}
	}
	slices.SortStableFunc(beats, func(a, b beat) int { return cmp.Compare(b.weight, a.weight) })
	beats = beats[:min(len(beats), goalPairs)]
	var period [pulseRings]time.Duration
	var sure [pulseRings]float64
	best := 0.0
	for level := range pulseRings {
		s := in.spectrum(level)
		s.reset()
		n := 0
		for _, b := range beats {
			n = max(n, b.p.known(level, in.ledger.until(b.p)))
		}
		if n < leastSamples {
			continue
		}
		for _, b := range beats {
			b.p.last(level, in.ledger.until(b.p), in.samples[:n])
			s.add(in.samples[:n], b.weight)
		}
		if s.correlate(n) {
			cells, r := s.find(n, leastCells()[level])
			period[level], sure[level] = time.Duration(cells*float64(pulseWidths()[level])*float64(time.Millisecond)), r
			best = max(best, r)
		}
	}
	o.value.Period, o.value.Confidence = 0, 0
	for level := range pulseRings {
		if best == 0 || sure[level] < asGood*best {
			continue
		}
		fine := o.value.Period == 0 // the finest that sees as much
		// Or a coarser one that sees the same, as exactly, in more iterations.
		cell := time.Duration(pulseWidths()[level]) * time.Millisecond
		longer := !fine && period[level] >= exactCells*cell && (period[level]-o.value.Period).Abs() < o.value.Period/8
		if fine || longer {
			o.value.Period, o.value.Confidence = period[level], sure[level]
		}
	}
	o.follow(in)
}

// leastSamples is the fewest cells a period is looked for in.
const leastSamples = 48

// exactCells is how many cells a period must have to be exact to a hundredth.
const exactCells = 20

// leastCells is the shortest period at each resolution: 10 ms, 40 ms, 160 ms.
func leastCells() [pulseRings]int { return [...]int{10, 5, 5} }

// follow draws the consequences of the period just found: trend, how long edges stay, requests.
func (o *goal) follow(in *Inferrer) {
	if o.value.Confidence >= SureEnough {
		o.periods = append(o.periods, float64(o.value.Period))
		o.periods = o.periods[max(0, len(o.periods)-trendOver):]
		for _, f := range o.flows {
			f.period = o.value.Period
		}
	}
	o.value.Trend = 0
	if n := len(o.periods); n >= trendLeast {
		o.value.Trend = median(o.periods[n-n/3:])/median(o.periods[:n/3]) - 1
	}
	o.converse()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// spectrum is the scratch of one resolution, made when first needed.
func (in *Inferrer) spectrum(level int) *spectrum {
	if in.spectra[level] == nil {
		in.spectra[level] = newSpectrum(pulseCells()[level])
	}
	if in.samples == nil {
		in.samples = make([]float64, pulseCells()[0])
	}
	return in.spectra[level]
}
