package simulate

import (
	"math"
	"time"
)

// pipe is one direction of a wire that flows share. The engine owns it.
type pipe struct {
	name  string
	rate  float64       // bytes/s of application content that fit through it
	queue time.Duration // of the FIFO in front of it

	left float64 // scratch of share: what is not given away
	n    int     // scratch of share: flows that want some of it

	full  bool          // now
	busy  time.Duration // for how long it was full since the engine looked last
	delay time.Duration // that its queue adds now, smoothed
}

// standing is the share of a drop-tail queue that is filled on average while cubic flows keep the wire busy: a loss cuts
// windows to 0.7 of wire and queue together, and cubic spends most of the time near the top.
const standing = 0.8

// message is what a rank sends another: it follows those sent before on the same connection.
type message struct {
	left    float64 // bytes
	sent    func()  // the last byte has left; may be nil
	arrived func()  // at the receiver
}

// flow is one direction of a TCP connection between two VMs. The engine owns it.
type flow struct {
	from, to int // VMs
	queue    []message
	path     []*pipe       // nil: no way
	delay    time.Duration // one way, without queues
	window   window

	rate  float64 // bytes/s now
	moved float64 // bytes since the counters were told
}

func (f *flow) active() bool { return len(f.queue) > 0 && f.path != nil }

// roundTrip is without queues.
func (f *flow) roundTrip() time.Duration { return 2*f.delay + guestDelay }

// share gives each active flow its max-min fair rate under its window's limit, by progressive filling: the level rises for all
// until a window or a wire holds some of them back, again and again.
func share(active []*flow, pipes []*pipe) {
	for _, p := range pipes {
		p.left, p.n = p.rate, 0
	}
	for _, f := range active {
		for _, p := range f.path {
			p.n++
		}
	}
	open := append([]*flow(nil), active...)
	for len(open) > 0 {
		level := math.Inf(1)
		for _, p := range pipes {
			if p.n > 0 {
				level = min(level, p.left/float64(p.n))
			}
		}
		rest, held := open[:0:0], false
		for _, f := range open {
			if limit := f.window.limit(f.roundTrip()); limit <= level {
				f.take(limit)
				held = true
				continue
			}
			rest = append(rest, f)
		}
		if open = rest; held {
			continue
		}
		rest = open[:0:0]
		for _, f := range open {
			if !f.held(level) {
				rest = append(rest, f)
			}
		}
		open = rest
	}
	for _, p := range pipes {
		p.full = p.left < p.rate/100
	}
}

// held gives the flow the level if a wire on its way has no more.
func (f *flow) held(level float64) bool {
	for _, p := range f.path {
		if p.left/float64(p.n) <= level*(1+1e-9) {
			f.take(level)
			return true
		}
	}
	return false
}

func (f *flow) take(rate float64) {
	f.rate = rate
	for _, p := range f.path {
		p.left -= rate
		p.n--
	}
}

// squeezed tells whether a wire and not its window holds the flow back.
func (f *flow) squeezed() bool { return f.rate < f.window.limit(f.roundTrip())*(1-1e-9) }

// room is how many bytes the flow keeps in flight at its rate when the fullest queue of its way stands full.
func (f *flow) room() float64 {
	var queue time.Duration
	for _, p := range f.path {
		if p.full {
			queue = max(queue, p.queue)
		}
	}
	return f.rate * (f.roundTrip() + queue).Seconds()
}
