package link

import (
	"runtime"
	"time"
)

// turnLong is how long a worker goes on before it lets the scheduler choose anew: well below 10 ms, the runtime's
// forcePreemptNS. A worker is in and out of system calls all the time, which that clock does not count as a choice; once it
// has run down, the runtime's watchman wakes up every 20 µs and takes the worker's place in the scheduler away.
const turnLong = 8 * time.Millisecond

// Turn is for the loop of a worker that reads without end: it ends the worker's turn before the scheduler would. It belongs
// to the worker; its zero value is ready.
type Turn struct{ began time.Time }

// At is told the time after each batch.
func (t *Turn) At(now time.Time) {
	if now.Sub(t.began) >= turnLong {
		t.began = now
		runtime.Gosched()
	}
}
