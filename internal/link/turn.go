package link

import (
	"runtime"
	"time"
)

// turnLong is how long a worker runs before it lets the scheduler choose anew: well below the 10 ms (forcePreemptNS of the
// runtime) after which its watchman, who counts only such choices and no system calls, would wake up every 20 µs to take the
// place of a worker that has been in none away from it.
const turnLong = 4 * time.Millisecond

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
