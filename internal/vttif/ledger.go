package vttif

import (
	"math"
	"time"
)

// ledger knows which reports were counted already, so that late and duplicate ones do no harm. Deltas add up in any order.
type ledger struct {
	nodes map[string]*attendance
	limit int
}

// attendance is one node's: its present boot and the one before, so that a straggler of the old does not void the new.
type attendance struct {
	now, before session
	heard       time.Duration
	ms          int64 // of the node's own clock, up to which bins came; it does not wrap
}

// session is the reports of one boot: the highest number and which of the 64 up to it were counted.
type session struct{ boot, high, seen uint64 }

// fresh tells whether the report is to be counted, and remembers it; and the time it covers, 0 if that is not known. A node
// that cannot reach the Proxy lets its deltas add up without numbering reports, one that has nothing to say numbers reports
// without sending them: so a report covers the time since the one before, divided by the numbers that passed.
func (l *ledger) fresh(at time.Duration, r *Report) (covers time.Duration, ok bool) {
	a := l.nodes[r.Node]
	if a == nil {
		if len(l.nodes) >= l.limit {
			l.dropLongestSilent()
		}
		a = &attendance{now: session{boot: r.Boot}}
		l.nodes[r.Node] = a
	}
	silent := at - a.heard
	a.heard = at
	switch high := a.now.high; {
	case r.Boot == a.now.boot && r.Seq > high && high > 0:
		covers = silent / time.Duration(min(r.Seq-high, math.MaxInt32))
	case r.Boot == a.now.boot:
	case r.Boot == a.before.boot:
		return 0, a.before.fresh(r.Seq)
	default:
		a.before, a.now, a.ms = a.now, session{boot: r.Boot}, 0
	}
	return covers, a.now.fresh(r.Seq)
}

// msOf extends the clock of a report's bins, which wraps every 49 days, and notes how far it came.
func (l *ledger) msOf(r *Report) (from int64) {
	a := l.nodes[r.Node]
	if a.ms == 0 {
		a.ms = msStart + int64(r.BinsFrom)
	}
	from = a.ms + int64(int32(r.BinsFrom-uint32(a.ms-msStart)))
	a.ms = max(a.ms, from+int64(r.BinsLen))
	return max(from, 0)
}

// msStart keeps the extended clock above 0 whatever a late report says.
const msStart = 1 << 40

// until is how far the clock of a pulse's node came.
func (l *ledger) until(p *pulse) int64 {
	if a := l.nodes[p.node]; a != nil && a.now.boot == p.boot {
		return max(a.ms, p.until)
	}
	return p.until
}

func (l *ledger) dropLongestSilent() {
	oldest := ""
	for name, a := range l.nodes {
		if o := l.nodes[oldest]; o == nil || a.heard < o.heard || a.heard == o.heard && name < oldest {
			oldest = name
		}
	}
	delete(l.nodes, oldest)
}

// sessionBits is how many reports back a late one is still told from a duplicate: 6.4 s at 10 Hz, longer than a window.
const sessionBits = 64

func (s *session) fresh(seq uint64) bool {
	switch {
	case seq == 0 || seq+sessionBits <= s.high:
		return false
	case seq > s.high:
		s.seen <<= min(seq-s.high, sessionBits) // a shift by 64 or more leaves 0
		s.seen |= 1
		s.high = seq
		return true
	}
	bit := uint64(1) << (s.high - seq)
	if s.seen&bit != 0 {
		return false
	}
	s.seen |= bit
	return true
}
