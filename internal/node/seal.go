package node

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/seal"
)

// Methods of calls about sealed payload.
const (
	// MethodSeal carries a message of a handshake, or a note, from one host to another.
	MethodSeal = "Seal"
	// MethodSealWith brings a host the names of those with whom it is to seal, as a JSON list; from the Proxy.
	MethodSealWith = "SealWith"
)

// What a MethodSeal carries, by its first byte.
const (
	sealShake = 1
	sealNote  = 2
)

const (
	// sealLook is how often is looked whether a key or a note is due.
	sealLook = 100 * time.Millisecond
	// sealAgain is how soon a handshake that failed is tried again.
	sealAgain = 2 * time.Second
	// sealSettles is how long a peer gets to tell that it holds a fresh key.
	sealSettles = 5 * time.Second
	// sealKeys is how many of a peer's keys are held: the present one, and those it has just replaced.
	sealKeys = 3
	// maxClaims bounds the MACs a peer may say are its own: more than a host has guests, 24 KiB.
	maxClaims = 4096
	// sealOverlap is how long frames in the clear are still taken when a pair begins to seal, and frames are still sealed when
	// it stops: what is under way then. sealEnds is when the keys are forgotten.
	sealOverlap = time.Second
	sealEnds    = 6 * time.Second
)

// sealNoted is what a host tells one with which it seals, under the key between them: which MACs live with it, so that
// nobody else need be believed about that, and which keys of the other it holds.
type sealNoted struct {
	Number int64       `json:"n"` // of two notes the one with the higher number holds
	MACs   []ether.MAC `json:"macs,omitempty"`
	Holds  []seal.ID   `json:"holds,omitempty"`
	Asks   bool        `json:"asks,omitempty"` // it would seal also if the other did not
	Bye    bool        `json:"bye,omitempty"`  // it seals with the other no more
}

// seals is with whom this host seals. The loop owns it.
type seals struct {
	s      *state
	peers  map[overlay.Name]*sealPeer
	told   map[overlay.Name]bool // by the Proxy
	lookAt time.Time
	stale  bool // built is older than this
	built  *sealing
}

// sealPeer is one host to seal with.
type sealPeer struct {
	name   overlay.Name
	tx     *seal.Sender     // nil: no key yet
	rx     []*seal.Receiver // the newest last
	claims map[ether.MAC]bool
	number int64 // of its newest note

	busy    bool // a handshake, or a note, is under way
	again   time.Time
	why     string    // the last handshake failed
	noted   string    // what it was told last
	renewed bool      // it does not hold our key
	open    bool      // sealing begins: until there is a key frames go as they went before
	lenient bool      // sealing begins or ends: what comes in the clear is taken
	leaving time.Time // since when nobody wants it sealed any more; zero: somebody does
	asks    bool      // it wants to be sealed with, whatever we were told
}

// sealing is what workers need to know of all that; it is never changed.
type sealing struct {
	strict bool
	macs   map[ether.MAC]*sealWay
	in     map[seal.ID]*seal.Receiver
}

// sealWay is how frames for a MAC are sealed.
type sealWay struct {
	tx      *seal.Sender // nil: there is no key
	open    bool         // then they go in the clear
	lenient bool         // those from there are taken in the clear
}

// active says that anything is sealed here, or ever was.
func (z *seals) active() bool { return len(z.told) > 0 || len(z.peers) > 0 || z.s.n.cfg.Sealed }

// snapshot is for the workers; nil while nothing is sealed.
func (z *seals) snapshot() *sealing {
	if !z.active() {
		z.built, z.stale = nil, false
		return nil
	}
	if z.built == nil || z.stale {
		z.built, z.stale = z.build(), false
	}
	return z.built
}

// build works out who is to be sealed with. The word of a host about its own guests, which came sealed, goes before the
// directory, which is the Proxy's word; between two hosts the directory decides.
func (z *seals) build() *sealing {
	out := &sealing{strict: z.s.n.cfg.Sealed, macs: map[ether.MAC]*sealWay{}, in: map[seal.ID]*seal.Receiver{}}
	ways := map[overlay.Name]*sealWay{}
	for name, p := range z.peers {
		if p.leaving.IsZero() || p.lasting() {
			ways[name] = &sealWay{tx: p.tx, open: p.open, lenient: p.lenient}
		}
		for _, r := range p.rx {
			out.in[r.ID] = r
		}
	}
	for mac, place := range z.s.places {
		if way := ways[place.Node]; way != nil {
			out.macs[mac] = way
		}
	}
	for _, name := range slices.Sorted(maps.Keys(z.peers)) {
		for mac := range z.peers[name].claims {
			if ways[name] == nil {
				continue
			}
			if place, ok := z.s.places[mac]; !ok || place.Node == name || out.macs[mac] == nil {
				out.macs[mac] = ways[name]
			}
		}
	}
	for mac := range z.s.local {
		delete(out.macs, mac)
	}
	return out
}

// changed has the workers told anew.
func (z *seals) changed() {
	z.stale = true
	if z.active() || z.built != nil {
		z.s.dirty = true
	}
}

// wanted is with whom this host is to seal: with those it asks itself, and with those who ask it.
func (z *seals) wanted() map[overlay.Name]bool {
	out := z.asking()
	for name, p := range z.peers {
		if p.asks {
			out[name] = true
		}
	}
	return out
}

// asking is whom the Proxy named, and under --sealed every host that has guests.
func (z *seals) asking() map[overlay.Name]bool {
	out := maps.Clone(z.told)
	if out == nil {
		out = map[overlay.Name]bool{}
	}
	if z.s.n.cfg.Sealed {
		for _, place := range z.s.places {
			out[place.Node] = true
		}
		for name, p := range z.peers { // said itself that it has some
			if len(p.claims) > 0 {
				out[name] = true
			}
		}
	}
	delete(out, z.s.n.name)
	delete(out, z.s.proxy)
	return out
}

// tick does what is due.
func (z *seals) tick(now time.Time) {
	if now.Before(z.lookAt) || z.s.n.isProxy() || !z.active() {
		return
	}
	z.lookAt = now.Add(sealLook)
	want := z.wanted()
	for name := range want {
		if z.peers[name] == nil {
			z.peers[name] = &sealPeer{name: name}
			z.changed()
		}
	}
	for name, p := range z.peers {
		z.turn(now, p, want[name])
		switch {
		case p.busy || now.Before(p.again) || z.s.n.starLink() == nil:
		case !want[name] && p.tx == nil:
		case !want[name]:
			z.note(now, p)
		case p.tx == nil || p.renewed || p.tx.Tired(now):
			z.shake(p)
		default:
			z.note(now, p)
		}
	}
}

// turn begins and ends sealing with a peer without losing what is under way.
func (z *seals) turn(now time.Time, p *sealPeer, wanted bool) {
	switch {
	case wanted && !p.leaving.IsZero():
		p.leaving = time.Time{}
		z.changed()
	case wanted:
		if p.lenient && len(p.rx) > 0 && now.Sub(p.rx[0].Born) > sealOverlap {
			p.lenient = false
			z.changed()
		}
	case p.leaving.IsZero():
		p.leaving, p.lenient = now, true
		z.changed()
	case now.Sub(p.leaving) > sealEnds && !p.busy:
		z.bye(p)
		delete(z.peers, p.name)
		z.changed()
	case now.Sub(p.leaving) > sealOverlap:
		z.changed()
	}
}

// lasting says that frames for a peer with which nobody seals any more are sealed still.
func (p *sealPeer) lasting() bool { return time.Since(p.leaving) <= sealOverlap }

// shake agrees on a fresh key, away from the loop.
func (z *seals) shake(p *sealPeer) {
	n := z.s.n
	p.busy = true
	z.task(func() {
		tx, err := seal.Shake(n.ctx, time.Now(), n.Identity(), string(p.name), func(ctx context.Context, m []byte) ([]byte, error) {
			return n.sealAsk(ctx, p.name, sealShake, m)
		})
		n.do(func(s *state) {
			p.busy, p.again = false, time.Time{}
			if p.why = ""; err != nil && n.ctx.Err() == nil {
				p.why, p.again = err.Error(), time.Now().Add(sealAgain)
				n.cfg.Log.Warn("frames not sealed", "peer", p.name, "error", err)
				return
			}
			first := p.tx == nil
			p.tx, p.noted, p.renewed, p.open = tx, "", false, false
			s.seals.changed()
			if first {
				n.event(Event{Kind: "seal", Text: "frames for guests of " + string(p.name) + " are sealed for it, key " + tx.Peer.Key.String(), Fields: map[string]string{"peer": string(p.name)}})
			}
		})
	})
}

func (z *seals) task(f func()) {
	z.s.n.keepers.Add(1)
	go func() {
		defer z.s.n.keepers.Done()
		f()
	}()
}

// sealAsk has another host answer a message.
func (n *Node) sealAsk(ctx context.Context, peer overlay.Name, kind byte, message []byte) ([]byte, error) {
	a, err := n.Call(ctx, peer, MethodSeal, append([]byte{kind}, message...))
	if err == nil && a.Code != "" {
		err = errors.New(a.Error)
	}
	return a.Body, err
}

// note tells the peer what has changed since it was told last.
func (z *seals) note(now time.Time, p *sealPeer) {
	m := sealNoted{Asks: z.asking()[p.name]}
	for mac, r := range z.s.local {
		if !r.at.lan && len(m.MACs) < maxClaims {
			m.MACs = append(m.MACs, mac)
		}
	}
	slices.SortFunc(m.MACs, ether.MAC.Compare)
	for _, r := range p.rx {
		m.Holds = append(m.Holds, r.ID)
	}
	text, err := json.Marshal(m)
	if err != nil || string(text) == p.noted {
		return
	}
	m.Number = now.UnixNano()
	z.send(p, m, func(err error) {
		if p.noted = string(text); err != nil {
			p.noted, p.again = "", time.Now().Add(sealAgain)
		}
	})
}

// bye says that nothing will be sealed for the peer.
func (z *seals) bye(p *sealPeer) {
	if p.tx != nil {
		z.send(p, sealNoted{Number: time.Now().UnixNano(), Bye: true}, func(error) {})
	}
}

func (z *seals) send(p *sealPeer, m sealNoted, done func(error)) {
	n := z.s.n
	text, err := json.Marshal(m)
	var raw []byte
	if err == nil {
		raw, err = p.tx.Note(text)
	}
	if err != nil {
		done(err)
		return
	}
	p.busy = true
	z.task(func() {
		ctx, cancel := context.WithTimeout(n.ctx, seal.ShakeTime)
		defer cancel()
		_, err := n.sealAsk(ctx, p.name, sealNote, raw)
		n.do(func(*state) {
			p.busy = false
			done(err)
		})
	})
}

// serveSeal answers MethodSeal.
func (n *Node) serveSeal(c control.Call) control.Answer {
	a := control.Answer{ID: c.ID}
	var err error
	switch {
	case n.isProxy() || len(c.Body) == 0:
		err = errors.New("cannot seal: only hosts do")
	case c.Body[0] == sealShake:
		ctx, cancel := context.WithTimeout(n.ctx, seal.ShakeTime)
		defer cancel()
		a.Body, err = n.desk.Answer(ctx, c.Body[1:])
	case c.Body[0] == sealNote:
		err = n.sealNoted(c.Body[1:])
	default:
		err = errors.New("cannot use a message about sealing: its kind is unknown")
	}
	if err != nil {
		a.Code, a.Error = "failed_precondition", err.Error()
	}
	return a
}

// sealTaken takes a key that a peer made for sealing to us. It is in force when sealTaken returns.
func (n *Node) sealTaken(r *seal.Receiver) {
	n.do(func(s *state) {
		z, name := s.seals, overlay.Name(r.Peer.Name)
		if name == n.name || n.trust.Refuses(r.Peer.Key) {
			return
		}
		p := z.peers[name]
		if p == nil {
			p = &sealPeer{name: name, asks: true, open: !n.cfg.Sealed, lenient: !n.cfg.Sealed} // it asks, as long as it says nothing else
			z.peers[name] = p
		}
		p.rx = append(p.rx, r)
		if len(p.rx) > sealKeys {
			p.rx = p.rx[1:]
		}
		z.changed()
	})
}

// sealNoted takes a peer's note.
func (n *Node) sealNoted(raw []byte) error {
	id, ok := seal.NoteID(raw)
	if !ok {
		return errors.New("cannot read the note: it is too short")
	}
	err := errors.New("cannot open the note: its key is not held here any more")
	n.do(func(s *state) {
		for _, p := range s.seals.peers {
			for _, r := range p.rx {
				if r.ID == id {
					err = s.seals.heed(time.Now(), p, r, raw)
					return
				}
			}
		}
	})
	return err
}

func (z *seals) heed(now time.Time, p *sealPeer, r *seal.Receiver, raw []byte) error {
	text, err := r.ReadNote(raw)
	if err != nil {
		return err
	}
	var m sealNoted
	if err := json.Unmarshal(text, &m); err != nil || len(m.MACs) > maxClaims {
		return errors.New("cannot read the note: it makes no sense")
	}
	if m.Number <= p.number {
		return nil
	}
	p.number, p.claims, p.asks = m.Number, map[ether.MAC]bool{}, m.Asks
	for _, mac := range m.MACs {
		if !mac.IsGroup() {
			p.claims[mac] = true
		}
	}
	if m.Bye {
		p.rx, p.claims = nil, nil
	}
	if p.tx != nil && now.Sub(p.tx.Born) > sealSettles && !slices.Contains(m.Holds, p.tx.ID) && !m.Bye {
		p.renewed = true // it was started anew
	}
	z.changed()
	return nil
}

// sealWith takes the Proxy's word with whom to seal.
func (n *Node) sealWith(c control.Call) control.Answer {
	var names []overlay.Name
	if err := json.Unmarshal(c.Body, &names); err != nil || n.isProxy() {
		return control.Answer{ID: c.ID, Code: "invalid_argument", Error: "cannot read with whom to seal"}
	}
	n.do(func(s *state) {
		z := s.seals
		z.told = map[overlay.Name]bool{}
		for _, name := range names {
			if overlay.ValidName(string(name)) != nil || name == n.name {
				continue
			}
			z.told[name] = true
			if z.peers[name] == nil { // it begins now; what was sealed before a restart is not opened by one
				z.peers[name] = &sealPeer{name: name, open: !n.cfg.Sealed, lenient: !n.cfg.Sealed}
			}
		}
		s.save(keySeals, names)
		s.seals.changed()
	})
	return control.Answer{ID: c.ID}
}

// restoreSeals reads what the Proxy said before the restart.
func (s *state) restoreSeals() {
	var names []overlay.Name
	s.load(keySeals, &names)
	for _, name := range names {
		if overlay.ValidName(string(name)) == nil {
			if s.seals.told == nil {
				s.seals.told = map[overlay.Name]bool{}
			}
			s.seals.told[name] = true
			s.seals.peers[name] = &sealPeer{name: name}
		}
	}
}

// distrust forgets keys that were agreed on with whom nobody believes any more.
func (z *seals) distrust() {
	for name, p := range z.peers {
		gone := func(r *seal.Receiver) bool { return z.s.n.trust.Refuses(r.Peer.Key) }
		if p.tx != nil && z.s.n.trust.Refuses(p.tx.Peer.Key) || slices.ContainsFunc(p.rx, gone) {
			delete(z.peers, name)
			z.changed()
		}
	}
}
