package node

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/forward"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// learnedBit marks the ids of rules that a node makes for itself. They are
// above all ids the Proxy gives, so that in a tie the Proxy's rule wins.
const learnedBit = 1 << 63

// state is all that changes in a node. The loop owns it.
type state struct {
	n *Node

	rules map[uint64]overlay.Rule // of origin user and adapted, by id
	table *forward.Table
	flood forward.Flood
	dirty bool // the snapshot is older than this state

	slots  []*slot
	byPeer map[overlay.Name]*slot
	star   *slot // to the Proxy; nil at the Proxy
	proxy  overlay.Name

	learnedRules map[uint64]overlay.Rule // by id; not cached on disk, learned anew
	local        map[ether.MAC]*resident
	own          map[ether.MAC]bool // of the interfaces behind LAN ports: constant, never learned elsewhere
	places       map[ether.MAC]control.Place
	directory    uint64 // version
	generation   uint64
	learnEpoch   uint64
	moved        map[ether.MAC]time.Time // away for so short that frames straggle, until when
	flushedAt    time.Time               // when announcements did not wait for the tick
	bound        *bindings
	limits       []overlay.PortLimit // of this node's ports
	claimAt      time.Time           // when refused claims to MACs are made again; zero when there are none
	relearnAt    time.Time
	ageAt        time.Time
	placesAt     time.Time // when the directory is written to disk; zero when it is there
	unsaved      unsaved
	announce     map[ether.MAC]control.Sighting // not told yet
	announced    uint64                         // sequence number
	traffic      reporter

	seals   *seals
	stages  stages
	lans    *lanWatch
	under   underlayWatch
	fading  map[*link.Link]bool // sessions that are out of their slots, but whose account may still change; true: detached
	ended   linkTotals          // of those before
	starUp  bool
	renewal renewal
	warning map[string]string
}

func newState(n *Node) *state {
	s := &state{
		n: n, rules: map[uint64]overlay.Rule{}, byPeer: map[overlay.Name]*slot{},
		local: map[ether.MAC]*resident{}, own: map[ether.MAC]bool{}, learnedRules: map[uint64]overlay.Rule{}, places: map[ether.MAC]control.Place{},
		announce: map[ether.MAC]control.Sighting{}, warning: map[string]string{}, fading: map[*link.Link]bool{},
	}
	s.seals = &seals{s: s, peers: map[overlay.Name]*sealPeer{}}
	s.traffic = newReporter(n)
	s.bound = newBindings(s)
	s.stages = newStages(s)
	s.flood = forward.Flood{Proxy: n.isProxy()}
	for _, at := range n.ports {
		s.flood.Ports = append(s.flood.Ports, at.side)
	}
	s.table = forward.New(s.flood)
	s.lans = newLANWatch(s)
	for _, at := range n.ports {
		if mac := at.port.Info().MAC; at.lan && !mac.IsZero() {
			s.learnAt(mac, at) // an interface's own MAC is local to it
			s.own[mac] = true
		}
	}
	if n.isProxy() {
		s.proxy = n.name
	}
	return s
}

// publish replaces the snapshot that the workers read.
func (s *state) publish() {
	s.n.snapshot.Store(&snapshot{
		table: s.table, ports: s.n.ports, slots: slices.Clone(s.slots),
		learn: s.learnEpoch, proxy: s.n.isProxy(), answer: !s.n.isProxy() && !s.starUp, star: s.star, moved: s.moved, probeKey: s.lans.key, seal: s.seals.snapshot(),
	})
	s.dirty = false
}

func (s *state) publishIfDirty() {
	if s.dirty {
		s.publish()
	}
}

// change edits the table: additions and removals become visible at once.
func (s *state) change(add []overlay.Rule, del []uint64) error {
	compiled := make([]forward.Rule, 0, len(add))
	for _, r := range add {
		f, err := s.compile(r)
		if err != nil {
			return err
		}
		compiled = append(compiled, f)
	}
	table, err := s.table.With(compiled, del)
	if err != nil {
		return err
	}
	s.table, s.dirty = table, true
	for _, id := range del {
		delete(s.rules, id)
	}
	for _, r := range add {
		if r.ID&learnedBit == 0 {
			s.rules[r.ID] = r
		}
	}
	return nil
}

func (s *state) remove(ids []uint64) error {
	held := slices.DeleteFunc(slices.Clone(ids), func(id uint64) bool { _, ok := s.rules[id]; return !ok })
	if len(held) == 0 {
		return nil
	}
	if err := s.change(nil, held); err != nil {
		return err
	}
	s.saveRules()
	return nil
}

// compile turns names into the numbers that the table uses.
func (s *state) compile(r overlay.Rule) (forward.Rule, error) {
	arrival, err := s.side(r.Arrival)
	if err != nil {
		return forward.Rule{}, err
	}
	out, err := s.side(r.Out)
	if err != nil {
		return forward.Rule{}, err
	}
	return forward.Rule{ID: r.ID, Arrival: arrival, Src: r.Src, Dst: r.Dst, Out: out, Origin: r.Origin}, nil
}

func (s *state) side(named overlay.Side) (forward.Side, error) {
	switch named.Kind {
	case overlay.PortSide:
		for _, at := range s.n.ports {
			if at.name == named.Name {
				return at.side, nil
			}
		}
		return 0, fmt.Errorf("cannot use port %q: %s has %s", named.Name, s.n.name, s.portNames())
	case overlay.LinkSide:
		return s.slot(named.Peer()).side, nil
	}
	return 0, nil
}

func (s *state) portNames() string {
	if len(s.n.ports) == 0 {
		return "no ports"
	}
	text := "ports"
	for i, at := range s.n.ports {
		if i > 0 {
			text += ","
		}
		text += " " + at.name
	}
	return text
}

// sortedRules are the user's and the adapted rules in order of their ids.
func (s *state) sortedRules() []overlay.Rule {
	rules := make([]overlay.Rule, 0, len(s.rules))
	for _, id := range slices.Sorted(maps.Keys(s.rules)) {
		rules = append(rules, s.rules[id])
	}
	return rules
}

// refloods rebuilds the flood tree from the star links that exist; the ports in it never change.
func (s *state) refloods() {
	s.flood.Star = nil
	for _, one := range s.slots {
		if one.kind == link.Star { // one that is down is a member too: frames from it may come before it is up here
			s.flood.Star = append(s.flood.Star, one.side)
		}
	}
	s.table, s.dirty = s.table.WithFlood(s.flood), true
}

// settled tells whether nothing is under way that is due within less than a second.
func (s *state) settled() bool {
	for _, one := range s.slots {
		for _, in := range one.live {
			if !in.retires.IsZero() {
				return false
			}
		}
	}
	return s.claimAt.IsZero() && s.moved == nil && s.placesAt.IsZero() && s.lans.open.IsZero() && s.stages.machine.NextTime().IsZero()
}

// tick does what is due.
func (s *state) tick(now time.Time) {
	if now.After(s.relearnAt) {
		s.relearnAt = now.Add(relearn)
		s.learnEpoch++
		s.dirty = true
	}
	s.reclaim(now)
	s.stages.tick(now)
	s.age(now)
	s.forgetMoved(now)
	if s.bound.stale {
		s.bound.publish()
	}
	s.flushAnnouncements()
	s.traffic.tick(now)
	s.flushPlaces(now)
	s.flushCache()
	s.lans.tick(now)
	s.under.tick(now, s)
	s.renewal.tick(now, s)
	s.seals.tick(now)
	s.expireSlots(now)
	s.closeBooks()
}
