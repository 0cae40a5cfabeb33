package node

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/forward"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
)

// listen is how long a new LAN port only listens for loop probes before it
// forwards: an older port on the same LAN probes every second.
const listen = 1200 * time.Millisecond

// lanGuard keeps loops through somebody's LAN out (docs/protocol.md, P).
type lanGuard struct {
	blocked atomic.Bool            // written by the loop, read by workers
	why     atomic.Pointer[string] // set while blocked
	echoes  *echoes

	asked    atomic.Uint32 // neighbour requests of guests elsewhere that were given to the LAN
	answered atomic.Bool   // somebody there has sent to a guest elsewhere
}

// sent takes note of a frame that is flooded to the LAN.
func (g *lanGuard) sent(p *ether.Packet) {
	g.echoes.sent(time.Now(), p.Frame)
	if p.Hops > 0 && !g.answered.Load() && neighbourly(p.Frame) {
		g.asked.Add(1)
	}
}

// unanswered is after how many requests in vain a LAN is held to refuse frames of foreign MACs: what asks once a second and
// gets no answer is a guest that looks for a machine which is off; so many are more likely nobody who hears them.
const unanswered = 30

// deafText says what a LAN port suffers from that sends and is never answered; empty if it does not.
func (at *localPort) deafText() string {
	if at.guard == nil || at.guard.answered.Load() || at.guard.asked.Load() < unanswered || at.in.frames.Load() == 0 {
		return ""
	}
	text := fmt.Sprintf("guests elsewhere have asked for neighbours on the LAN of port %s %d times, and nobody there ever sent them a frame: its switch, access point or cloud may refuse frames of foreign MACs", at.name, at.guard.asked.Load())
	if _, do := port.Reluctance(os.DirFS("/sys"), at.port.Info().Interface); do != "" {
		return text + "; " + do
	}
	return text + "; look there for port security, or take another interface"
}

// reluctant takes down which LAN ports will hardly work, and why.
func (s *state) reluctant() {
	for _, at := range s.n.ports {
		if name := at.port.Info().Interface; at.lan && name != "" {
			if why, do := port.Reluctance(os.DirFS("/sys"), name); why != "" {
				s.warning["lan "+at.name] = why + ": " + do
			}
		}
	}
}

// heardProbe is a loop probe that a worker found among the frames of a LAN.
type heardProbe struct {
	at      *localPort
	payload []byte
}

// fromLAN judges a frame that came from a LAN port and that the table would
// treat as action says: drop says why it ends here.
func (n *Node) fromLAN(at *localPort, p *ether.Packet, action forward.Action) (Drop, bool) {
	if p.Frame.EtherType() == control.ProbeEtherType && p.Frame.Dst() == control.ProbeDestination() { // others may use the type too
		select {
		case n.probed <- heardProbe{at, append([]byte(nil), p.Frame[p.Frame.L3():]...)}:
		default: // a flood of probes: the next second brings another true one
		}
		return DropOwnProbe, true
	}
	if at.guard.blocked.Load() {
		return DropBlocked, true
	}
	if !at.guard.answered.Load() && action == forward.Forward && !p.Frame.Dst().IsGroup() {
		at.guard.answered.Store(true)
	}
	if action == forward.FloodTree { // what is not flooded cannot circle
		if at.guard.echoes.heard(time.Now(), p.Frame) {
			return DropReflection, true
		}
	}
	return 0, false
}

func (at *localPort) blockedText() string {
	if why := at.guard.why.Load(); why != nil {
		return "port " + at.name + " is blocked: " + *why
	}
	return "port " + at.name + " is blocked"
}

// lanWatch finds loops through LANs with signed probes. The loop owns it.
type lanWatch struct {
	s     *state
	guard *control.LoopGuard
	key   []byte    // of the overlay; no probe is believed without
	open  time.Time // when listening ends; zero before the key is known
}

func newLANWatch(s *state) *lanWatch {
	self := control.Probe{Overlay: s.n.cfg.Identity.Overlay, Node: s.n.name}
	w := &lanWatch{s: s, guard: control.NewLoopGuard(self)}
	for _, at := range s.n.ports {
		if at.lan {
			s.block(at, "listening whether the LAN loops back to this overlay")
		}
	}
	return w
}

// keyed starts probing with the overlay's key.
func (w *lanWatch) keyed(key []byte) {
	if len(key) == 0 || hmac.Equal(key, w.key) {
		return
	}
	first := w.key == nil
	w.key = key
	if !first {
		return
	}
	now := time.Now()
	w.open = now.Add(listen)
	for i, at := range w.s.n.ports {
		if at.lan {
			w.step(now, control.PortOpened{Port: at.name, Started: uint64(now.UnixMicro()) + uint64(i)})
		}
	}
}

func (w *lanWatch) tick(now time.Time) {
	if w.key == nil {
		return
	}
	if !w.open.IsZero() && now.After(w.open) {
		w.open = time.Time{}
		for _, at := range w.s.n.ports {
			if at.lan && !w.isBlocked(at.name) {
				w.s.unblock(at)
			}
		}
	}
	if next := w.guard.NextTime(); !next.IsZero() && !now.Before(next) {
		w.step(now, control.Tick{})
	}
}

func (w *lanWatch) isBlocked(name string) bool {
	for _, blocked := range w.guard.Blocked() {
		if blocked == name {
			return true
		}
	}
	return false
}

func (w *lanWatch) heard(h heardProbe) {
	if w.key == nil {
		return
	}
	probe, err := control.DecodeProbe(h.payload, w.sign)
	if err != nil {
		return // a stranger's, or a forged one: counted as a loop probe, believed never
	}
	w.step(time.Now(), control.ProbeHeard{Port: h.at.name, Probe: probe})
}

func (w *lanWatch) sign(b []byte) []byte {
	mac := hmac.New(sha256.New, w.key)
	mac.Write(b)
	return mac.Sum(nil)
}

func (w *lanWatch) step(now time.Time, ev control.LoopEvent) {
	for _, effect := range w.guard.Step(now, ev) {
		switch e := effect.(type) {
		case control.SendProbe:
			w.send(e)
		case control.Block:
			w.s.block(w.s.port(e.Port), e.Why)
		case control.Unblock:
			if w.open.IsZero() {
				w.s.unblock(w.s.port(e.Port))
			}
		}
	}
}

func (w *lanWatch) send(e control.SendProbe) {
	payload, err := e.Probe.Encode(w.sign)
	if err != nil {
		w.s.n.cfg.Log.Error("cannot probe for loops", "error", err)
		return
	}
	at := w.s.port(e.Port)
	frame := make(ether.Frame, 14, max(60, 14+len(payload)))
	to, from := control.ProbeDestination(), at.port.Info().MAC
	copy(frame[0:], to[:])
	copy(frame[6:], from[:])
	binary.BigEndian.PutUint16(frame[12:], control.ProbeEtherType)
	frame = append(frame, payload...)
	for len(frame) < 60 { // the shortest Ethernet frame without its checksum
		frame = append(frame, 0)
	}
	at.port.Write(0, []ether.Packet{{Frame: frame}})
}

func (s *state) port(name string) *localPort {
	for _, at := range s.n.ports {
		if at.name == name {
			return at
		}
	}
	return nil
}

func (s *state) block(at *localPort, why string) {
	at.guard.why.Store(&why)
	if at.guard.blocked.Swap(true) {
		return
	}
	s.table, s.dirty = s.table.WithBlocked(at.side, true), true
	s.evict(at)
	s.n.event(Event{Kind: "port.blocked", Text: at.blockedText(), Fields: map[string]string{"port": at.name}})
}

func (s *state) unblock(at *localPort) {
	if !at.guard.blocked.Swap(false) {
		return
	}
	at.guard.why.Store(nil)
	s.table, s.dirty = s.table.WithBlocked(at.side, false), true
	s.n.event(Event{Kind: "port.open", Text: "port " + at.name + " forwards", Fields: map[string]string{"port": at.name}})
}
