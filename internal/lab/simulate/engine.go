package simulate

import (
	"container/heap"
	"slices"
	"time"
)

// engine moves bytes: all its fields belong to the goroutine that drives the world.
type engine struct {
	now    time.Time
	flows  []*flow
	active []*flow
	pipes  []*pipe
	agenda agenda
	seq    int
	stale  bool // rates must be computed anew
}

// agenda is what will happen, by time, then by order of planning.
type agenda []planned

type planned struct {
	at  time.Time
	seq int
	do  func()
}

func (a agenda) Len() int      { return len(a) }
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(planned)) }

func (a agenda) Less(i, j int) bool {
	if !a[i].at.Equal(a[j].at) {
		return a[i].at.Before(a[j].at)
	}
	return a[i].seq < a[j].seq
}

func (a *agenda) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	(*a)[last] = planned{}
	*a = (*a)[:last]
	return x
}

func (e *engine) plan(at time.Time, do func()) {
	e.seq++
	heap.Push(&e.agenda, planned{at, e.seq, do})
}

// send puts a message behind those of its flow.
func (e *engine) send(f *flow, m message) {
	f.queue = append(f.queue, m)
	if len(f.queue) == 1 {
		f.window.wake(e.now, f.roundTrip())
		e.stale = true
	}
}

// next is when something happens by itself, at most limit from now.
func (e *engine) next(limit time.Duration) time.Time {
	at := e.now.Add(limit)
	if len(e.agenda) > 0 && e.agenda[0].at.Before(at) {
		at = e.agenda[0].at
	}
	for _, f := range e.active {
		if f.rate > 0 {
			// A nanosecond more, so that rounding does not leave a last bit.
			if done := e.now.Add(time.Duration(f.queue[0].left/f.rate*1e9) + 1); done.Before(at) {
				at = done
			}
		}
		if !f.squeezed() {
			if look := f.window.looked.Add(max(f.roundTrip(), step)); look.Before(at) {
				at = look
			}
		}
	}
	if !at.After(e.now) {
		at = e.now.Add(1)
	}
	return at
}

// advance moves bytes up to a time, and lets happen what is due then.
func (e *engine) advance(now time.Time) {
	passed := now.Sub(e.now)
	for _, p := range e.pipes {
		if p.full {
			p.busy += passed
		}
	}
	e.now = now
	for _, f := range e.active {
		bytes := min(f.rate*passed.Seconds(), f.queue[0].left)
		f.queue[0].left -= bytes
		f.moved += bytes
	}
	for _, f := range e.active {
		if len(f.queue) > 0 && f.queue[0].left < 0.5 {
			e.finish(f)
		}
		if !f.squeezed() && !now.Before(f.window.looked.Add(max(f.roundTrip(), step))) {
			e.stale = true
		}
	}
	for len(e.agenda) > 0 && !e.agenda[0].at.After(now) {
		heap.Pop(&e.agenda).(planned).do()
	}
	if e.stale {
		e.settle()
	}
}

// finish ends the first message of a flow.
func (e *engine) finish(f *flow) {
	m := f.queue[0]
	f.queue = slices.Delete(f.queue, 0, 1)
	if len(f.queue) == 0 {
		f.window.idle = e.now
	}
	e.stale = true
	if m.sent != nil {
		m.sent()
	}
	e.plan(e.now.Add(f.delay+guestDelay), m.arrived)
}

// settle computes all rates, and lets windows follow them.
func (e *engine) settle() {
	e.stale = false
	for _, f := range e.active {
		f.window.grow(e.now, f.roundTrip(), f.rate > 0 && f.squeezed(), f.room())
	}
	e.active = e.active[:0]
	for _, f := range e.flows {
		f.rate = 0
		if f.active() {
			e.active = append(e.active, f)
		}
	}
	share(e.active, e.pipes)
}
