package control

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	// probeEvery is the time between two probes of a port: a loop is found within about that.
	probeEvery = time.Second
	// clearAfter is how long a blocked port must hear no probe before it opens: five probes lost in a row are no accident.
	clearAfter = 5 * time.Second
	// replayDepth is how far back a port's own probes are believed when they come back, in probes: the LAN may hold one for
	// a moment, but what is older was recorded and replayed.
	replayDepth = 5
	// maxProbers is how many foreign ports a port remembers against replays; only nodes of the overlay can sign.
	maxProbers = 256
)

// LoopEvent is what can happen to a LoopGuard: PortOpened, PortClosed, ProbeHeard or Tick.
type LoopEvent interface{ loopEvent() }

// LoopEffect is what a LoopGuard wants done: SendProbe, Block or Unblock.
type LoopEffect interface{ loopEffect() }

type (
	// PortOpened says that a LAN port stands; Started as in Probe.
	PortOpened struct {
		Port    string
		Started uint64
	}
	// PortClosed says that a LAN port is gone.
	PortClosed struct{ Port string }
	// ProbeHeard says that a LAN port, blocked or not, heard a probe whose signature is right.
	ProbeHeard struct {
		Port  string
		Probe Probe
	}

	// SendProbe asks to send a probe into the LAN behind a port, blocked or not.
	SendProbe struct {
		Port  string
		Probe Probe
	}
	// Block asks to take and give no frames at a port, except probes.
	Block struct {
		Port string
		By   Probe  // what was heard
		Why  string // for status
	}
	// Unblock asks to open a port again.
	Unblock struct{ Port string }
)

func (PortOpened) loopEvent() {}
func (PortClosed) loopEvent() {}
func (ProbeHeard) loopEvent() {}
func (Tick) loopEvent()       {}

func (SendProbe) loopEffect() {}
func (Block) loopEffect()     {}
func (Unblock) loopEffect()   {}

// LoopGuard keeps the LAN ports of one node from closing a loop through the LAN: of two ports of one overlay that hear each
// other the younger blocks itself, and so does a port that hears itself. A blocked port goes on sending and hearing probes.
type LoopGuard struct {
	self  Probe // overlay and node
	ports map[string]*guarded
}

// guarded is one LAN port.
type guarded struct {
	Probe               // the one sent last
	next      time.Time // when to send the following
	heard     time.Time // last probe that speaks for blocking
	blocked   bool
	heardSeqs map[Probe]uint64 // highest Seq heard, by probe with Seq 0
}

// NewLoopGuard guards the ports of a node. The fields Overlay and Node of self are used.
func NewLoopGuard(self Probe) *LoopGuard {
	return &LoopGuard{self: Probe{Overlay: self.Overlay, Node: self.Node}, ports: map[string]*guarded{}}
}

// Step takes one event and says what is to be done, in order.
func (g *LoopGuard) Step(now time.Time, ev LoopEvent) []LoopEffect {
	switch ev := ev.(type) {
	case PortOpened:
		p := &guarded{Probe: g.self, next: now, heardSeqs: map[Probe]uint64{}}
		p.Port, p.Started = ev.Port, ev.Started
		g.ports[ev.Port] = p
		return g.tick(now)
	case PortClosed:
		delete(g.ports, ev.Port)
	case ProbeHeard:
		return g.hear(now, ev)
	case Tick:
		return g.tick(now)
	}
	return nil
}

// NextTime is when the machine wants a Tick; zero when it wants none.
func (g *LoopGuard) NextTime() time.Time {
	var next time.Time
	for _, p := range g.ports {
		for _, t := range p.times() {
			if next.IsZero() || t.Before(next) {
				next = t
			}
		}
	}
	return next
}

// Blocked lists the ports that are blocked, sorted.
func (g *LoopGuard) Blocked() []string {
	var names []string
	for name, p := range g.ports {
		if p.blocked {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (p *guarded) times() []time.Time {
	if p.blocked {
		return []time.Time{p.next, p.heard.Add(clearAfter)}
	}
	return []time.Time{p.next}
}

func (g *LoopGuard) tick(now time.Time) []LoopEffect {
	var out []LoopEffect
	for _, name := range slices.Sorted(maps.Keys(g.ports)) {
		p := g.ports[name]
		if !now.Before(p.next) {
			p.Seq++
			p.next = now.Add(probeEvery)
			out = append(out, SendProbe{name, p.Probe})
		}
		if p.blocked && now.Sub(p.heard) >= clearAfter {
			p.blocked = false
			out = append(out, Unblock{name})
		}
	}
	return out
}

func (g *LoopGuard) hear(now time.Time, ev ProbeHeard) []LoopEffect {
	p, heard := g.ports[ev.Port], ev.Probe
	if p == nil || heard.Overlay != g.self.Overlay || !p.fresh(g, heard) {
		return nil
	}
	if !heard.samePort(p.Probe) && !p.younger(heard) {
		return nil // the other one gives way
	}
	p.heard = now
	if p.blocked {
		return nil
	}
	p.blocked = true
	why := fmt.Sprintf("the same LAN is already joined through port %s of %s", heard.Port, heard.Node)
	if heard.samePort(p.Probe) {
		why = "its own probe came back: there is a loop in the LAN behind it"
	}
	return []LoopEffect{Block{ev.Port, heard, why}}
}

// fresh says whether a probe is no replay. A node's own ports are checked against what they really sent.
func (p *guarded) fresh(g *LoopGuard, heard Probe) bool {
	if heard.Node == g.self.Node {
		own := g.ports[heard.Port]
		return own != nil && heard.Started == own.Started && heard.Seq <= own.Seq && own.Seq-heard.Seq < replayDepth
	}
	source := heard
	source.Seq = 0
	last, known := p.heardSeqs[source]
	if heard.Seq <= last {
		return false
	}
	if !known && len(p.heardSeqs) >= maxProbers {
		p.forget()
	}
	p.heardSeqs[source] = heard.Seq
	return true
}

// forget drops the source that started first: the least likely to be running still.
func (p *guarded) forget() {
	oldest := slices.MinFunc(slices.Collect(maps.Keys(p.heardSeqs)), func(a, b Probe) int {
		return cmp.Or(cmp.Compare(a.Started, b.Started), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Port, b.Port))
	})
	delete(p.heardSeqs, oldest)
}
