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

	// answerSlack is how much later the end that accepted a link beats by its own clock: it answers the heartbeats of the one
	// that dialled, in the same wake-up, and needs its clock only where they do not come. So much may they be late.
	answerSlack = beatEvery / 8

	// stallGrace is how late our own timer may fire before we conclude that this process stood still, not the peer.
	stallGrace = beatEvery
)

var (
	errSilent = errors.New("the peer has been silent too long")
	errUnsaid = errors.New("the peer does not hear this node")
)

// life judges whether a link lives. It is told what was heard and answers when a heartbeat is due and whether the link is
// dead; one direction being dead is enough. Guarded by the link's pulse.
type life struct {
	limit time.Duration // silentLimit of the carrier
	slack time.Duration // how much longer than beatEvery it waits for a heartbeat to answer
	heard time.Time     // the last authenticated sign of life
	beat  time.Time     // when the next heartbeat is due
	due   time.Time     // when the owner was last asked to come back
	deaf  time.Duration // how long the peer says it has not heard us
}

func newLife(now time.Time, limit, slack time.Duration) life {
	return life{limit: limit, slack: slack, heard: now, beat: now, due: now}
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
	if dead := l.dead(now); dead != nil {
		return false, dead
	}
	if now.Before(l.beat) {
		return false, nil
	}
	l.beat = now.Add(beatEvery)
	return true, nil
}

// Answer is Step when a heartbeat of the peer has come: ours goes in the same turn, and the clock is put back until after
// the next of the peer is expected. Only the end with slack answers, so that answers are not answered, and of a burst only
// the first.
func (l *life) Answer(now time.Time) (send bool, dead error) {
	if dead := l.dead(now); dead != nil {
		return false, dead
	}
	if l.slack == 0 || l.beat.Sub(now) > beatEvery {
		return false, nil
	}
	l.beat = now.Add(beatEvery + l.slack)
	return true, nil
}

// dead says why the link is dead, nil while it lives.
func (l *life) dead(now time.Time) error {
	switch {
	case now.Sub(l.heard) >= l.limit:
		return errSilent
	case l.deaf >= l.limit:
		return errUnsaid
	}
	return nil
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
