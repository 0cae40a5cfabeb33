package link

import (
	"runtime"
	"time"
)

// turnLong is how long a worker goes on before it lets the scheduler choose anew: well below 10 ms, the runtime's
// forcePreemptNS. A worker is in and out of system calls all the time, which that clock does not count as a choice; once it
// has run down, the runtime's watchman wakes up every 20 µs and takes the worker's place in the scheduler away.
const turnLong = 8 * time.Millisecond

// turnAway is how long a worker must have waited to have lost its place: the watchman takes the place of one that blocks in a
// system call after 10 ms at the latest, and one that waits in the poller has given it up.
const turnAway = 2 * turnLong

// Turn is for the loop of a worker that reads without end: it ends the worker's turn before the scheduler would. It belongs
// to the worker; its zero value is ready.
type Turn struct {
	began time.Time
	last  time.Time // when the batch before came
}

// At is told the time after each batch.
func (t *Turn) At(now time.Time) {
	if t.over(now) {
		runtime.Gosched()
	}
}

// over says whether the turn ends. One that begins with a batch after a long wait need not: an idle daemon would wake up a
// second thread for each heartbeat, to choose again between this worker and nobody.
func (t *Turn) over(now time.Time) bool {
	away := now.Sub(t.last) >= turnAway
	if t.last = now; now.Sub(t.began) < turnLong {
		return false
	}
	t.began = now
	return !away
}
