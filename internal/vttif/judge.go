package vttif

import (
	"math"
	"time"
)

// Step judges the traffic up to now and returns the topology, and whether its set of edges is new. Call it about as often
// as reports arrive.
func (in *Inferrer) Step(now time.Time) (Topology, bool) {
	at, now := in.clock(now), now.UTC() // one zone, so that a replay elsewhere says the same
	dt := min(at-in.last, longestStep)
	in.last = at
	in.stamp++

	in.measure(at, dt)
	in.judge(at)
	in.connect(in.published, in.candidates)
	in.activity(at, dt)
	changed := in.add(at, now)
	if in.remove(at) || changed {
		changed = true
		in.version++
		in.since = now
	}
	in.sweep(at)
	top := in.topology(now)
	if in.cfg.MaxPulses > 0 {
		in.goalsOf(at, top.Groups)
	}
	return top, changed
}

const (
	// longestStep is the longest time one Step accounts for: a Proxy that stood still must not take that for silence.
	longestStep = time.Second
	// peakHalf is the half-life of an edge's peak. While the group computes its peaks are the reference, so chatter does
	// not become an edge; a minute-long phase still leaves 1/64 of it, a thousand times the chatter of DefaultFloor.
	peakHalf = 10 * time.Second
	// heldShare is what a peak counts for beside present traffic: an application of a hundredth (heldShare × DefaultHigh)
	// of the old one's rate, on the same VMs, enters at once.
	heldShare = 0.1
	// rateOver is the time constant by which rates and weights are smoothed, or two periods where those are longer; they are
	// shown and ranked, not judged.
	rateOver = 3 * time.Second
	// sweepAfter is how long a pair that is no edge may be silent before it is forgotten: the matrix shows it that long.
	sweepAfter = 30 * time.Second
)

// measure sums the windows and finds the strongest flow at each vertex.
func (in *Inferrer) measure(at, dt time.Duration) {
	i := in.interval(at)
	perSlow := 1 / (time.Duration(in.slots) * in.slot).Seconds()
	perFast := 1 / (fastSlots * in.slot).Seconds()
	decay := math.Exp2(-float64(dt) / float64(peakHalf))
	in.strongest = 0
	for _, f := range in.order {
		if f.never {
			continue
		}
		f.slow = float64(f.window.payload(i, in.slots)) * perSlow
		f.fast = f.slow
		if f.slow == 0 && !f.published {
			continue
		}
		if !in.cfg.Global {
			f.fast = float64(f.window.payload(i, fastSlots)) * perFast
			f.even = f.window.steady(i, fastSlots)
		}
		if f.published {
			f.peak = max(f.peak*decay, f.slow)
		}
		in.refresh(f.a)
		in.refresh(f.b)
		if f.a.lan || f.b.lan {
			continue // the LAN is never the reference
		}
		in.strongest = max(in.strongest, f.slow)
		for _, v := range [2]*vertex{f.a, f.b} {
			v.fast = max(v.fast, f.fast)
			v.slow = max(v.slow, f.slow)
			if f.even {
				v.even = max(v.even, f.fast)
			}
			v.held = max(v.held, f.peak*heldShare)
			v.peak = max(v.peak, f.peak)
		}
	}
}

// refresh clears a vertex of what an earlier Step found.
func (in *Inferrer) refresh(v *vertex) {
	if v.stamp != in.stamp {
		*v = vertex{mac: v.mac, flows: v.flows, stamp: in.stamp, lan: in.cfg.LAN(v.mac)}
	}
}

// judge compares each flow with the strongest at its ends: the high threshold makes a candidate, the low one keeps an edge.
func (in *Inferrer) judge(at time.Duration) {
	before := len(in.candidates)
	changed := false
	edges := map[string]int{} // by the node that reported them
	for _, f := range in.published {
		edges[f.owner]++
	}
	in.candidates = in.candidates[:0]
	for _, f := range in.order {
		switch {
		case f.never || f.slow == 0 && !f.published && !f.candidate:
		case f.published:
			f.used = in.above(f, in.cfg.Low, in.cfg.Floor*in.cfg.Low/in.cfg.High)
		case in.above(f, in.cfg.High, in.cfg.Floor) && edges[f.owner] < maxEdgesOfNode:
			edges[f.owner]++
			if !f.candidate {
				f.candidate, f.entered, changed = true, at, true
			}
			in.candidates = append(in.candidates, f)
		case f.candidate:
			f.candidate = false
			in.quiet(f)
		}
	}
	if changed || len(in.candidates) != before {
		in.candidatesNew = at
	}
}

// above reports whether f has the given share of its reference, over the window or over the fast part of it.
func (in *Inferrer) above(f *flow, share, floor float64) bool {
	if f.slow == 0 || f.slow < floor || f.a.lan && f.b.lan {
		return false
	}
	if in.cfg.Global {
		return f.slow >= share*in.strongest
	}
	held := max(f.a.held, f.b.held)
	return f.slow >= share*max(f.a.slow, f.b.slow, held) || f.fast > 0 && f.fast >= share*max(f.a.fast, f.b.fast, held)
}

// connect joins the vertices of the flows into components. Endpoints on the LAN join nothing.
func (in *Inferrer) connect(sets ...[]*flow) {
	for _, set := range sets {
		for _, f := range set {
			f.a.parent, f.b.parent = f.a, f.b
		}
	}
	for _, set := range sets {
		for _, f := range set {
			if !f.a.lan && !f.b.lan {
				root(f.a).parent = root(f.b)
			}
		}
	}
}

func root(v *vertex) *vertex {
	for v.parent != v {
		v.parent = v.parent.parent
		v = v.parent
	}
	return v
}

// home is the component an edge belongs to: of its end that is not on the LAN.
func (f *flow) home() *vertex {
	if f.a.lan {
		return root(f.b)
	}
	return root(f.a)
}

// activity runs the clocks of the published edges. Time counts against an edge only while its group is active; traffic with
// the LAN does not make a group active, since it may go on through a compute phase.
func (in *Inferrer) activity(at, dt time.Duration) {
	for _, f := range in.published {
		if f.used && (in.cfg.Global || !f.a.lan && !f.b.lan) {
			f.home().active = true
		}
	}
	for _, f := range in.published {
		lan := f.a.lan || f.b.lan
		active := f.home().active || in.cfg.Global && in.strongest > 0
		if active && !lan || lan && f.used {
			f.active = at
		}
		switch {
		case f.used:
			f.unused = 0
		case active:
			f.unused += dt
		}
		if active || f.used {
			f.rate += (f.slow - f.rate) * (1 - math.Exp(-float64(dt)/float64(max(rateOver, 2*f.period))))
		}
	}
}

// sweep forgets pairs that are no edge and have been silent.
func (in *Inferrer) sweep(at time.Duration) {
	for i := 0; i < len(in.order); {
		if f := in.order[i]; !f.published && at-f.heard >= sweepAfter && !in.missed(at, f) {
			in.forget(f) // another takes its place at i
			continue
		}
		i++
	}
}
