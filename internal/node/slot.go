package node

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/forward"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// unclaimed is how long a fast path that a peer opened stays without anyone
// having asked for it: the peer's stage may come before ours.
const unclaimed = 10 * time.Second

// slot is the place of one neighbour in the forwarding table. Sessions come and
// go in it (a fresh handshake, another carrier) while its side stays.
type slot struct {
	peer overlay.Name
	side forward.Side
	kind link.Kind

	current atomic.Pointer[link.Link] // the session frames are sent on; nil when down. Written by the loop.
	storm   bucket                    // of flooded frames that came from the neighbour; at the Proxy

	// The loop owns all below.
	live    []*session
	wanted  bool // the star, a stage or the cache asks for it
	origin  overlay.Origin
	spec    control.LinkSpec
	keeper  *keeper
	born    time.Time
	since   time.Time // of the present state, up or down
	lastErr string
	waiting []func(error) // told once, when the slot is up and proven, or has failed
}

// session is one link in a slot.
type session struct {
	l       *link.Link
	ready   bool      // its far end has said that it delivers what we send on it
	greeted bool      // we dialled it and have greeted: its far end took it, so it delivers, and the answer is under way
	at      time.Time // when it came into the slot
	retires time.Time // when it is closed, unless it carries frames again; zero while nothing has taken its place
	heard   uint64    // frames it had carried to us when retires was set
}

// slot finds or makes the place of a neighbour.
func (s *state) slot(peer overlay.Name) *slot {
	if one, ok := s.byPeer[peer]; ok {
		return one
	}
	one := &slot{peer: peer, side: forward.LinkSide(len(s.slots)), kind: link.Fast, born: time.Now(), since: time.Now()}
	if s.n.isProxy() || peer == s.proxy {
		one.kind = link.Star
	}
	s.slots = append(s.slots, one)
	s.byPeer[peer] = one
	s.table, s.dirty = s.table.WithDown(one.side, true), true
	if one.kind == link.Star {
		s.refloods()
	}
	return one
}

// attach takes a new session into a slot. It carries frames to us from now on;
// frames go out on it once its far end is ready for them.
func (s *state) attach(one *slot, l *link.Link) {
	one.live = append(one.live, &session{l: l, at: time.Now()})
	l.Start(one)
	if s.n.trust.Refuses(l.Key()) { // the list came while it was set up
		l.Close("revoked")
	}
}

// greeted says that we dialled l and have said who we are.
func (s *state) greeted(one *slot, l *link.Link) {
	for _, in := range one.live {
		if in.l == l {
			in.greeted = true
		}
	}
	s.choose(one)
}

// readied says that the far end of l delivers from now on.
func (s *state) readied(one *slot, l *link.Link) {
	for _, in := range one.live {
		if in.l == l {
			in.ready = true
		}
	}
	s.choose(one)
	s.supersede(one)
}

// supersede has the sessions that others have taken the place of retire: those
// worse than the current one, by the rule that both ends go by. Who dialled one
// closes it, so that it is closed once.
func (s *state) supersede(one *slot) {
	best := s.best(one)
	if best == nil || !best.ready {
		return
	}
	for _, in := range one.live {
		if in != best && in.l.Dialled() && in.retires.IsZero() && s.better(one, best, in) {
			in.heard = in.l.Stats().FramesReceived
			in.retires = time.Now().Add(max(overlap, 2*in.l.Stats().RTT, 2*best.l.Stats().RTT))
		}
	}
}

// retireSessions closes replaced sessions whose time has come. One that carries
// frames to us has a far end that has not chosen yet, and one that carries frames
// again, because its successor died, is needed: they stay.
func (s *state) retireSessions(one *slot, now time.Time) {
	for _, in := range one.live {
		if in.retires.IsZero() || now.Before(in.retires) {
			continue
		}
		switch heard := in.l.Stats().FramesReceived; {
		case one.current.Load() == in.l:
			in.retires = time.Time{}
		case heard != in.heard:
			in.heard, in.retires = heard, now.Add(overlap)
		default:
			in.l.Close("replaced")
		}
	}
}

// detach forgets a session that has ended; its account is open until nothing of it can arrive any more.
func (s *state) detach(one *slot, l *link.Link) {
	one.live = slices.DeleteFunc(one.live, func(in *session) bool { return in.l == l })
	s.fading[l] = true
	if err := l.Err(); err != nil {
		one.lastErr = err.Error()
	}
	s.choose(one)
	if one.keeper != nil {
		one.keeper.poke()
	}
}

// choose makes the best session the current one.
func (s *state) choose(one *slot) {
	was := one.current.Load()
	var now *link.Link
	if best := s.best(one); best != nil {
		now = best.l
	}
	if was == now {
		return
	}
	one.current.Store(now)
	if (was == nil) == (now == nil) {
		return // a swap: the side stays up, nothing to publish
	}
	one.since = time.Now()
	s.table, s.dirty = s.table.WithDown(one.side, now == nil), true
	if one.kind == link.Star {
		s.refloods()
		if one == s.star {
			s.starUp = now != nil
		}
	}
	s.n.event(slotEvent(one, now))
	s.publish()
}

// best is the session that both ends prefer: one dialled by the lower name
// (control.Stays), and of these the one dialled last. They agree on that because a
// dialler waits for one session to be taken before it dials the next; the first
// messages of two may overtake each other. While the link is up, a greeted one
// steps in for want of a ready one; a link that comes up waits for the answer, so
// that it is up at both ends.
func (s *state) best(one *slot) (best *session) {
	up := one.current.Load() != nil
	for _, in := range one.live {
		switch {
		case in.l.Err() != nil || !in.ready && !(up && in.greeted):
		case best == nil || in.ready && !best.ready || in.ready == best.ready && s.better(one, in, best):
			best = in
		}
	}
	return best
}

func (s *state) better(one *slot, a, b *session) bool {
	mine, theirs := s.byLower(one, a.l), s.byLower(one, b.l)
	if mine != theirs {
		return mine
	}
	return a.at.After(b.at)
}

// byLower tells whether the lower of the two names dialled l.
func (s *state) byLower(one *slot, l *link.Link) bool {
	return l.Dialled() == (s.n.name < one.peer)
}

// want keeps a link to peer from now on.
func (s *state) want(spec control.LinkSpec) *slot {
	one := s.slot(spec.Peer)
	if c, err := link.ParseCipher(spec.Cipher); err == nil && spec.Cipher != "" {
		s.seal(spec.Peer, c)
	}
	if spec.ExtraPorts > 0 {
		s.widen(spec.Peer, spec.ExtraPorts)
	}
	one.wanted, one.spec, one.origin = true, spec, spec.Origin
	if one.keeper == nil && (spec.Dial || one == s.star) {
		one.keeper = startKeeper(s.n, one, spec)
	} else if one.keeper != nil {
		one.keeper.retarget(spec)
	}
	return one
}

// unwant lets the link to peer go. The star cannot be let go.
func (s *state) unwant(peer overlay.Name) {
	one, ok := s.byPeer[peer]
	if !ok || one.kind == link.Star {
		return
	}
	one.wanted = false
	if one.spec.Cipher != "" && one.origin == overlay.OriginUser {
		s.seal(peer, link.AutoCipher) // it was said of this link
	}
	if one.spec.ExtraPorts > 0 && one.origin == overlay.OriginUser {
		s.widen(peer, 0)
	}
	if one.keeper != nil {
		one.keeper.stop()
		one.keeper = nil
	}
	// Out of the slot before they are closed: whoever wants the link again at once
	// must not take one that is ending for one that stands.
	ending := one.live
	one.live = nil
	s.choose(one)
	for _, in := range ending {
		s.fading[in.l] = false
		in.l.Close("no longer wanted")
	}
	s.saveLinks()
}

// expireSlots closes sessions that were replaced, and fast paths that nobody asked for in time.
func (s *state) expireSlots(now time.Time) {
	for _, one := range s.slots {
		s.retireSessions(one, now)
		if one.kind == link.Fast && !one.wanted && len(one.live) > 0 && now.Sub(one.live[0].at) > unclaimed {
			for _, in := range one.live {
				in.l.Close("not asked for by the Proxy")
			}
		}
	}
}
