package simnet

import (
	"container/heap"
	"time"
)

// agenda is what will happen and when, with one timer for the earliest. Events of the same instant happen
// in the order in which they were planned, which a timer each would not promise.
type agenda struct {
	events  events
	planned uint64      // events so far
	timer   *time.Timer // made on first use, so that New touches nothing
	armed   time.Time   // what the timer waits for, zero if nothing
}

type event struct {
	at  time.Time
	seq uint64
	do  func() // with the lock held
}

// events is a heap by time, then by order of planning.
type events []event

func (e events) Len() int      { return len(e) }
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }

func (e events) Less(i, j int) bool {
	if !e[i].at.Equal(e[j].at) {
		return e[i].at.Before(e[j].at)
	}
	return e[i].seq < e[j].seq
}

func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{}
	*e = (*e)[:last]
	return x
}

// plan makes something happen at a time, with the lock held. It happens no earlier than the next unlock.
func (n *Net) plan(at time.Time, do func()) {
	n.agenda.planned++
	heap.Push(&n.agenda.events, event{at, n.agenda.planned, do})
}

// unlock does what is due, and releases the lock. Every method that may have planned something ends so.
func (n *Net) unlock() {
	n.settle()
	n.mu.Unlock()
}

// settle does what is due and arms the timer for the rest.
func (n *Net) settle() {
	a := &n.agenda
	now := time.Now()
	for len(a.events) > 0 && !a.events[0].at.After(now) {
		heap.Pop(&a.events).(event).do()
	}
	if len(a.events) == 0 || a.events[0].at.Equal(a.armed) {
		return
	}
	a.armed = a.events[0].at
	if a.timer == nil {
		a.timer = time.AfterFunc(a.armed.Sub(now), n.ring)
		return
	}
	a.timer.Reset(a.armed.Sub(now))
}

// ring is the timer's call.
func (n *Net) ring() {
	n.mu.Lock()
	defer n.unlock()
	if !n.agenda.armed.After(time.Now()) {
		n.agenda.armed = time.Time{}
	}
}
