package node

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

const (
	// ageing is how long a silent MAC stays known at its port (as in IEEE 802.1Q §8.8.3).
	ageing = 300 * time.Second
	// maxResidents bounds the MACs a node learns at its ports, all together.
	maxResidents = 65536
	// maxIPs is how many addresses of one MAC are remembered.
	maxIPs = 8
	// claimAgain is how long after a claim to a MAC that lives elsewhere workers
	// report its sender anew: the Proxy refuses a claim while the old place has
	// sent within the last second, so a guest that came quietly has its place
	// with its first frame after some 1.1 to 1.6 s.
	claimAgain = 500 * time.Millisecond
	// flushApart is the least time between two announcements that do not wait
	// for the tick.
	flushApart = 20 * time.Millisecond
)

// sighting is a sender that a worker saw at a port, with its neighbour talk if
// the frame was of that kind.
type sighting struct {
	mac        ether.MAC
	at         *localPort
	ip         netip.Addr
	gratuitous bool
}

// resident is a MAC that lives behind one of our ports.
type resident struct {
	at    *localPort
	seen  time.Time
	ips   []netip.Addr
	moved bool // it said itself that it came here
}

func (r *resident) sighting(mac ether.MAC) control.Sighting {
	return control.Sighting{MAC: mac, Port: r.at.name, IPs: r.ips, Gratuitous: r.moved}
}

// sight tells the loop of a sender. It never waits: false means that the loop
// is swamped and the sender's next frame must try again.
func (n *Node) sight(at *localPort, f ether.Frame, speaks bool) bool {
	one := sighting{mac: f.Src(), at: at}
	if speaks {
		if talk, ok := parseNeighbour(f); ok {
			one.gratuitous = talk.gratuitous
			if talk.sender.IsValid() && !talk.sender.IsUnspecified() {
				one.ip = talk.sender
			}
		}
	}
	select {
	case n.seen <- one:
		return true
	default:
		return false
	}
}

// learn takes a sighting into the table and the next announcement.
func (s *state) learn(now time.Time, one sighting) {
	if s.own[one.mac] {
		return // this machine's own interface, heard through another one on the same LAN
	}
	if one.ip.IsValid() && !s.bound.speaks(now, one.ip, one.mac, one.at) {
		one.ip = netip.Addr{}
		if r := one.at.gate.rule.Load(); r != nil && r.limit.DropSpoof {
			return
		}
	}
	r, known := s.local[one.mac]
	if known && r.at != one.at || !known {
		if !s.roomFor(one.at) {
			return
		}
		one.at.gate.residents++
	}
	if !known {
		r = &resident{at: one.at}
		s.local[one.mac] = r
	} else if r.at != one.at {
		r.at.gate.residents--
	}
	waiting := s.announce[one.mac] // what it said of itself goes with the next announcement, whatever it sends meanwhile
	r.at, r.seen, r.moved = one.at, now, one.gratuitous || waiting.Gratuitous
	if one.ip.IsValid() && !slices.Contains(r.ips, one.ip) {
		r.ips = append(r.ips, one.ip)
		if len(r.ips) > maxIPs {
			r.ips = r.ips[1:]
		}
	}
	if !known {
		s.seals.changed()
	}
	s.announce[one.mac] = r.sighting(one.mac)
	if place, ok := s.places[one.mac]; ok && s.elsewhere(place, one.at) {
		s.claim(now, r)
		return
	}
	s.learnAt(one.mac, one.at)
}

// roomFor says whether one more MAC is learned behind a port. Frames of those that are not are forwarded, those for them
// flooded; they are learned when others have aged.
func (s *state) roomFor(at *localPort) bool {
	most := maxPortMACs
	if at.lan {
		most = maxLANMACs
	}
	if at.gate.residents < most && len(s.local) < maxResidents {
		return true
	}
	if at.gate.strange.Add(1); !at.gate.warned {
		at.gate.warned = true
		text := fmt.Sprintf("port %s: more than %d MACs send there; further ones are not learned", at.name, most)
		s.warning["macs "+at.name] = text
		s.n.event(Event{Kind: "port.crowded", Text: text, Fields: map[string]string{"port": at.name}})
	}
	return false
}

// dismiss forgets a resident.
func (s *state) dismiss(mac ether.MAC) {
	if r, ok := s.local[mac]; ok {
		r.at.gate.residents--
		delete(s.local, mac)
	}
}

// elsewhere says whether a place is not the one behind our port. Without a
// Proxy that could judge, a move between our own ports is believed.
func (s *state) elsewhere(place control.Place, at *localPort) bool {
	if place.Node != s.n.name {
		return true
	}
	return place.Port != at.name && (s.n.isProxy() || s.starUp)
}

// claim asks for a MAC that lives elsewhere by the directory. Until the Proxy
// has judged the claim, frames for it still go there.
func (s *state) claim(now time.Time, r *resident) {
	if s.claimAt.IsZero() {
		s.claimAt = now.Add(claimAgain)
	}
	if r.moved && now.Sub(s.flushedAt) >= flushApart { // a guest that says it has come is waiting for its frames
		s.flushedAt = now
		s.flushAnnouncements()
	}
}

// reclaim lets senders whose claims were refused be reported again.
func (s *state) reclaim(now time.Time) {
	if s.claimAt.IsZero() || now.Before(s.claimAt) {
		return
	}
	s.claimAt = time.Time{}
	s.learnEpoch++
	s.dirty = true
}

// learnAt sends frames for mac to a local port.
func (s *state) learnAt(mac ether.MAC, at *localPort) {
	s.learned(overlay.Rule{
		ID: learnedID(mac), Dst: overlay.Match{Kind: overlay.Exact, MAC: mac}, Src: overlay.Match{Kind: overlay.Any},
		Out: overlay.AtPort(at.name), Origin: overlay.OriginLearned,
	})
}

// learnBehind sends frames for mac over the star link to where it lives.
func (s *state) learnBehind(mac ether.MAC, peer overlay.Name) {
	s.learned(overlay.Rule{
		ID: learnedID(mac), Dst: overlay.Match{Kind: overlay.Exact, MAC: mac}, Src: overlay.Match{Kind: overlay.Any},
		Out: overlay.AtLink(peer), Origin: overlay.OriginLearned,
	})
}

// learned replaces the one learned rule of a MAC.
func (s *state) learned(r overlay.Rule) {
	if old, ok := s.learnedRules[r.ID]; ok {
		if old == r {
			return
		}
		s.change(nil, []uint64{r.ID})
	}
	if err := s.change([]overlay.Rule{r}, nil); err != nil {
		s.n.cfg.Log.Error("cannot learn", "rule", r.String(), "error", err)
		return
	}
	s.learnedRules[r.ID] = r
}

func (s *state) unlearn(mac ether.MAC) {
	id := learnedID(mac)
	if _, ok := s.learnedRules[id]; ok {
		s.change(nil, []uint64{id})
		delete(s.learnedRules, id)
	}
}

// learnedID is the id of a MAC's learned rule: above all ids of the Proxy.
func learnedID(mac ether.MAC) uint64 {
	var b [8]byte
	copy(b[2:], mac[:])
	return learnedBit | binary.BigEndian.Uint64(b[:])
}

// evict forgets who lives behind a port that was blocked: the same LAN is
// reached through another port, where they will be heard again.
func (s *state) evict(at *localPort) {
	gone := map[ether.MAC]bool{}
	for mac, r := range s.local {
		if r.at == at {
			gone[mac] = true
			s.dismiss(mac)
		}
	}
	for mac, p := range s.places {
		if p.Node == s.n.name && p.Port == at.name {
			gone[mac] = true
		}
	}
	if len(gone) == 0 {
		return
	}
	for mac := range gone {
		s.announce[mac] = control.Sighting{MAC: mac, Port: at.name, Gone: true}
		s.unlearn(mac)
		if p, ok := s.places[mac]; ok && (p.Node != s.n.name || p.Port != at.name) {
			s.placed(p) // it only seemed to be here
		}
	}
	s.flushAnnouncements() // before one of them is announced at the other port
	s.learnEpoch++
	s.dirty = true
}

// age forgets residents that have been silent too long.
func (s *state) age(now time.Time) {
	if now.Before(s.ageAt) {
		return
	}
	s.ageAt = now.Add(time.Second)
	if now.After(s.bound.agedAt.Add(bindingSweep)) {
		s.bound.agedAt = now
		s.bound.age(now)
	}
	for mac, r := range s.local {
		if now.Sub(r.seen) <= ageing {
			continue
		}
		if len(s.announce) < maxResidents { // else the Proxy, which has been away for long, lets it age by itself
			s.announce[mac] = control.Sighting{MAC: mac, Port: r.at.name, Gone: true}
		}
		at := r.at
		if s.dismiss(mac); at.gate.warned && at.gate.residents < maxPortMACs/2 {
			at.gate.warned = false
			delete(s.warning, "macs "+at.name)
		}
		if place, ok := s.places[mac]; !ok || place.Node == s.n.name {
			s.unlearn(mac)
		}
	}
}

// flushAnnouncements tells the Proxy what was seen since the last time.
func (s *state) flushAnnouncements() {
	if len(s.announce) == 0 || !s.n.isProxy() && s.n.starLink() == nil {
		return
	}
	all := slices.Collect(maps.Values(s.announce))
	clear(s.announce)
	slices.SortFunc(all, func(a, b control.Sighting) int { return a.MAC.Compare(b.MAC) })
	for part := range slices.Chunk(all, announceAtOnce) {
		s.announced++
		s.n.tell(control.Announce{Boot: s.n.cfg.Boot, Seq: s.announced, Seen: part})
	}
}

// directoryChanged takes in where MACs live. A MAC that has moved retires every
// adapted rule that names it: its old place gets no more of its frames.
func (s *state) directoryChanged(m control.Directory) {
	if !m.Full && m.Version <= s.directory {
		return // it came over a session that was replaced, behind the whole that came over the new one
	}
	s.directory = m.Version
	s.seals.changed()
	gone := m.Gone
	if m.Full {
		listed := map[ether.MAC]bool{}
		for _, p := range m.Places {
			listed[p.MAC] = true
		}
		for mac := range s.places {
			if !listed[mac] {
				gone = append(gone, mac)
			}
		}
	}
	for _, mac := range gone {
		delete(s.places, mac)
		if r, ok := s.local[mac]; ok {
			s.learnAt(mac, r.at)
		} else {
			s.unlearn(mac)
		}
	}
	for _, p := range m.Places {
		s.placed(p)
	}
	s.savePlaces()
}

func (s *state) placed(p control.Place) {
	if s.own[p.MAC] {
		return
	}
	old, known := s.places[p.MAC]
	s.places[p.MAC] = p
	if p.Node != s.n.name {
		s.bound.placed(time.Now(), p)
	}
	if known && old.Mobility != p.Mobility {
		s.retire(p.MAC)
	}
	if known && old.Node == s.n.name && p.Node != s.n.name {
		s.movedAway(p.MAC, time.Now())
	}
	switch {
	case p.Node != s.n.name && s.n.isProxy():
		s.dropResident(p.MAC)
		s.learnBehind(p.MAC, p.Node)
	case p.Node != s.n.name:
		s.dropResident(p.MAC)
		s.learnBehind(p.MAC, s.proxy)
	default:
		for _, at := range s.n.ports {
			if at.name == p.Port {
				s.learnAt(p.MAC, at)
			}
		}
	}
}

// dropResident forgets a MAC that lives elsewhere now; if it speaks here again,
// that is a new claim.
func (s *state) dropResident(mac ether.MAC) {
	if _, ok := s.local[mac]; ok {
		s.dismiss(mac)
		s.learnEpoch++
		s.dirty = true
	}
}

// retire removes every adapted rule that names mac.
func (s *state) retire(mac ether.MAC) {
	var ids []uint64
	for id, r := range s.rules {
		if r.Origin == overlay.OriginAdapted && (r.Src.MAC == mac || r.Dst.MAC == mac) {
			ids = append(ids, id)
		}
	}
	if err := s.remove(ids); err != nil {
		s.n.cfg.Log.Error("cannot retire rules of a MAC that moved", "mac", mac.String(), "error", err)
	}
}
