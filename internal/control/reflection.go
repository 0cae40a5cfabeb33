package control

import (
	"sync/atomic"
	"time"
)

const (
	// reflectionWindow is how long a frame sent into a LAN is taken for its own echo when it comes back.
	reflectionWindow = 2 * time.Second
	// reflectionWays is how many frames share a slot before the oldest is forgotten.
	reflectionWays = 4
	// reflectionTimeBits is the part of an entry that holds its time, in ms: 24 bits go round after 4.6 h.
	reflectionTimeBits = 24
)

// Reflections remembers the group frames that were sent into a LAN within the last 2 s, in fixed memory and without
// allocation. Unlike the rest of this room it may be used by all workers at once: an entry is one atomic word, and a lost
// race costs one remembered frame.
type Reflections struct {
	mask  uint64
	slots []atomic.Uint64 // reflectionWays a bucket; 40 bits of hash, 24 bits of time; 0 = empty
}

// NewReflections makes room for about size frames within 2 s; 0 means 4,096 (32 KiB), enough for 2,000 group frames a second.
func NewReflections(size int) *Reflections {
	if size <= 0 {
		size = 4096
	}
	buckets := uint64(1)
	for buckets*reflectionWays < uint64(size) {
		buckets *= 2
	}
	return &Reflections{mask: buckets - 1, slots: make([]atomic.Uint64, buckets*reflectionWays)}
}

// Sent notes a frame, by a hash of all its bytes, that goes out into the LAN.
func (r *Reflections) Sent(now time.Time, hash uint64) {
	bucket, tag, at := r.place(now, hash)
	oldest, age := 0, uint64(0)
	for i := range bucket {
		e := bucket[i].Load()
		if e == 0 || e>>reflectionTimeBits == tag {
			oldest = i
			break
		}
		if a := since(e, at); a >= age {
			oldest, age = i, a
		}
	}
	bucket[oldest].Store(tag<<reflectionTimeBits | at)
}

// Seen says whether a frame that came in from the LAN was sent into it within the last 2 s.
func (r *Reflections) Seen(now time.Time, hash uint64) bool {
	return r.SeenWithin(now, hash, reflectionWindow)
}

// SeenWithin is Seen for a shorter time.
func (r *Reflections) SeenWithin(now time.Time, hash uint64, window time.Duration) bool {
	bucket, tag, at := r.place(now, hash)
	for i := range bucket {
		e := bucket[i].Load()
		if e != 0 && e>>reflectionTimeBits == tag && since(e, at) < uint64(window/time.Millisecond) {
			return true
		}
	}
	return false
}

// place finds the bucket of a hash, and its tag (never 0) and time as entries hold them.
func (r *Reflections) place(now time.Time, hash uint64) (bucket []atomic.Uint64, tag, at uint64) {
	first := (hash & r.mask) * reflectionWays
	return r.slots[first : first+reflectionWays], hash>>reflectionTimeBits | 1, uint64(now.UnixMilli()) & (1<<reflectionTimeBits - 1)
}

// since is the age of an entry in ms; one that another worker noted a moment later than our now is new.
func since(e, at uint64) uint64 {
	const round, slack = 1 << reflectionTimeBits, 1000
	age := (at - e) & (round - 1)
	if age > round-slack {
		return 0
	}
	return age
}
