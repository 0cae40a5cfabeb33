package link

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/simnet"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

var (
	addrA = netip.MustParseAddr("10.0.0.1")
	addrB = netip.MustParseAddr("10.0.0.2")
)

// simDoor is a host of the memory network as a link's door, with a hand on its datagrams.
type simDoor struct {
	*simnet.Host

	mu    sync.Mutex
	write func(d []byte) (again int)        // how often a datagram of ours is sent; it may change d
	moved map[netip.AddrPort]netip.AddrPort // senders that seem to have moved
	lied  map[netip.AddrPort]netip.AddrPort // senders whose datagrams somebody sends on from elsewhere
	dead  map[netip.AddrPort]bool           // addresses of this host from which nothing gets through
	heard map[netip.AddrPort]int            // datagrams by sender, where it is not nil
}

func (d *simDoor) ListenUDP(at netip.AddrPort, n int) ([]Socket, error) {
	group, err := d.Host.ListenUDP(at, n)
	var out []Socket
	for _, s := range group {
		out = append(out, &simSocket{s, d})
	}
	return out, err
}

type simSocket struct {
	*simnet.UDPSocket
	door *simDoor
}

func (s *simSocket) WriteSegments(to netip.AddrPort, buf []byte, seg int) error {
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	for was, is := range s.door.moved {
		if to == is {
			to = was
		}
	}
	if s.door.dead[s.LocalAddr()] {
		return nil
	}
	if s.door.write == nil {
		return s.UDPSocket.WriteSegments(to, buf, seg)
	}
	for len(buf) > 0 {
		d := bytes.Clone(buf[:min(seg, len(buf))])
		buf = buf[len(d):]
		for range s.door.write(d) {
			if err := s.UDPSocket.WriteSegments(to, d, len(d)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *simSocket) ReadBatch(bufs [][]byte, sizes, segs []int, from []netip.AddrPort) (int, error) {
	n, err := s.UDPSocket.ReadBatch(bufs, sizes, segs, from)
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	for i := range n {
		if is, ok := s.door.moved[from[i]]; ok {
			from[i] = is
		}
		if is, ok := s.door.lied[from[i]]; ok {
			from[i] = is
		}
		if s.door.heard != nil {
			s.door.heard[from[i]]++
		}
	}
	return n, err
}

func (d *simDoor) meddle(write func([]byte) int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.write = write
}

// world is two nodes and the network between them, in a bubble.
type world struct {
	net          *simnet.Net
	a, b         *site
	doorA, doorB *simDoor
	ca           *pki.CA
}

// id is an identity of one more node.
func (w *world) id(t testing.TB, name string) *pki.Identity { return issue(t, w.ca, name) }

// simulate runs the test body in a bubble, with a path of the given kind between a and b.
func simulate(t *testing.T, path wan.Path, body func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{net: simnet.New(1)}
		w.net.SetPathBoth(addrA, addrB, path)
		w.doorA, w.doorB = &simDoor{Host: w.net.Host(addrA)}, &simDoor{Host: w.net.Host(addrB)}
		ca := newCA(t)
		w.ca = ca
		var stopA, stopB func()
		lanes := func(c *Config) { c.FirstLane = 4 }
		w.a, stopA = newSite(t, issue(t, ca, "a"), w.doorA, "10.0.0.1:4500", lanes)
		w.b, stopB = newSite(t, issue(t, ca, "b"), w.doorB, "10.0.0.2:4500", lanes)
		body(t, w)
		stopA()
		stopB()
	})
}

func TestSimulatedFramesCross(t *testing.T) {
	for _, carrier := range carriers {
		t.Run(carrier.String(), func(t *testing.T) {
			simulate(t, wan.Path{Delay: 20 * time.Millisecond}, func(t *testing.T, w *world) {
				begin := time.Now()
				out, in := dial(t, w.a, w.b, carrier)
				t.Logf("set up in %v", time.Since(begin))
				var sent []ether.Packet
				for i := range 200 {
					sent = append(sent, frame(i, 60+i*10))
				}
				out.Send(0, sent)
				in.Send(0, sent)
				for _, s := range []*site{w.a, w.b} {
					for i, p := range s.waitFrames(t, len(sent)) {
						if !bytes.Equal(p.Frame, sent[i].Frame) {
							t.Fatalf("frame %d differs", i)
						}
					}
				}
				time.Sleep(time.Second)
				if rtt := out.Stats().RTT; rtt < 39*time.Millisecond || rtt > 45*time.Millisecond {
					t.Errorf("a round trip of 40 ms was measured as %v", rtt)
				}
				if s := in.Stats(); s.PeerFramesSent != 200 || s.WireLost != 0 {
					t.Errorf("account: %+v", s)
				}
			})
		})
	}
}

func TestDeathWithinASecond(t *testing.T) {
	for _, c := range []struct {
		what string
		cut  func(*simnet.Net)
	}{
		{"both ways", func(n *simnet.Net) { n.Cut(addrA, addrB) }},
		{"dialler to acceptor", func(n *simnet.Net) { n.CutOneWay(addrA, addrB) }},
		{"acceptor to dialler", func(n *simnet.Net) { n.CutOneWay(addrB, addrA) }},
	} {
		t.Run(c.what, func(t *testing.T) {
			simulate(t, wan.Path{Delay: 5 * time.Millisecond}, func(t *testing.T, w *world) {
				out, in := dial(t, w.a, w.b, UDP)
				time.Sleep(10 * time.Second)
				if out.Err() != nil || in.Err() != nil {
					t.Fatalf("an idle link died: %v, %v", out.Err(), in.Err())
				}
				begin := time.Now()
				c.cut(w.net)
				for _, l := range []*Link{out, in} {
					<-l.Done()
					if took := time.Since(begin); took > time.Second {
						t.Errorf("%s noticed after %v (%v)", l.e.identity.Load().Name, took, l.Err())
					}
				}
				w.net.Heal(addrA, addrB)
				again, _ := dial(t, w.a, w.b, UDP)
				if again.ID() == out.ID() {
					t.Error("the new session has the old name")
				}
			})
		})
	}
}

func TestPathSizeIsProved(t *testing.T) {
	for _, c := range []struct{ mtu, want int }{{1500, 1472}, {9000, 1472}, {1480, 1372}, {1400, 1372}, {1399, 1252}, {1280, 1252}, {1228, 1200}} {
		simulate(t, wan.Path{Delay: 10 * time.Millisecond, MTU: c.mtu}, func(t *testing.T, w *world) {
			out, in := dial(t, w.a, w.b, UDP)
			if out.MTU() != c.want || in.MTU() != c.want {
				t.Errorf("a path of %d bytes was proved for %d and %d, want %d", c.mtu, out.MTU(), in.MTU(), c.want)
			}
			out.Send(0, []ether.Packet{frame(1, 9018)})
			w.b.waitFrames(t, 1)
		})
	}
}

func TestPathThatNarrowsEndsTheLink(t *testing.T) {
	simulate(t, wan.Path{Delay: 10 * time.Millisecond}, func(t *testing.T, w *world) {
		out, in := dial(t, w.a, w.b, UDP)
		time.Sleep(time.Minute)
		w.net.SetPathBoth(addrA, addrB, wan.Path{Delay: 10 * time.Millisecond, MTU: 1300})
		begin := time.Now()
		<-out.Done()
		<-in.Done()
		if took := time.Since(begin); !errors.Is(out.Err(), errNarrow) || took > 15*time.Second {
			t.Errorf("after %v: %v", took, out.Err())
		}
		if again, _ := dial(t, w.a, w.b, UDP); again.MTU() != 1252 {
			t.Errorf("the next link has datagrams of %d bytes", again.MTU())
		}
	})
}

func TestNarrowPathUsesTCP(t *testing.T) {
	simulate(t, wan.Path{Delay: 10 * time.Millisecond, MTU: 1000}, func(t *testing.T, w *world) {
		out, _ := dial(t, w.a, w.b, Auto)
		if out.Carrier() != TCP || !strings.Contains(out.CarrierWhy(), "no answer") {
			t.Errorf("carrier %v because %q", out.Carrier(), out.CarrierWhy())
		}
	})
}

func TestBlockedUDPFallsBackToTCP(t *testing.T) {
	simulate(t, wan.Path{Delay: 10 * time.Millisecond}, func(t *testing.T, w *world) {
		w.doorA.meddle(func([]byte) int { return 0 })
		begin := time.Now()
		out, in := dial(t, w.a, w.b, Auto)
		if took := time.Since(begin); out.Carrier() != TCP || took < 3*time.Second || took > 3500*time.Millisecond {
			t.Errorf("carrier %v after %v", out.Carrier(), took)
		}
		if !strings.Contains(out.CarrierWhy(), "no answer in 3s") {
			t.Errorf("why: %q", out.CarrierWhy())
		}
		w.doorA.meddle(nil) // udp works again: the owner dials it beside the tcp link, and both live
		home, _ := dial(t, w.a, w.b, UDP)
		out.Send(0, []ether.Packet{frame(0, 60)})
		home.Send(0, []ether.Packet{frame(1, 60)})
		w.b.waitFrames(t, 2)
		out.Close("udp is back")
		<-in.Done()
		time.Sleep(5 * time.Second)
		if home.Err() != nil {
			t.Errorf("the udp link: %v", home.Err())
		}
	})
}

func TestTCPDeathAfterACut(t *testing.T) {
	simulate(t, wan.Path{Delay: 5 * time.Millisecond}, func(t *testing.T, w *world) {
		out, in := dial(t, w.a, w.b, TCP)
		time.Sleep(10 * time.Second)
		begin := time.Now()
		w.net.Cut(addrA, addrB)
		<-out.Done()
		<-in.Done()
		if took := time.Since(begin); took > silentLimitTCP+beatEvery {
			t.Errorf("noticed after %v", took)
		}
	})
}

func TestTCPBuildsNoQueue(t *testing.T) {
	path := wan.Path{Delay: 10 * time.Millisecond, Rate: 10e6, Queue: 50 * time.Millisecond}
	simulate(t, path, func(t *testing.T, w *world) {
		out, in := dial(t, w.a, w.b, TCP)
		w.b.keep = false
		const total = 10_000 // 1,400 bytes a quarter of a millisecond: 45 Mbit/s into 10
		for n := range total {
			out.Send(0, []ether.Packet{frame(n, 1400)})
			time.Sleep(250 * time.Microsecond)
		}
		s := out.Stats()
		if s.RTT > time.Second {
			t.Errorf("under load a round trip takes %v", s.RTT)
		}
		out.Close("counted")
		<-in.Done()
		got := in.Stats()
		t.Logf("round trip %v, %d frames of %d, drops %v", s.RTT, got.FramesReceived, total, s.Drops)
		if out.Err() == nil || !errors.Is(out.Err(), ErrClosed) {
			t.Errorf("the link ended by itself: %v", out.Err())
		}
		if got.FramesReceived+out.Stats().Drops[DropFull]+got.WireLost != total || got.FramesReceived < total/8 {
			t.Errorf("%d frames arrived, %d lost, drops %v", got.FramesReceived, got.WireLost, out.Stats().Drops)
		}
	})
}

func TestLossIsAccounted(t *testing.T) {
	path := wan.Path{Delay: 10 * time.Millisecond, Loss: 0.05, Jitter: 2 * time.Millisecond, Reorder: true}
	simulate(t, path, func(t *testing.T, w *world) {
		out, in := dial(t, w.a, w.b, UDP)
		const total = 5000
		w.b.keep, w.b.seen = false, make([]uint8, total)
		for n := range total {
			out.Send(0, []ether.Packet{frame(n, 60+n%3000)})
			time.Sleep(time.Millisecond)
		}
		out.Close("counted")
		<-in.Done()
		time.Sleep(2 * linger)
		s := in.Stats()
		w.b.mu.Lock()
		defer w.b.mu.Unlock()
		for n, times := range w.b.seen {
			if times > 1 {
				t.Fatalf("frame %d arrived %d times", n, times)
			}
		}
		if s.FramesReceived != uint64(w.b.frames) || s.PeerFramesSent != total || s.WireLost+s.FramesReceived != total || s.WireLost > total/5 {
			t.Errorf("%d delivered; account: %+v", w.b.frames, s)
		}
	})
}

func TestReplaysAndForgeries(t *testing.T) {
	simulate(t, wan.Path{Delay: time.Millisecond}, func(t *testing.T, w *world) {
		out, in := dial(t, w.a, w.b, UDP)
		w.doorA.meddle(func(d []byte) int {
			if d[0] == byte(dgramRecords) {
				return 3 // the wire repeats it twice
			}
			return 1
		})
		for n := range 100 {
			out.Send(0, []ether.Packet{frame(n, 100)})
		}
		time.Sleep(10 * time.Millisecond)
		if s := in.Stats(); s.FramesReceived != 100 || s.Duplicates != 200 || s.AuthFailures != 0 {
			t.Errorf("replays: %+v", s)
		}
		for at := range headerLen + 20 { // each byte of the header, and some behind it
			w.doorA.meddle(func(d []byte) int {
				if d[0] == byte(dgramRecords) {
					d[at] ^= 0x10
				}
				return 1
			})
			out.Send(0, []ether.Packet{frame(100, 100)})
		}
		w.doorA.meddle(nil)
		time.Sleep(10 * time.Millisecond)
		s := in.Stats()
		if s.FramesReceived != 100 {
			t.Errorf("%d forged datagrams were taken", s.FramesReceived-100)
		}
		if refused := s.AuthFailures + w.b.Strays(); refused < headerLen+20-4 { // QUIC gets those whose first byte changed so
			t.Errorf("only %d forgeries were counted", refused)
		}
		out.Send(0, []ether.Packet{frame(101, 100)})
		time.Sleep(10 * time.Millisecond)
		if in.Stats().FramesReceived != 101 {
			t.Error("the link did not survive the forgeries")
		}
	})
}

func TestPeerMayMove(t *testing.T) {
	simulate(t, wan.Path{Delay: time.Millisecond}, func(t *testing.T, w *world) {
		out, in := dial(t, w.a, w.b, UDP)
		elsewhere := netip.MustParseAddrPort("192.0.2.7:999")
		w.doorB.mu.Lock()
		w.doorB.moved = map[netip.AddrPort]netip.AddrPort{w.a.Addr(): elsewhere} // an address translator forgot the mapping
		w.doorB.mu.Unlock()
		out.Send(0, []ether.Packet{frame(0, 100)})
		w.b.waitFrames(t, 1)
		if in.Remote() == elsewhere {
			t.Fatal("replies go to an address that has not answered")
		}
		time.Sleep(10 * time.Millisecond)
		if in.Remote() != elsewhere {
			t.Fatalf("replies still go to %v", in.Remote())
		}
		in.Send(0, []ether.Packet{frame(1, 100)})
		w.a.waitFrames(t, 1)
		time.Sleep(time.Minute)
		if out.Err() != nil || in.Err() != nil {
			t.Errorf("the link died: %v, %v", out.Err(), in.Err())
		}
	})
}

// Somebody on the way sends the peer's datagrams on from an address where the peer is not: nothing goes there.
func TestNobodyIsMovedByOthers(t *testing.T) {
	simulate(t, wan.Path{Delay: time.Millisecond}, func(t *testing.T, w *world) {
		out, in := dial(t, w.a, w.b, UDP)
		w.doorB.mu.Lock()
		w.doorB.lied = map[netip.AddrPort]netip.AddrPort{w.a.Addr(): netip.MustParseAddrPort("192.0.2.7:999")}
		w.doorB.mu.Unlock()
		for n := range 20 {
			out.Send(0, []ether.Packet{frame(n, 100)})
			time.Sleep(100 * time.Millisecond)
			in.Send(0, []ether.Packet{frame(100+n, 100)})
		}
		w.b.waitFrames(t, 20)
		w.a.waitFrames(t, 20)
		if in.Remote() != w.a.Addr() {
			t.Errorf("replies go to %v", in.Remote())
		}
	})
}

func TestCloseStopsDelivery(t *testing.T) {
	for _, carrier := range carriers {
		simulate(t, wan.Path{Delay: 30 * time.Millisecond}, func(t *testing.T, w *world) {
			out, in := dial(t, w.a, w.b, carrier)
			for n := range 20 {
				out.Send(0, []ether.Packet{frame(n, 500)})
			}
			out.Close("over")
			out.Send(0, []ether.Packet{frame(20, 500)})
			<-in.Done()
			if s := in.Stats(); s.FramesReceived != 20 || s.WireLost != 0 {
				t.Errorf("over %v the frames before the bye: %+v", carrier, s)
			}
			if out.Stats().Drops[DropClosed] != 1 {
				t.Errorf("drops after the end: %v", out.Stats().Drops)
			}
			var closed *closedError
			if !errors.As(in.Err(), &closed) || !closed.byPeer || closed.reason != "over" {
				t.Errorf("the peer's end: %v", in.Err())
			}
		})
	}
}

func TestStopEndsEverything(t *testing.T) {
	simulate(t, wan.Path{Delay: 5 * time.Millisecond}, func(t *testing.T, w *world) {
		dial(t, w.a, w.b, UDP)
		dial(t, w.a, w.b, TCP)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.a.Dial(ctx, Target{Peer: "b", Addrs: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.9:1")}, Kind: Fast})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dialling nobody: %v", err)
		}
	})
}

// frames are count plain frames, numbered from first on.
func frames(first, count int) (list []ether.Packet) {
	for i := range count {
		list = append(list, frame(first+i, 200))
	}
	return list
}

// A link may die because one direction of its path is gone. What the peer sent into it meanwhile is known in the end: both
// repeat their last words until nobody remembers the link. A dead tcp connection cannot say what it still held.
func TestTheAccountOfALinkThatDies(t *testing.T) {
	simulate(t, wan.Path{Delay: 5 * time.Millisecond}, func(t *testing.T, w *world) {
		out, in := dial(t, w.a, w.b, UDP)
		w.net.CutOneWay(addrB, addrA)
		cut := time.Now()
		for out.Err() == nil || in.Err() == nil { // each finds out by itself, and sends until then
			out.Send(0, []ether.Packet{frame(0, 500)})
			in.Send(0, []ether.Packet{frame(0, 500)})
			time.Sleep(time.Millisecond)
		}
		t.Logf("dead after %v: %v; %v", time.Since(cut), out.Err(), in.Err())
		time.Sleep(beatEvery)
		w.net.Heal(addrA, addrB)
		time.Sleep(2 * linger)
		if !out.Settled() || !in.Settled() {
			t.Fatal("they are not forgotten")
		}
		for _, one := range [][2]Stats{{out.Stats(), in.Stats()}, {in.Stats(), out.Stats()}} {
			here, there := one[0], one[1]
			if here.PeerFramesSent != there.FramesSent || here.FramesReceived+here.WireLost != there.FramesSent {
				t.Errorf("%d frames were sent; account: %+v", there.FramesSent, here)
			}
		}
		if in.Stats().FramesSent == 0 || out.Stats().FramesReceived == in.Stats().FramesSent {
			t.Error("nothing was lost: the test proves nothing")
		}
	})
}
