// Package wan says how one direction of a network path treats a packet: arithmetic on (now, size, dice).
//
// It does not carry packets, start timers or know hosts: simnet and the lab's relay ask it when a packet
// arrives, or why it does not, and act on the answer.
package wan

import (
	"fmt"
	"time"
)

// DefaultQueue is the depth of the FIFO in front of a limited rate when a path names none. 50 ms is what
// the demonstration and most access routers have: a handful of round trips, far from buffer bloat.
const DefaultQueue = 50 * time.Millisecond

// maxDelay bounds Delay, Jitter and Queue: a minute is more than any path on Earth, and keeps sums far
// from the end of time.Duration.
const maxDelay = time.Minute

// Path describes one direction. The zero value is a perfect wire: no delay, no loss, no limit.
type Path struct {
	Delay   time.Duration // one way, from the last bit sent to the last bit received
	Jitter  time.Duration // each packet takes Delay plus a uniform share of [0, Jitter]
	Loss    float64       // probability in [0, 1] that a packet is lost behind the queue
	Rate    int64         // bit/s of the bottleneck; 0 = unlimited
	Queue   time.Duration // longest wait in front of the bottleneck; 0 = DefaultQueue, negative = no queue
	MTU     int           // bytes of the largest packet; 0 = no limit
	Reorder bool          // jitter may let packets overtake each other; otherwise order is kept
}

// Validate returns what makes the path impossible, or nil.
func (p Path) Validate() error {
	switch {
	case p.Delay < 0 || p.Delay > maxDelay:
		return fmt.Errorf("delay %v: want 0 to %v", p.Delay, maxDelay)
	case p.Jitter < 0 || p.Jitter > maxDelay:
		return fmt.Errorf("jitter %v: want 0 to %v", p.Jitter, maxDelay)
	case !(p.Loss >= 0 && p.Loss <= 1):
		return fmt.Errorf("loss %v: want a probability from 0 to 1", p.Loss)
	case p.Rate < 0:
		return fmt.Errorf("rate %d bit/s: want a positive number, or 0 for unlimited", p.Rate)
	case p.Queue > maxDelay:
		return fmt.Errorf("queue %v: want at most %v", p.Queue, maxDelay)
	case p.MTU < 0:
		return fmt.Errorf("mtu %d: want a positive number of bytes, or 0 for no limit", p.MTU)
	}
	return nil
}

// Depth is the longest wait that is accepted in front of the bottleneck: Queue with its default applied.
func (p Path) Depth() time.Duration {
	switch {
	case p.Queue < 0:
		return 0
	case p.Queue == 0:
		return DefaultQueue
	}
	return p.Queue
}

// Drop says why a packet does not arrive.
type Drop uint8

// The reasons, in the order in which a packet meets them.
const (
	Kept   Drop = iota // it arrives
	TooBig             // larger than the path's MTU
	Full               // the queue in front of the bottleneck is full
	Lost               // lost on the way, by the dice
)

// String names the reason as counters and reports print it.
func (d Drop) String() string {
	switch d {
	case Kept:
		return "kept"
	case TooBig:
		return "too big"
	case Full:
		return "queue full"
	case Lost:
		return "lost"
	}
	return fmt.Sprintf("drop(%d)", uint8(d))
}
