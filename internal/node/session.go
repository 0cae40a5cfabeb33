package node

import (
	"context"
	"fmt"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// accept takes a link that a peer dialled. Frames on it are ours from now on;
// ours go out on it when the peer has said that it delivers them.
func (n *Node) accept(l *link.Link) error {
	peer := overlay.Name(l.Peer())
	if peer == n.name {
		return fmt.Errorf("cannot link %q with itself", peer)
	}
	if l.Kind() == link.Star && !n.isProxy() {
		return fmt.Errorf("cannot be the Proxy of %q: this is a host", peer)
	}
	var one *slot
	if !n.do(func(s *state) { one = s.slot(peer); s.attach(one, l); s.publish() }) {
		return context.Canceled
	}
	n.keepers.Add(1)
	go func() {
		defer n.keepers.Done()
		n.read(one, l)
	}()
	return nil
}

// greet starts a link that we dialled: our first message tells the far end that
// we deliver, and for the star link who we are.
func (n *Node) greet(one *slot, l *link.Link) error {
	err := context.Canceled
	n.do(func(s *state) {
		s.attach(one, l)
		var first any = Ready{Trust: s.n.trusts()}
		if one.kind == link.Star {
			first = s.hello()
		}
		if err = n.send(l, first); err == nil { // before anything else is said on it
			s.greeted(one, l)
		}
	})
	if err != nil {
		return err
	}
	n.keepers.Add(1)
	go func() {
		defer n.keepers.Done()
		n.read(one, l)
	}()
	return nil
}

// read is the goroutine of one link's control stream, until the link ends.
func (n *Node) read(one *slot, l *link.Link) {
	first := true
	for {
		data, err := l.RecvControl(n.ctx)
		if err != nil {
			break
		}
		message, err := n.decoder.decode(data)
		if err != nil {
			n.cfg.Log.Warn("bad control message", "peer", one.peer, "error", err)
			l.Close("bad control message")
			break
		}
		if first {
			first = false
			n.opened(one, l, message)
		} else {
			n.handle(one, l, message)
		}
	}
	select {
	case <-l.Done():
	case <-n.ctx.Done():
		l.Close("shutting down")
	}
	n.do(func(s *state) { s.detach(one, l) })
	if one.kind == link.Star && n.isProxy() {
		n.cfg.Hub.Detached(one.peer, l)
	}
	if one.kind == link.Star && !n.isProxy() {
		n.do(func(s *state) {
			if one.current.Load() == nil {
				s.stages.step(control.ProxyLost{})
				n.calls.failAll()
			}
		})
	}
}

// opened takes the first message of a link: whoever dialled it speaks first,
// and whoever accepted it answers, so that both know the other delivers.
func (n *Node) opened(one *slot, l *link.Link, message any) {
	n.do(func(s *state) {
		s.readied(one, l)
		if len(one.waiting) > 0 && one.current.Load() == l {
			n.prove(one)
		}
	})
	switch m := message.(type) {
	case control.Hello:
		n.passOn(l, m.Trust)
		if n.isProxy() && one.kind == link.Star {
			m.Name = one.peer // the certificate says who it is, not the message
			n.cfg.Hub.Attached(one.peer, l, m)
		}
	case Ready:
		n.passOn(l, m.Trust)
		if !l.Dialled() {
			n.send(l, Ready{Trust: n.trusts()})
		}
	default:
		n.handle(one, l, message)
	}
}

// handle takes any later message.
func (n *Node) handle(one *slot, l *link.Link, message any) {
	if list, ok := message.(TrustList); ok { // whoever brings it: a CA has signed it
		n.take(list)
		return
	}
	if one.kind != link.Star {
		return // fast paths carry no orders
	}
	if n.isProxy() {
		if a, ok := message.(control.Answer); ok {
			n.calls.answered(a)
			return
		}
		n.cfg.Hub.Heard(one.peer, message)
		return
	}
	n.fromProxy(l, message)
}

// fromProxy carries out what the Proxy says.
func (n *Node) fromProxy(l *link.Link, message any) {
	switch m := message.(type) {
	case control.Welcome:
		n.do(func(s *state) { s.welcomed(m) })
	case control.Tune:
		n.do(func(s *state) {
			s.traffic.tune(m.Report)
			s.limited(m.Ports)
		})
	case control.Directory:
		n.do(func(s *state) { s.directoryChanged(m) })
	case control.StageRequest:
		n.do(func(s *state) { s.stages.asked(m) })
	case control.Answer:
		n.calls.answered(m)
	case control.Call:
		n.serve(m, func(a control.Answer) { n.send(l, a) })
	}
}

func (s *state) welcomed(m control.Welcome) {
	s.clockSeen(s.n.Wall(), m.Now)
	s.proxy, s.generation = m.Proxy, m.Generation
	s.flood.Off = !m.Flood
	s.refloods()
	s.lans.keyed(m.ProbeKey)
	s.dirty = true
	s.stages.step(control.ProxyBack{})
	for mac, r := range s.local { // a Proxy that restarted knows none of them
		s.announce[mac] = r.sighting(mac)
	}
	s.traffic.restart()
	s.saveProxy()
}

// hello says what this node really has.
func (s *state) hello() control.Hello {
	h := control.Hello{
		Name: s.n.name, Version: Version, Boot: s.n.cfg.Boot, Generation: s.generation,
		Candidates: s.n.Candidates(), Rules: s.firmRules(), Trust: s.n.trusts(),
	}
	for _, at := range s.n.ports {
		h.Ports = append(h.Ports, control.PortInfo{Name: at.name, LAN: at.lan, MTU: at.port.Info().MTU})
	}
	for _, one := range s.slots {
		if !one.wanted && one.kind != link.Star {
			continue
		}
		info := control.LinkInfo{Peer: one.peer, Origin: one.origin}
		if l := one.current.Load(); l != nil {
			info.Up, info.Carrier, info.RTT = true, l.Carrier().String(), l.Stats().RTT
		}
		h.Links = append(h.Links, info)
	}
	return h
}

// firmRules are the rules that will not expire by themselves.
func (s *state) firmRules() []overlay.Rule {
	provisional := map[uint64]bool{}
	for _, id := range s.stages.machine.Provisional() {
		provisional[id] = true
	}
	var firm []overlay.Rule
	for _, r := range s.sortedRules() {
		if !provisional[r.ID] {
			firm = append(firm, r)
		}
	}
	return firm
}

// send encodes a message and queues it on a link's control stream.
func (n *Node) send(l *link.Link, message any) error {
	data, err := Encode(message)
	if err != nil {
		return err
	}
	err = l.SendControl(data)
	if a, ok := message.(control.Answer); ok && err != nil && a.Code == "" { // it is too long: whoever waits for it is told
		return n.send(l, control.Answer{ID: a.ID, Code: "resource_exhausted", Error: err.Error()})
	}
	return err
}

// SendTo sends a message to a neighbour over its present session.
func (n *Node) SendTo(peer overlay.Name, message any) error {
	var l *link.Link
	n.do(func(s *state) {
		if one, ok := s.byPeer[peer]; ok {
			l = one.current.Load()
		}
	})
	if l == nil {
		return fmt.Errorf("cannot reach %q: its star link is down", peer)
	}
	return n.send(l, message)
}

// tell sends a message to the Proxy, wherever it is. It never waits for it.
func (n *Node) tell(message any) {
	if n.isProxy() {
		n.cfg.Hub.Heard(n.name, message)
		return
	}
	if star := n.starLink(); star != nil {
		n.send(star, message)
	}
}

// starLink is the session to the Proxy, if any.
func (n *Node) starLink() *link.Link {
	now := n.snapshot.Load()
	if now == nil {
		return nil // the node is still being put together
	}
	for _, one := range now.slots {
		if one.kind == link.Star {
			return one.current.Load()
		}
	}
	return nil
}
