package link

import (
	"slices"
	"sync"
	"time"
)

const (
	maxPieces = 8 // pieces of one frame: 8 × 1,150 bytes hold a 9,000-byte guest frame on the smallest path

	pieceWait   = 500 * time.Millisecond // a piece that comes later than this after the first is of no use
	pieceFrames = 32                     // half-arrived frames a link holds
	pieceSpare  = 96                     // frames whose memory is kept for the next
	pieceBytes  = 512 << 10              // bytes of half-arrived frames a link holds
)

// cutPieces says into how many equal pieces n bytes must be cut to fit room each (the last may be shorter), and how long
// they are. ok is false when maxPieces would not do.
func cutPieces(n, room int) (count, size int, ok bool) {
	if room <= 0 || n <= 0 || n > room*maxPieces {
		return 0, 0, false
	}
	count = (n + room - 1) / room
	return count, (n + count - 1) / count, true
}

// joiner puts split frames together again, for all workers that receive of a link.
type joiner struct {
	mu    sync.Mutex // guards the following
	open  map[pieceKey]*partial
	held  int        // bytes held in open
	spare []*partial // memory to use again
	lost  uint64     // frames given up: too late, too many, or contradicting themselves
}

type pieceKey struct {
	lane uint16
	id   uint16
}

type partial struct {
	first time.Time
	count uint8
	have  uint8 // bit set of the pieces that have arrived
	size  int   // bytes of every piece but the last; 0 until one is known
	tail  []byte
	head  record // of the first piece: hops and offload marks
	buf   []byte
}

// add takes one piece and returns the whole frame when it was the last one missing. The frame's memory belongs to the
// joiner again after recycle.
func (j *joiner) add(now time.Time, lane uint16, r record) (*partial, bool) {
	if j.open == nil {
		j.open = make(map[pieceKey]*partial)
	}
	key := pieceKey{lane, r.piece.id}
	p := j.open[key]
	if p != nil && (p.count != r.piece.count || now.Sub(p.first) > pieceWait) {
		j.drop(key, p) // the id came round again: what was there will never be whole
		p = nil
	}
	if p == nil {
		for len(j.open) >= pieceFrames || len(j.open) > 0 && j.held+len(r.bytes)*int(r.piece.count) > pieceBytes {
			j.dropOldest()
		}
		p = j.fresh()
		p.first, p.count = now, r.piece.count
		j.open[key] = p
	}
	if !j.put(p, r) {
		j.drop(key, p)
		return nil, false
	}
	if p.have != uint8(1<<p.count-1) {
		return nil, false
	}
	delete(j.open, key)
	j.held -= len(p.buf) + len(p.tail)
	p.buf = append(p.buf[:p.size*(int(p.count)-1)], p.tail...)
	return p, true
}

// put stores one piece; false means it contradicts the others.
func (j *joiner) put(p *partial, r record) bool {
	bit := uint8(1) << r.piece.index
	if p.have&bit != 0 {
		return true // cannot happen behind the replay window; harmless
	}
	last := r.piece.index == p.count-1
	if r.piece.index == 0 {
		p.head = record{hops: r.hops, offload: r.offload}
	}
	before := len(p.buf) + len(p.tail)
	if last {
		p.tail = append(p.tail[:0], r.bytes...)
	} else {
		if p.size == 0 {
			p.size = len(r.bytes)
		}
		if len(r.bytes) != p.size || p.size == 0 {
			return false
		}
		at := p.size * int(r.piece.index)
		if need := at + p.size; len(p.buf) < need {
			p.buf = slices.Grow(p.buf, need-len(p.buf))[:need]
		}
		copy(p.buf[at:], r.bytes)
	}
	j.held += len(p.buf) + len(p.tail) - before // also of what contradicts the others: drop gives it all back
	if p.size != 0 && len(p.tail) > p.size {
		return false
	}
	p.have |= bit
	return true
}

// dropOldest gives up the frame that has waited longest: the newest is the one most likely to be completed.
func (j *joiner) dropOldest() {
	var oldest pieceKey
	var at time.Time
	for key, p := range j.open {
		if at.IsZero() || p.first.Before(at) {
			oldest, at = key, p.first
		}
	}
	j.drop(oldest, j.open[oldest])
}

func (j *joiner) drop(key pieceKey, p *partial) {
	delete(j.open, key)
	j.held -= len(p.buf) + len(p.tail)
	j.lost++
	j.recycle(p)
}

func (j *joiner) fresh() *partial {
	if n := len(j.spare); n > 0 {
		p := j.spare[n-1]
		j.spare = j.spare[:n-1]
		*p = partial{buf: p.buf[:0], tail: p.tail[:0]}
		return p
	}
	return new(partial)
}

// recycle takes back the memory of a frame that add returned.
func (j *joiner) recycle(p *partial) {
	if len(j.spare) < pieceSpare {
		j.spare = append(j.spare, p)
	}
}
