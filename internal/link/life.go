package link

import (
	"errors"
	"time"
)

const (
	beatEvery = 250 * time.Millisecond // between heartbeats, both ways

	// silentLimit is how long a link may be silent: three heartbeats, so that one lost datagram, or two, kill nothing, and
	// frames are back on the star within a second.
	silentLimit = 3 * beatEvery

	// silentLimitTCP is longer: a single lost segment can silence a stream for a retransmission timeout and its doubling
	// (200 + 400 ms), and a peer that is really gone is mostly known by its reset.
	silentLimitTCP = 8 * beatEvery

	// stallGrace is how late our own timer may fire before we conclude that this process stood still, not the peer.
	stallGrace = beatEvery
)

var (
	errSilent = errors.New("the peer has been silent too long")
	errUnsaid = errors.New("the peer does not hear this node")
)

// life judges whether a link lives. It is told what was heard and answers when a heartbeat is due and whether the link is
// dead; one direction being dead is enough. Owned by the link's heartbeat goroutine.
type life struct {
	limit time.Duration // silentLimit of the carrier
	heard time.Time     // the last authenticated sign of life
	beat  time.Time     // when the next heartbeat is due
	due   time.Time     // when the owner was last asked to come back
	deaf  time.Duration // how long the peer says it has not heard us
}

func newLife(now time.Time, limit time.Duration) life {
	return life{limit: limit, heard: now, beat: now, due: now}
}

// Heard reports an authenticated datagram (or stream record) of any kind.
func (l *life) Heard(at time.Time) {
	if at.After(l.heard) {
		l.heard = at
	}
}

// Told reports what the peer's newest heartbeat said: how long it had not heard us when it was sent.
func (l *life) Told(silence time.Duration) { l.deaf = silence }

// Step says whether a heartbeat must be sent now, or why the link is dead. A timer that fired late means that this process
// stood still and could not have heard anything; one more interval is given then.
func (l *life) Step(now time.Time) (send bool, dead error) {
	if late := now.Sub(l.due); late > stallGrace {
		l.Heard(now.Add(beatEvery - l.limit))
	}
	switch {
	case now.Sub(l.heard) >= l.limit:
		return false, errSilent
	case l.deaf >= l.limit:
		return false, errUnsaid
	}
	if now.Before(l.beat) {
		return false, nil
	}
	l.beat = now.Add(beatEvery)
	return true, nil
}

// Next is when Step must be asked again.
func (l *life) Next() time.Time {
	next := l.beat
	if end := l.heard.Add(l.limit); end.Before(next) {
		next = end
	}
	l.due = next
	return next
}
