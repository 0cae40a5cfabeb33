package port

import (
	"sync/atomic"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// offloadQueue is the name of a bounded queue among what a port leaves to the kernel.
const offloadQueue = "queue"

const (
	// longFrame is how many bytes make a frame a long one: more than an ordinary frame or a few small datagrams joined to one have, less
	// than a super-frame or a jumbo frame.
	longFrame = 4096
	// defaultQueueBytes is how much may wait for us in a queue of a TAP before the kernel turns long frames away: what a link of
	// 8 Gbit/s carries in 1.6 ms, or 26 super-frames. Less costs a TCP stream some of its rate, more is delay (docs/performance.md).
	defaultQueueBytes = 3 << 19
	// ringLag is how many places of its ring the kernel may still hold after we have read what was in them: it gives them back two lines of
	// the cache at a time (__ptr_ring_consume in ptr_ring.h).
	ringLag = 16
	// sayPackets and sayBytes are how much a reader takes before it says so: a thirtieth of what may wait.
	sayPackets = 16
	sayBytes   = 48 << 10
	// recount is how often a reader that sleeps looks whether it may: the kernel may lose what it has counted in (a ring that its owner makes
	// shorter, memory that it lacks), and once as much was lost as may wait, no frame would come any more and wake the reader.
	recount = 30 * time.Second
	// unbounded is a bound that is never reached.
	unbounded = 1 << 62
)

// tally is what waits for us in one queue of a TAP, counted by both sides: the kernel lets a frame in only while less waits than may
// (rationProgram has the rule), and we count what we have read. It lies in memory that both share: the first line of the cache is written by
// the kernel, the second by the reader of the queue, but for the bounds, which whoever sets them writes.
type tally struct {
	inBytes, inPackets uint64 // let in since the start
	turned             uint64 // Ethernet frames turned away
	_                  [40]byte

	outBytes, outPackets uint64 // read since the start, or found lost
	maxBytes, maxPackets uint64 // may wait: bytes before a long frame is turned away, packets before any is
	_                    [32]byte
}

// fits is how many packets surely find room in a ring of so many places.
func fits(places int) uint64 { return uint64(max(places-ringLag, (places+1)/2)) }

// reckoning is the reader's side of a tally. It says seldom what it has read, since every word takes a line of the cache from the kernel's
// side and back. It belongs to the reader; its zero value counts nothing.
type reckoning struct {
	tally          *tally
	packets, bytes int // read and not yet said
}

// read is told what the reader has taken out of the queue.
func (r *reckoning) read(packets []ether.Packet) {
	if r.tally == nil {
		return
	}
	for i := range packets {
		r.bytes += len(packets[i].Frame)
	}
	if r.packets += len(packets); r.packets >= sayPackets || r.bytes >= sayBytes {
		atomic.AddUint64(&r.tally.outPackets, uint64(r.packets))
		atomic.AddUint64(&r.tally.outBytes, uint64(r.bytes))
		r.packets, r.bytes = 0, 0
	}
}

// empty is told that nothing waits, before the reader sleeps: whatever came in is out, also what the kernel counted and then lost.
func (r *reckoning) empty() {
	if t := r.tally; t != nil {
		atomic.StoreUint64(&t.outPackets, atomic.LoadUint64(&t.inPackets))
		atomic.StoreUint64(&t.outBytes, atomic.LoadUint64(&t.inBytes))
		r.packets, r.bytes = 0, 0
	}
}

// admits is the kernel's program in Go: whether one more frame of this length is let in.
func (t *tally) admits(length int) bool {
	if int64(t.inPackets-t.outPackets) >= int64(t.maxPackets) {
		return false
	}
	return length <= longFrame || int64(t.inBytes-t.outBytes) < int64(t.maxBytes)
}
