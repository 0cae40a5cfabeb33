package link

import (
	"sync"
	"time"
)

// pulse is the beating of a link's heart. A goroutine of its own sleeps until a heartbeat is due; at the end that accepted the
// link the worker that the peer's heartbeat wakes up beats in its stead. Whoever does holds mu, which guards all fields.
type pulse struct {
	mu     sync.Mutex
	life   life
	limit  time.Duration // silentLimit of the carrier
	alarm  alarm         // wakes the goroutine; nil before start
	base   uint64        // datagrams that had been sealed when the epoch began
	turned time.Time     // when that was
	beats  int
}

// start makes the link's heart beat from now on, at once for the first time.
func (l *Link) start() {
	p, slack := &l.pulse, time.Duration(0)
	if !l.dialled {
		slack = answerSlack
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit = silentLimit; l.stream != nil {
		p.limit = silentLimitTCP
	}
	p.life, p.turned, p.alarm = newLife(l.since, p.limit, slack), l.since, l.e.newAlarm()
}

// tick is the goroutine that sees to it that heartbeats go out in time, until the alarm is closed.
func (l *Link) tick() {
	for l.pulse.alarm.Wait() {
		l.beat(time.Now(), (*life).Step)
	}
}

// keep is the goroutine that clears up at the end.
func (l *Link) keep() {
	<-l.done
	l.pulse.alarm.Close()
	l.clear()
}

// beat judges whether the link lives, and when a heartbeat is due by what due says, sends it and does what is done with each:
// it asks the path and turns the epochs.
func (l *Link) beat(now time.Time, due func(*life, time.Time) (send bool, dead error)) {
	p := &l.pulse
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.alarm == nil || l.mute.Load() {
		return
	}
	if p.life.limit = p.limit; !l.opened.Load() {
		p.life.limit = max(p.limit, udpPatience) // on a long path its first words are still under way
	}
	p.life.Heard(l.since.Add(time.Duration(l.heard.Load())))
	p.life.Told(time.Duration(l.peers.silence.Load()))
	send, dead := due(&p.life, now)
	if dead != nil {
		l.end(dead, false)
		return
	}
	if send {
		l.sendBeat(now, p.life.heard)
		l.spread.step(l, now)
		if p.beats++; (p.beats%upkeepBeats == 0 || l.unanswered.Load() > 1) && !l.upkeep() {
			l.end(errNarrow, false)
			return
		}
		if sent := l.datagramsSealed(); sent-p.base >= l.e.cfg.EpochDatagrams || now.Sub(p.turned) >= l.e.cfg.EpochTime {
			if l.turn() {
				p.base, p.turned = sent, now
			}
		}
	}
	p.alarm.Set(p.life.Next())
}
