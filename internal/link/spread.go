package link

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// proveFor is how long an extra port is asked before it counts as shut: eight probes.
	proveFor = 8 * beatEvery
	// portNarrow is how long an extra port that carries may leave probes of full size unanswered: those of upkeepTries.
	portNarrow = (upkeepTries + 1) * upkeepBeats * beatEvery
	// portRetry is when an extra port that was given up is tried again; the time doubles up to portRetryMost.
	portRetry     = 5 * time.Second
	portRetryMost = 5 * time.Minute
	// portTick is the unit of the time that a probe from an extra port has as its number: 32 bits last for 497 days.
	portTick = 10 * time.Millisecond
)

// spread has the lanes of a link send from several ports, where its user wants that. An extra port carries while its probes
// are answered; else its lanes are with the first port.
type spread struct {
	want atomic.Int32 // extra ports that the user wants

	mu    sync.Mutex // guards the following
	ways  []*way     // one an extra port
	beats int
	last  time.Duration // when step was called, since the link began
}

// way is the use that a link makes of an extra port. Times are since the link began.
type way struct {
	port  *extraPort
	up    bool
	why   string        // not
	began time.Duration // of this attempt
	pause time.Duration // before the next
	heard time.Duration // when the newest probe that was answered was sent
	full  time.Duration // likewise of those of full size
}

// ExtraPort is the state of one extra source port of a link.
type ExtraPort struct {
	Port uint16 // of this node; 0 when it could not be opened
	Up   bool   // it carries
	Why  string // it does not
}

// ExtraPortCount checks how many extra ports somebody wants.
func ExtraPortCount(n uint32) (int, error) {
	if n > MaxExtraPorts {
		return 0, fmt.Errorf("cannot use %d extra ports: a link has at most %d", n, MaxExtraPorts)
	}
	return int(n), nil
}

// SetExtraPorts says from how many ports beside the first the link sends, at most MaxExtraPorts. Over tcp it means nothing.
func (l *Link) SetExtraPorts(n int) { l.spread.want.Store(int32(max(0, min(n, MaxExtraPorts)))) }

// ExtraPorts says of each port that SetExtraPorts asked for whether it carries.
func (l *Link) ExtraPorts() (all []ExtraPort) {
	s := &l.spread
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.ways {
		one := ExtraPort{Up: w.up, Why: w.why}
		if w.port != nil {
			one.Port = w.port.sock.LocalAddr().Port()
		}
		all = append(all, one)
	}
	return all
}

// step is called with every heartbeat: it asks the extra ports, judges them by what was answered, and has the lanes send by
// those that carry.
func (s *spread) step(l *Link, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	want, clock := int(s.want.Load()), l.clock(now)
	late := clock - s.last - beatEvery
	if s.last = clock; l.stream != nil || !l.opened.Load() || want == 0 && len(s.ways) == 0 {
		return
	}
	before := len(s.ways)
	s.ways = s.ways[:min(before, want)]
	changed := len(s.ways) < before
	for len(s.ways) < want {
		s.ways = append(s.ways, &way{began: clock, why: "it is being tried"})
	}
	s.beats++
	patience := silentLimit + beatEvery + time.Duration(l.peers.rtt.Load())
	if late > stallGrace { // this process stood still and could not hear anything
		patience += late
	}
	for k, w := range s.ways {
		was := w.up
		w.judge(clock, patience)
		w.ask(l, k, clock, s.beats%upkeepBeats == 0)
		changed = changed || w.up != was
	}
	if changed {
		s.allot(l)
	}
}

// judge decides whether an extra port carries.
func (w *way) judge(clock, patience time.Duration) {
	switch {
	case w.up && clock-w.heard > patience:
		w.shut(clock, "its probes are not answered any more")
	case w.up && clock-w.full > portNarrow+patience:
		w.shut(clock, "its path no longer takes datagrams of the proved size")
	case w.up, clock < w.began:
	case w.full > 0 && w.full >= w.began.Truncate(portTick):
		w.up, w.why, w.pause = true, "", 0
	case clock-w.began > proveFor+patience:
		w.shut(clock, "no answer: what is on the way lets no further port through, or the peer's release has none")
	}
}

// shut gives an extra port up for a while.
func (w *way) shut(clock time.Duration, why string) {
	w.up, w.why = false, why
	w.pause = min(max(2*w.pause, portRetry), portRetryMost)
	w.began = clock + w.pause
}

// ask sends a probe from an extra port: at full size until one was answered, then as full says.
func (w *way) ask(l *Link, k int, clock time.Duration, full bool) {
	if clock < w.began {
		return
	}
	if w.port == nil {
		p, err := l.e.extra(k)
		if err != nil {
			w.shut(clock, err.Error())
			return
		}
		w.port = p
	}
	size := houseHead
	if full || !w.up {
		size = l.MTU()
	}
	m := probe{id: uint32(clock / portTick), size: uint16(size)}
	l.sendHouseBy(w.port.sock, portLane(k), l.Remote(), size, m.put)
}

// answered takes the peer's answer to a probe from port k. How old it is, it says itself.
func (s *spread) answered(k int, m probe, clock time.Duration, mtu int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := time.Duration(m.id) * portTick
	if k >= len(s.ways) || asked > clock {
		return
	}
	w := s.ways[k]
	w.heard = max(w.heard, asked)
	if int(m.size) >= mtu {
		w.full = max(w.full, asked)
	}
}

// allot gives each lane a port: in turn, so that the lanes of one device's queues, and those of the sockets, have different
// ones. A lane that changes its port may have frames overtake those that are under way.
func (s *spread) allot(l *Link) {
	ports := []*extraPort{nil} // the first
	for _, w := range s.ways {
		if w.up {
			ports = append(ports, w.port)
		}
	}
	first := l.e.cfg.FirstLane
	for i := range l.lanes {
		n := i
		if i >= first {
			n = i - first
		}
		l.lanes[i].via.Store(ports[n%len(ports)])
	}
}
