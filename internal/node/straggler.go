package node

import (
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/forward"
)

const (
	// straggling is how long frames may still arrive over fast paths for a MAC
	// that has moved away: the least wait for stragglers of a change, doubled,
	// because the word of a move has to reach their source first.
	straggling = 2 * time.Second
	// straggleHops is how many links such a frame may have crossed: those of a
	// fast path of a few hops, and so few that nothing goes round more than once.
	straggleHops = 3
)

// straggler tells where a frame goes that came over a fast path and has no
// further to go there: up the star, when its destination has just moved away
// (DESIGN part 4, "the old host sends stragglers up the star once") or when the
// next hop of its path is gone.
func (w *worker) straggler(s *snapshot, arrival forward.Side, reason forward.Reason, p *ether.Packet) (forward.Side, bool) {
	if s.star == nil || !arrival.IsLink() || arrival == s.star.side || p.Hops > straggleHops {
		return 0, false
	}
	dst := p.Frame.Dst()
	switch reason {
	case forward.DropFastPathNoRule:
		if _, moved := s.moved[dst]; !moved {
			return 0, false
		}
	case forward.DropOutDown:
	default:
		return 0, false
	}
	home, ok := s.table.Learned(dst)
	return home, ok && home == s.star.side && s.star.current.Load() != nil
}

// movedAway remembers a MAC that lived here until now. Snapshots keep the old
// set, so it is copied.
func (s *state) movedAway(mac ether.MAC, now time.Time) {
	moved := map[ether.MAC]time.Time{mac: now.Add(straggling)}
	for other, until := range s.moved {
		if other != mac && now.Before(until) {
			moved[other] = until
		}
	}
	s.moved, s.dirty = moved, true
}

// forgetMoved drops the memory of moves once nothing straggles any more.
func (s *state) forgetMoved(now time.Time) {
	for _, until := range s.moved {
		if now.Before(until) {
			return
		}
	}
	if s.moved != nil {
		s.moved, s.dirty = nil, true
	}
}
