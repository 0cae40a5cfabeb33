package port

import "sync/atomic"

// reason is why a port lost frames.
type reason int

const (
	dropFull    reason = iota // the other side does not keep up
	dropLong                  // longer than the MTU, and not to be cut
	dropShort                 // no Ethernet header
	dropMarks                 // the marks do not agree with the bytes
	dropDown                  // the interface is down
	dropRefused               // the kernel did not take it, for another reason
	dropLate                  // the kernel had no room, since they were not read in time
	dropWaiting               // too much waited for us already
	dropReasons               // how many there are
)

func (r reason) String() string {
	return [dropReasons]string{"full", "longer than the MTU", "no frame", "marks lie", "interface down", "refused", "not read in time", "queue full"}[r]
}

// drops counts lost Ethernet frames; any goroutine may add.
type drops [dropReasons]atomic.Uint64

func (d *drops) add(r reason, frames int) { d[r].Add(uint64(frames)) }

// reasons returns the counts that are not zero.
func (d *drops) reasons() map[string]uint64 {
	m := make(map[string]uint64)
	for i := range d {
		if n := d[i].Load(); n > 0 {
			m[reason(i).String()] = n
		}
	}
	return m
}
