package seal

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// Receiver opens what one peer sealed under one key. It may be used by many workers at once: frames of one lane may come by
// two paths.
type Receiver struct {
	Peer Peer
	ID   ID
	Born time.Time

	key     *key
	opened  atomic.Uint64
	refused atomic.Uint64
	windows [maxLanes + 1]atomic.Pointer[window] // of lanes that have authenticated themselves
}

// Opened is how many frames were genuine, Refused how many were not, or came twice.
func (r *Receiver) Opened() uint64  { return r.opened.Load() }
func (r *Receiver) Refused() uint64 { return r.refused.Load() }

// Open opens a sealed packet in place and makes it the one that was sealed. False leaves it to be dropped: it was not sealed
// with this key, was altered, or came before.
func (r *Receiver) Open(p *ether.Packet, m *Scratch) bool {
	f := p.Frame
	text, lane, ok := r.open(f, m)
	if !ok || lane >= maxLanes || len(text) < flagsLen || text[0]&^flagPartial != 0 {
		r.refused.Add(1)
		return false
	}
	at, marks := headLen+flagsLen, ether.Offload{}
	if text[0]&flagPartial != 0 {
		if len(text) < flagsLen+marksLen {
			r.refused.Add(1)
			return false
		}
		marks.Flags = ether.NeedsChecksum
		marks.CsumStart, marks.CsumOffset = binary.BigEndian.Uint16(text[1:]), binary.BigEndian.Uint16(text[3:])
		at += marksLen
	}
	copy(f[at-addresses:at], f[:addresses])
	p.Frame, p.Offload = f[at-addresses:headLen+len(text)], marks
	if p.Check() != nil {
		r.refused.Add(1)
		return false
	}
	r.opened.Add(1)
	return true
}

// open authenticates and decrypts in place what stands behind the head.
func (r *Receiver) open(f []byte, m *Scratch) (text []byte, lane uint8, ok bool) {
	if len(f) < headLen+tagLen {
		return nil, 0, false
	}
	lane = f[ether.HeaderLen+1]
	counter := binary.BigEndian.Uint64(f[ether.HeaderLen+6:])
	if lane > noteLane || !r.windows[lane].Load().fresh(counter) {
		return nil, lane, false
	}
	copy(m.head[:], f)
	body := f[headLen:]
	text, err := r.key.aead.Open(body[:0], r.key.nonce(m, lane, counter), body, m.head[:])
	if err != nil {
		return nil, lane, false
	}
	w := r.windows[lane].Load()
	if w == nil {
		r.windows[lane].CompareAndSwap(nil, &window{}) // once a lane, and only for a peer that has proved itself
		w = r.windows[lane].Load()
	}
	return text, lane, w.accept(counter)
}

// ReadNote opens what Note sealed.
func (r *Receiver) ReadNote(raw []byte) ([]byte, error) {
	var m Scratch
	text, lane, ok := r.open(raw, &m)
	if !ok || lane != noteLane {
		return nil, errors.New("cannot open the note: it was not sealed by its sender, or came before")
	}
	return text, nil
}

// NoteID is whose key a note says it needs; false when it is none.
func NoteID(raw []byte) (ID, bool) {
	if len(raw) < headLen+tagLen {
		return 0, false
	}
	return IDOf(raw), true
}

// windowSize is how many counters a lane's window tells apart: paths of different length reorder by more than queues do.
const windowSize = 4096

// window refuses counters that came before, without a lock: each cell holds the newest counter of those that share it. A
// counter is accepted once, when it is newer than what its cell holds; one that is windowSize behind finds a newer there.
type window struct{ cells [windowSize]atomic.Uint64 }

// fresh says whether a counter could be accepted; of a lane that has none yet all but 0 could.
func (w *window) fresh(c uint64) bool {
	return c != 0 && (w == nil || w.cells[c%windowSize].Load() < c)
}

func (w *window) accept(c uint64) bool {
	cell := &w.cells[c%windowSize]
	for {
		old := cell.Load()
		if old >= c {
			return false
		}
		if cell.CompareAndSwap(old, c) {
			return true
		}
	}
}
