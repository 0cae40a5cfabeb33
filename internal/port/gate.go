package port

import (
	"sync"
	"sync/atomic"
)

// gate lets calls in until it is closed, and tells the closer when the last one has left, so that a descriptor is
// not closed (and its number given to somebody else) under a call that uses it.
type gate struct {
	inside atomic.Int64 // calls inside, less shut once it is closed
	empty  chan struct{}
	once   sync.Once
}

// shut is far more than there can be calls.
const shut = 1 << 40

func newGate() *gate { return &gate{empty: make(chan struct{})} }

// enter reports whether the call may go on; if so it must leave.
func (g *gate) enter() bool {
	if g.inside.Add(1) > 0 {
		return true
	}
	g.leave()
	return false
}

func (g *gate) leave() {
	if g.inside.Add(-1) == -shut {
		g.once.Do(func() { close(g.empty) })
	}
}

// close shuts the gate and calls wake, which must make all calls inside leave; then it waits for them. Only the
// first call does so, and returns true.
func (g *gate) close(wake func()) bool {
	for {
		n := g.inside.Load()
		if n < 0 {
			return false
		}
		if g.inside.CompareAndSwap(n, n-shut) {
			if n == 0 {
				g.once.Do(func() { close(g.empty) })
			}
			break
		}
	}
	wake()
	<-g.empty
	return true
}
