package node

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
)

// stream sends a numbered frame every 2 ms from one guest to another and
// counts how often each arrived.
type stream struct {
	stop chan struct{}
	sent chan int
	got  map[uint32]int
	done chan struct{}
}

// startStream sends broadcasts, which need no rule.
func startStream(from, to *site) *stream {
	s := &stream{stop: make(chan struct{}), sent: make(chan int, 1), got: map[uint32]int{}, done: make(chan struct{})}
	go func() {
		n := 0
		for ticker := time.NewTicker(2 * time.Millisecond); ; n++ {
			select {
			case <-ticker.C:
			case <-s.stop:
				ticker.Stop()
				s.sent <- n
				return
			}
			p := frame(mac(1), everybody())
			p.Frame[20], p.Frame[21], p.Frame[22] = byte(n>>16), byte(n>>8), byte(n)
			from.guest.Write(0, []ether.Packet{p})
		}
	}()
	go func() {
		defer close(s.done)
		for batch := port.NewBatch(64); to.guest.Read(0, batch) == nil; {
			for _, p := range batch.Packets {
				s.got[uint32(p.Frame[20])<<16|uint32(p.Frame[21])<<8|uint32(p.Frame[22])]++
			}
		}
	}()
	return s
}

// end stops the stream; to's guest hears nothing any more. It says how many were sent, lost, and came twice.
func (s *stream) end(to *site) (sent, lost, twice int) {
	close(s.stop)
	sent = <-s.sent
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
	to.guest.Close()
	<-s.done
	for n := range sent {
		switch times := s.got[uint32(n)]; {
		case times == 0:
			lost++
		case times > 1:
			twice++
		}
	}
	return sent, lost, twice
}

func TestStarIsBackWithinASecond(t *testing.T) {
	inTown(t, 1, func(t *testing.T, w *town) {
		h := w.hosts[0]
		time.Sleep(10 * time.Second)
		w.net.Cut(h.addr, w.proxy.addr)
		h.await("the cut is noticed", func() bool { return h.star() == nil })
		w.net.Heal(h.addr, w.proxy.addr)
		took := h.await("the star is back", func() bool { return h.star() != nil })
		t.Logf("back %v after the path was", took)
		if took > time.Second {
			t.Errorf("a star that was down for a moment was back after %v", took)
		}
	})
}

func TestStarBackOffIsCapped(t *testing.T) {
	inTown(t, 1, func(t *testing.T, w *town) {
		h := w.hosts[0]
		w.net.Cut(h.addr, w.proxy.addr)
		time.Sleep(2 * time.Minute)
		w.net.Heal(h.addr, w.proxy.addr)
		took := h.await("the star is back", func() bool { return h.star() != nil })
		t.Logf("after 2 minutes without: back %v after the path was", took)
		if took > 10*time.Second+dialTimeout+2*time.Second {
			t.Errorf("back after %v: the back-off has a cap of 10 s", took)
		}
	})
}

func TestHostsFindARestartedProxy(t *testing.T) {
	inTown(t, 2, func(t *testing.T, w *town) {
		w.proxy.crash(w)
		time.Sleep(3 * time.Second)
		w.proxy.start(w)
		for _, h := range w.hosts {
			took := h.await("the star is back", func() bool { return h.star() != nil })
			t.Logf("%s is back after %v", h.name, took)
		}
		if len(w.proxy.hub.here) != 2 {
			t.Errorf("attached: %v", w.proxy.hub.here)
		}
	})
}

// fast asks both ends for a link between the first two hosts; each dials unless told otherwise.
func (w *town) fast(dial ...bool) {
	for i, dials := range dial {
		peer := w.hosts[1-i]
		spec := control.LinkSpec{Peer: overlay.Name(peer.name), Origin: overlay.OriginUser, Dial: dials,
			PeerAddrs: []netip.AddrPort{netip.AddrPortFrom(peer.addr, 4500)}}
		w.hosts[i].node.do(func(s *state) { s.want(spec) })
	}
}

// When both ends dial, one session is left, and it is the same one.
func TestBothEndsDialOneSessionStays(t *testing.T) {
	inTown(t, 2, func(t *testing.T, w *town) {
		a, b := w.hosts[0], w.hosts[1]
		w.fast(true, true)
		a.await("the link is up", func() bool { l, _ := a.to("h2"); return l != nil })
		time.Sleep(20 * time.Second)
		la, liveA := a.to("h2")
		lb, liveB := b.to("h1")
		if la == nil || lb == nil || liveA != 1 || liveB != 1 || la.ID() != lb.ID() || !la.Dialled() {
			t.Errorf("%d and %d sessions, dialled by the lower name: %v", liveA, liveB, la != nil && la.Dialled())
		}
	})
}

func TestADeadFastPathComesBackByItself(t *testing.T) {
	inTown(t, 2, func(t *testing.T, w *town) {
		a, b := w.hosts[0], w.hosts[1]
		w.fast(true, true)
		a.await("the link is up", func() bool { l, _ := a.to("h2"); return l != nil })
		time.Sleep(30 * time.Second)
		w.net.Cut(a.addr, b.addr)
		a.await("the cut is noticed", func() bool { l, _ := a.to("h2"); return l == nil })
		w.net.Heal(a.addr, b.addr)
		took := a.await("the link is back", func() bool { l, _ := a.to("h2"); return l != nil })
		t.Logf("a fast path was back after %v", took)
		if took < 4*time.Second || took > 30*time.Second {
			t.Errorf("a fast path was back after %v; it is left alone for 5 s", took)
		}
		a.node.do(func(s *state) { s.unwant("h2") })
		b.node.do(func(s *state) { s.unwant("h1") })
		time.Sleep(time.Minute)
		if l, live := a.to("h2"); l != nil || live != 0 {
			t.Error("a link nobody wants lives on")
		}
	})
}

// A link that one end opened and nobody asked the other for is not kept.
func TestUnclaimedLinksAreClosed(t *testing.T) {
	inTown(t, 2, func(t *testing.T, w *town) {
		a, b := w.hosts[0], w.hosts[1]
		w.hosts[0].node.do(func(s *state) {
			s.want(control.LinkSpec{Peer: "h2", Dial: true, PeerAddrs: []netip.AddrPort{netip.AddrPortFrom(b.addr, 4500)}})
		})
		a.await("the link is up", func() bool { l, _ := a.to("h2"); return l != nil })
		a.node.do(func(s *state) { s.byPeer["h2"].keeper.stop() })
		time.Sleep(unclaimed + 2*time.Second)
		if _, live := b.to("h1"); live != 0 {
			t.Errorf("%d sessions that nobody asked for", live)
		}
	})
}

// Where UDP is blocked the star is up over tcp, and home on udp within a minute of its coming back: no frame is lost.
func TestCarrierFallsBackAndComesHome(t *testing.T) {
	inTown(t, 1, func(t *testing.T, w *town) {
		h := w.hosts[0]
		h.door.shutUDP(true)
		h.await("the star is up over tcp", func() bool { l := h.star(); return l != nil && l.Carrier() == link.TCP })
		time.Sleep(80 * time.Second)
		h.door.shutUDP(false)
		s := startStream(h, w.proxy)
		took := h.await("the star is home on udp", func() bool { l := h.star(); return l != nil && l.Carrier() == link.UDP })
		time.Sleep(5 * time.Second)
		_, live := h.to("proxy")
		sent, lost, twice := s.end(w.proxy)
		t.Logf("home after %v; of %d frames %d were lost, %d came twice", took, sent, lost, twice)
		if took > homeward+dialTimeout || lost+twice > 0 || live != 1 {
			t.Errorf("home after %v with %d lost, %d twice, %d sessions", took, lost, twice, live)
		}
	})
}

// Every hour a link gets a fresh handshake, and on request; nothing is lost.
func TestFreshHandshakesLoseNothing(t *testing.T) {
	inTown(t, 1, func(t *testing.T, w *town) {
		h := w.hosts[0]
		first := h.star().ID()
		if !raced {
			time.Sleep(fresh - 10*time.Second)
		}
		if h.star().ID() != first {
			t.Fatal("the session was replaced before its time")
		}
		s := startStream(h, w.proxy)
		time.Sleep(16 * time.Second)
		second := h.star().ID()
		if second == first && !raced {
			t.Error("an hour old and still the same session")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := h.node.RekeyLink(ctx, &vnetv1.RekeyLinkRequest{Peer: "proxy"}); err != nil {
			t.Error(err)
		}
		h.await("the new session is in use", func() bool { return h.star().ID() != second })
		for _, end := range []struct {
			at   *Node
			peer string
		}{{w.proxy.node, "h1"}, {h.node, "proxy"}} { // the Proxy of this town tells nobody
			if _, err := end.at.SetLinkCipher(ctx, &vnetv1.SetLinkCipherRequest{Peer: end.peer, Cipher: "trusted", OneEnd: true}); err != nil {
				t.Error(err)
			}
		}
		if _, err := h.node.RekeyLink(ctx, &vnetv1.RekeyLinkRequest{Peer: "proxy"}); err != nil {
			t.Error(err)
		}
		h.await("the link is trusted", func() bool { return h.star().Cipher() == "trusted" })
		if _, err := h.node.SetLinkCarrier(ctx, &vnetv1.SetLinkCarrierRequest{Peer: "proxy", Carrier: vnetv1.Carrier_CARRIER_TCP}); err != nil {
			t.Error(err)
		}
		h.await("tcp is in use", func() bool { return h.star().Carrier() == link.TCP })
		time.Sleep(5 * time.Second)
		_, live := h.to("proxy")
		sent, lost, twice := s.end(w.proxy)
		t.Logf("of %d frames %d were lost, %d came twice", sent, lost, twice)
		if lost+twice > 0 || live != 1 {
			t.Errorf("%d lost, %d twice, %d sessions live", lost, twice, live)
		}
	})
}

// A host that restarts while the Proxy is away finds its peers by its cache.
func TestRestartWithoutTheProxy(t *testing.T) {
	inTown(t, 2, func(t *testing.T, w *town) {
		a, b := w.hosts[0], w.hosts[1]
		w.fast(true, true)
		a.node.do(func(s *state) { s.saveLinks() })
		b.node.do(func(s *state) { s.saveLinks() })
		a.await("the link is up", func() bool { l, _ := a.to("h2"); return l != nil })
		time.Sleep(time.Minute)
		w.proxy.crash(w)
		a.crash(w)
		time.Sleep(5 * time.Second)
		a.start(w)
		took := a.await("the link is back", func() bool { l, _ := a.to("h2"); return l != nil })
		t.Logf("back with its peer after %v", took)
		if took > 10*time.Second {
			t.Errorf("back with its peer after %v", took)
		}
	})
}

// The books balance although links die under load: what was sent into a path that took nothing is lost by the wire, and what
// came when the link was dead already is dropped for a reason.
func TestTheBooksBalanceWhenLinksDie(t *testing.T) {
	inTown(t, 1, func(t *testing.T, w *town) {
		h := w.hosts[0]
		down := startStream(w.proxy, h)
		for _, length := range []time.Duration{300 * time.Millisecond, 700 * time.Millisecond, 900 * time.Millisecond, 1200 * time.Millisecond} {
			w.net.CutOneWay(w.proxy.addr, h.addr)
			time.Sleep(length)
			w.net.Heal(w.proxy.addr, h.addr)
			time.Sleep(5 * time.Second)
		}
		sent, lost, twice := down.end(h)
		time.Sleep(2 * time.Second)
		var left int64
		for _, s := range []*site{w.proxy, h} {
			r, err := s.node.GetCounters(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			c := r.Total
			left += int64(c.EdgeIn+c.Copies+c.Cuts) - int64(c.EdgeOut+c.WireLost)
			for _, d := range c.Drops {
				left -= int64(d.Frames)
			}
		}
		if lost == 0 || twice > 0 || left != 0 {
			t.Errorf("of %d frames %d were lost, %d came twice; %d are in no account", sent, lost, twice, left)
		}
	})
}
