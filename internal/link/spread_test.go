package link

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

const spreadLanes = 4 // lanes of workers below the sockets'

// spreadWorld is a world whose a sends to b from n extra ports, all proved.
func spreadWorld(t *testing.T, n int, body func(t *testing.T, w *world, out, in *Link)) {
	t.Helper()
	simulate(t, wan.Path{Delay: time.Millisecond}, func(t *testing.T, w *world) {
		out, in := dial(t, w.a, w.b, UDP)
		out.SetExtraPorts(n)
		time.Sleep(time.Second)
		if up := portsUp(out); up != n {
			t.Fatalf("%d of %d extra ports carry: %+v", up, n, out.ExtraPorts())
		}
		body(t, w, out, in)
	})
}

func portsUp(l *Link) (up int) {
	for _, p := range l.ExtraPorts() {
		if p.Up {
			up++
		}
	}
	return up
}

// sendLanes sends n frames by each lane, numbered by lane.
func sendLanes(l *Link, from, n int) {
	for lane := range spreadLanes {
		for i := from; i < from+n; i++ {
			l.Send(lane, []ether.Packet{frame(lane*10_000+i, 100)})
		}
	}
}

// inOrder holds what arrived to one frame of each number from each lane, in order.
func inOrder(t *testing.T, s *site, each int) {
	t.Helper()
	next := [spreadLanes]int{}
	for _, p := range s.waitFrames(t, spreadLanes*each) {
		lane, i := number(p.Frame)/10_000, number(p.Frame)%10_000
		if i != next[lane] {
			t.Fatalf("lane %d: frame %d came where %d was due", lane, i, next[lane])
		}
		next[lane]++
	}
	for lane, n := range next {
		if n != each {
			t.Errorf("lane %d: %d of %d frames came", lane, n, each)
		}
	}
}

func TestLanesHavePortsOfTheirOwn(t *testing.T) {
	spreadWorld(t, 3, func(t *testing.T, w *world, out, in *Link) {
		w.doorB.mu.Lock()
		w.doorB.heard = map[netip.AddrPort]int{}
		w.doorB.mu.Unlock()
		var said atomic.Int64
		w.doorB.meddle(func(d []byte) int {
			if dgramType(d[0]) == dgramHouse && binary.BigEndian.Uint16(d[2:]) == houseLane {
				said.Add(1)
			}
			return 1
		})
		for i := range 100 {
			sendLanes(out, i, 1)
			time.Sleep(time.Millisecond)
		}
		inOrder(t, w.b, 100)
		if n := said.Load(); n > 4 {
			t.Errorf("the receiver asked %d times whether the peer has moved", n)
		}
		w.doorB.mu.Lock()
		defer w.doorB.mu.Unlock()
		busy := 0
		for _, n := range w.doorB.heard {
			if n > 0 {
				busy++
			}
		}
		if busy != 4 {
			t.Errorf("the frames came from %v", w.doorB.heard)
		}
		if in.Remote() != w.a.Addr() {
			t.Errorf("replies go to %v", in.Remote())
		}
	})
}

// The number of ports changes while frames flow: nothing is lost, nothing comes twice, and on a path that keeps order nothing
// overtakes anything.
func TestNumberOfPortsChangesUnderFrames(t *testing.T) {
	spreadWorld(t, 3, func(t *testing.T, w *world, out, in *Link) {
		sent := 0
		for _, n := range []int{3, 1, 0, 7, 2, 0} {
			out.SetExtraPorts(n)
			for range 100 {
				sendLanes(out, sent, 1)
				sent++
				time.Sleep(10 * time.Millisecond)
			}
			if up := portsUp(out); up != n {
				t.Fatalf("%d of %d extra ports carry", up, n)
			}
		}
		inOrder(t, w.b, sent)
		if s := in.Stats(); s.Duplicates != 0 || s.AuthFailures != 0 || s.WireLost != 0 {
			t.Errorf("account: %+v", s)
		}
	})
}

func TestDeadExtraPortIsGivenUp(t *testing.T) {
	spreadWorld(t, 2, func(t *testing.T, w *world, out, in *Link) {
		gone := netip.AddrPortFrom(addrA, out.ExtraPorts()[0].Port)
		kill := func(dead bool) {
			w.doorA.mu.Lock()
			defer w.doorA.mu.Unlock()
			w.doorA.dead = map[netip.AddrPort]bool{gone: dead}
		}
		kill(true)
		time.Sleep(1500 * time.Millisecond)
		first := out.ExtraPorts()[0]
		if first.Up || !strings.Contains(first.Why, "not answered") {
			t.Errorf("the dead port: %+v", first)
		}
		if !out.ExtraPorts()[1].Up || out.Err() != nil {
			t.Errorf("the other port: %+v; the link: %v", out.ExtraPorts()[1], out.Err())
		}
		sendLanes(out, 0, 10) // all by ports that live
		inOrder(t, w.b, 10)
		kill(false)
		time.Sleep(portRetry + time.Second)
		if portsUp(out) != 2 {
			t.Errorf("a port that lives again is not used: %+v", out.ExtraPorts())
		}
		if in.Err() != nil {
			t.Error(in.Err())
		}
	})
}

// Frames by extra ports keep nothing alive: heartbeats, and half of the lanes, go by the first.
func TestLinkDiesWithItsFirstPort(t *testing.T) {
	spreadWorld(t, 2, func(t *testing.T, w *world, out, in *Link) {
		w.doorA.mu.Lock()
		w.doorA.dead = map[netip.AddrPort]bool{w.a.Addr(): true}
		w.doorA.mu.Unlock()
		stop := time.Now().Add(1500 * time.Millisecond)
		for i := 0; time.Now().Before(stop); i++ {
			sendLanes(out, i, 1)
			time.Sleep(5 * time.Millisecond)
		}
		if !errors.Is(in.Err(), errSilent) || out.Err() == nil {
			t.Errorf("the link lives: %v, %v", in.Err(), out.Err())
		}
	})
}

// A release that knows nothing of extra ports drops the probes unread: frames go by the first port, and the reason is told.
func TestOlderPeerGetsOnePort(t *testing.T) {
	simulate(t, wan.Path{Delay: time.Millisecond}, func(t *testing.T, w *world) {
		out, in := dial(t, w.a, w.b, UDP)
		w.doorA.meddle(func(d []byte) int {
			if lane := binary.BigEndian.Uint16(d[2:]); dgramType(d[0]) == dgramHouse && lane != houseLane {
				return 0
			}
			return 1
		})
		out.SetExtraPorts(2)
		w.doorB.mu.Lock()
		w.doorB.heard = map[netip.AddrPort]int{}
		w.doorB.mu.Unlock()
		time.Sleep(10 * time.Second)
		sendLanes(out, 0, 10)
		inOrder(t, w.b, 10)
		for _, p := range out.ExtraPorts() {
			if p.Up || !strings.Contains(p.Why, "no answer") {
				t.Errorf("port: %+v", p)
			}
		}
		w.doorB.mu.Lock()
		defer w.doorB.mu.Unlock()
		if len(w.doorB.heard) != 1 || in.Remote() != w.a.Addr() {
			t.Errorf("frames came from %v, replies go to %v", w.doorB.heard, in.Remote())
		}
	})
}

// Behind an address translator each port has a mapping of its own, and one may change while it carries.
func TestExtraPortsAreTranslated(t *testing.T) {
	spreadWorld(t, 2, func(t *testing.T, w *world, out, in *Link) {
		as := map[netip.AddrPort]netip.AddrPort{}
		for i, p := range out.ExtraPorts() {
			as[netip.AddrPortFrom(addrA, p.Port)] = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), uint16(1000+i))
		}
		w.doorB.mu.Lock()
		w.doorB.moved = as
		w.doorB.mu.Unlock()
		for i := range 400 {
			sendLanes(out, i, 1)
			time.Sleep(10 * time.Millisecond)
		}
		inOrder(t, w.b, 400)
		if portsUp(out) != 2 || in.Remote() != w.a.Addr() {
			t.Errorf("ports: %+v; replies go to %v", out.ExtraPorts(), in.Remote())
		}
	})
}

// The machine itself gets another address: replies follow its first port, however much comes from the others.
func TestPeerWithExtraPortsMayMove(t *testing.T) {
	spreadWorld(t, 2, func(t *testing.T, w *world, out, in *Link) {
		elsewhere := netip.MustParseAddr("192.0.2.7")
		as := map[netip.AddrPort]netip.AddrPort{w.a.Addr(): netip.AddrPortFrom(elsewhere, w.a.Addr().Port())}
		for _, p := range out.ExtraPorts() {
			as[netip.AddrPortFrom(addrA, p.Port)] = netip.AddrPortFrom(elsewhere, p.Port)
		}
		w.doorB.mu.Lock()
		w.doorB.moved = as
		w.doorB.mu.Unlock()
		for i := range 100 {
			sendLanes(out, i, 1)
			time.Sleep(10 * time.Millisecond)
		}
		inOrder(t, w.b, 100)
		if in.Remote() != as[w.a.Addr()] || portsUp(out) != 2 || out.Err() != nil {
			t.Errorf("replies go to %v; ports: %+v; the link: %v", in.Remote(), out.ExtraPorts(), out.Err())
		}
	})
}

// Somebody on the way sends what leaves by the extra ports on from elsewhere, and keeps the answers: nothing moves, and the
// ports are given up.
func TestExtraPortsAreNotMovedByOthers(t *testing.T) {
	spreadWorld(t, 2, func(t *testing.T, w *world, out, in *Link) {
		as := map[netip.AddrPort]netip.AddrPort{}
		for i, p := range out.ExtraPorts() {
			as[netip.AddrPortFrom(addrA, p.Port)] = netip.MustParseAddrPort([]string{"192.0.2.7:999", "192.0.2.8:999"}[i])
		}
		w.doorB.mu.Lock()
		w.doorB.lied = as
		w.doorB.mu.Unlock()
		for i := range 300 {
			sendLanes(out, i, 1)
			in.Send(0, []ether.Packet{frame(i, 100)})
			time.Sleep(10 * time.Millisecond)
		}
		inOrder(t, w.b, 300)
		w.a.waitFrames(t, 300)
		if in.Remote() != w.a.Addr() || portsUp(out) != 0 || out.Err() != nil {
			t.Errorf("replies go to %v; ports: %+v; the link: %v", in.Remote(), out.ExtraPorts(), out.Err())
		}
	})
}

// A stranger repeats and forges what an extra port sent, from an address of its own.
func TestStrangersMoveNoPort(t *testing.T) {
	simulate(t, wan.Path{Delay: time.Millisecond}, func(t *testing.T, w *world) {
		out, in := dial(t, w.a, w.b, UDP)
		var mu sync.Mutex
		var seen [][]byte
		w.doorA.meddle(func(d []byte) int {
			mu.Lock()
			defer mu.Unlock()
			if d[0] < dgramLimit {
				seen = append(seen, slices.Clone(d))
			}
			return 1
		})
		out.SetExtraPorts(2)
		time.Sleep(time.Second)
		sendLanes(out, 0, 10)
		inOrder(t, w.b, 10)
		w.doorA.meddle(nil)
		stranger := netip.MustParseAddr("10.0.0.67")
		w.net.SetPathBoth(stranger, addrB, wan.Path{Delay: time.Millisecond})
		w.net.SetPathBoth(stranger, addrA, wan.Path{Delay: time.Millisecond})
		group, err := w.net.Host(stranger).ListenUDP(netip.AddrPortFrom(stranger, 1), 1)
		if err != nil {
			t.Fatal(err)
		}
		defer group[0].Close()
		before := in.Stats()
		for _, d := range seen {
			forged := slices.Clone(d)
			forged[15]++ // its counter
			for _, to := range append(w.a.ExtraPorts(), w.a.Addr(), w.b.Addr()) {
				for _, b := range [][]byte{d, forged} {
					if err := group[0].WriteSegments(to, slices.Clone(b), len(b)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		time.Sleep(100 * time.Millisecond)
		after := in.Stats()
		if after.FramesReceived != before.FramesReceived || after.Duplicates-before.Duplicates < uint64(len(seen)) {
			t.Errorf("of %d repeated datagrams: %+v, before %+v", len(seen), after, before)
		}
		sendLanes(out, 10, 10)
		inOrder(t, w.b, 20)
		if in.Remote() != w.a.Addr() || out.Remote() != w.b.Addr() || portsUp(out) != 2 || out.Err() != nil {
			t.Errorf("replies go to %v and %v; ports: %+v; the link: %v", in.Remote(), out.Remote(), out.ExtraPorts(), out.Err())
		}
	})
}

// TestPortsSpreadOverSockets: over real sockets, both ends send from extra ports by all lanes at once while the number of ports
// changes, and each end's group of sockets receives.
func TestPortsSpreadOverSockets(t *testing.T) {
	const rounds, batch, lanes = 300, 20, 4
	ca := newCA(t)
	change := func(c *Config) {
		c.FirstLane, c.Sockets = lanes, 2
		c.ExtraPorts = func(string) int { return 3 }
	}
	a, stopA := newSite(t, issue(t, ca, "a"), Kernel{}, "127.0.0.1:0", change)
	defer stopA()
	b, stopB := newSite(t, issue(t, ca, "b"), Kernel{}, "127.0.0.1:0", change)
	defer stopB()
	out, in := dial(t, a, b, UDP)
	for _, s := range []*site{a, b} {
		s.keep, s.seen = false, make([]uint8, lanes*rounds*batch)
	}
	for by := time.Now().Add(10 * time.Second); portsUp(out)+portsUp(in) < 6; {
		if time.Now().After(by) {
			t.Fatalf("ports: %+v, %+v", out.ExtraPorts(), in.ExtraPorts())
		}
		<-time.After(beatEvery / 5)
	}
	for n := range rounds {
		if n%50 == 0 {
			out.SetExtraPorts(n / 50 % 4)
		}
		hadA, hadB := a.count(), b.count()
		sendRound(out, in, lanes, batch, n)
		a.waitFrames(t, hadA+lanes*batch)
		b.waitFrames(t, hadB+lanes*batch)
	}
	for _, on := range []bool{false, true} {
		a.SetGSO(on)
		for _, s := range a.offloadingExtras() {
			if has, why := s.GSO(); has != on {
				t.Errorf("an extra port sends several datagrams a call: %v (%s), wanted %v", has, why, on)
			}
		}
	}
	for who, s := range map[string]*site{"a": a, "b": b} {
		s.mu.Lock()
		for n, times := range s.seen {
			if times != 1 {
				t.Fatalf("%s: frame %d came %d times", who, n, times)
			}
		}
		s.mu.Unlock()
	}
	if s := in.Stats(); s.Duplicates != 0 || s.AuthFailures != 0 {
		t.Errorf("account: %+v", s)
	}
}

// sendRound sends the n-th round's frames by every lane at both ends at once.
func sendRound(out, in *Link, lanes, batch, n int) {
	var round sync.WaitGroup
	for lane := range lanes {
		for _, l := range []*Link{out, in} {
			round.Go(func() {
				var pkts []ether.Packet
				for i := range batch {
					pkts = append(pkts, frame((n*lanes+lane)*batch+i, 700))
				}
				l.Send(lane, pkts)
			})
		}
	}
	round.Wait()
}

func (s *site) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frames
}
