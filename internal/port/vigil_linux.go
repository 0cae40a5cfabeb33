package port

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// longestVigil is the longest a reader looks for packets before it sleeps: about what being woken costs both sides where a
	// processor that has nothing to do halts (27 µs each way on virtual ones). Longer makes requests quicker, at the price
	// of most of a core while they last (docs/performance.md).
	longestVigil = 50 * time.Microsecond
	// shortestVigil is the shortest, once a sleep turned out to be short.
	shortestVigil = 10 * time.Microsecond
	// lookTime is how long it takes from one look to the next, at most, while nobody else wants the processor.
	lookTime = 10 * time.Microsecond
)

// vigil decides how long a reader that finds nothing looks again before it sleeps. While packets come in quick succession
// that is cheaper than being woken, and wasted else: so each sleep teaches the next wait, as virtual processors learn
// when to halt (KVM's halt_poll_ns). Its zero value does not look, and learns. It belongs to the reader.
type vigil struct {
	length      time.Duration // of looking
	began, last time.Time     // the wait, and the last look in it
}

// begin is told that nothing was found, and so a wait begins.
func (v *vigil) begin(now time.Time) { v.began, v.last = now, now }

// more reports whether to look once more; if not, the reader sleeps. Before each look it gives way to others on its
// processor: when they took it, it was not idle, and nothing is gained by staying awake.
func (v *vigil) more(now time.Time) bool {
	taken := now.Sub(v.last) > lookTime
	v.last = now
	return !taken && now.Sub(v.began) < v.length
}

// woke is told that the reader slept until now. What a longer vigil would have found makes it longer, what the longest
// would not have found ends it.
func (v *vigil) woke(now time.Time) {
	switch took := now.Sub(v.began); {
	case took > longestVigil:
		v.length = 0
	case took > v.length:
		v.length = min(max(2*v.length, shortestVigil), longestVigil)
	}
}

// giveWay lets others have this processor, if any wants it.
func giveWay() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
