package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

// pair runs nodes a and b on loopback.
func pair(t testing.TB, change func(*Config)) (a, b *site) {
	t.Helper()
	ca := newCA(t)
	a, stopA := newSite(t, issue(t, ca, "a"), Kernel{}, "127.0.0.1:0", change)
	t.Cleanup(stopA)
	b, stopB := newSite(t, issue(t, ca, "b"), Kernel{}, "127.0.0.1:0", change)
	t.Cleanup(stopB)
	return a, b
}

var carriers = []Carrier{UDP, TCP}

func TestFramesCrossInOrderBothWays(t *testing.T) {
	for _, carrier := range carriers {
		t.Run(carrier.String(), func(t *testing.T) {
			a, b := pair(t, nil)
			out, in := dial(t, a, b, carrier)
			if out.Peer() != "b" || in.Peer() != "a" || out.ID() != in.ID() || !out.Dialled() || in.Dialled() || out.Carrier() != carrier || in.Carrier() != carrier {
				t.Fatalf("ends disagree: %v %v", out, in)
			}
			if err := out.Prove(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := in.Prove(t.Context()); err != nil {
				t.Fatal(err)
			}
			sizes := []int{60, 60, 900, 1400, 1426, 1427, 1514, 60, 9014, 4000, 60}
			var sent []ether.Packet
			for i, n := range sizes {
				sent = append(sent, frame(i, n))
			}
			out.Send(0, sent)
			in.Send(0, sent)
			for _, s := range []*site{a, b} {
				got := s.waitFrames(t, len(sizes))
				for i, p := range got {
					if !bytes.Equal(p.Frame, sent[i].Frame) || p.Hops != 1 {
						t.Fatalf("frame %d arrived as number %d with %d bytes and %d hops", i, number(p.Frame), len(p.Frame), p.Hops)
					}
				}
			}
			if s := out.Stats(); s.FramesSent != uint64(len(sizes)) || len(s.Drops) != 0 || s.FramesReceived != uint64(len(sizes)) {
				t.Errorf("account: %+v", s)
			}
		})
	}
}

func TestTenThousandFramesOnceEach(t *testing.T) {
	for _, carrier := range carriers {
		t.Run(carrier.String(), func(t *testing.T) {
			const total, batch = 10_000, 50
			a, b := pair(t, nil)
			b.keep, b.seen = false, make([]uint8, total)
			out, in := dial(t, a, b, carrier)
			for n := 0; n < total; n += batch {
				var pkts []ether.Packet
				for i := range batch {
					pkts = append(pkts, frame(n+i, 60+(n*7+i*131)%1450))
				}
				out.Send(0, pkts)
				b.waitFrames(t, n+batch-batch/2) // never far ahead: the test is of us, not of socket buffers
			}
			b.waitFrames(t, total)
			for n, times := range b.seen {
				if times != 1 {
					t.Fatalf("frame %d arrived %d times", n, times)
				}
			}
			out.Close("enough")
			<-in.Done()
			if s := in.Stats(); s.PeerFramesSent != total || s.FramesReceived != total || s.WireLost != 0 || s.Duplicates != 0 {
				t.Errorf("account: %+v", s)
			}
			if !errors.Is(in.Err(), ErrClosed) || !strings.Contains(in.Err().Error(), "enough") {
				t.Errorf("the peer was told %v", in.Err())
			}
		})
	}
}

func TestSuperFrame(t *testing.T) {
	a, b := pair(t, nil)
	out, _ := dial(t, a, b, UDP)
	p := superFrame(64_000, 1448)
	want := bytes.Clone(p.Frame[54:])
	out.Send(0, []ether.Packet{p})
	frames := int(out.Stats().FramesSent)
	got := b.waitFrames(t, frames) // as many packets as reads, their pieces joined again
	var payload []byte
	for i := range got {
		if err := got[i].Check(); err != nil {
			t.Fatal(err)
		}
		payload = append(payload, got[i].Frame[54:]...)
	}
	if frames < 44 || !bytes.Equal(payload, want) {
		t.Errorf("%d frames brought %d bytes, want %d the same", frames, len(payload), len(want))
	}

	whole, _ := dial(t, a, b, TCP)
	b.mu.Lock()
	b.got, b.frames = nil, 0
	b.mu.Unlock()
	whole.Send(0, []ether.Packet{p})
	got = b.waitFrames(t, p.Frames())
	if len(got) != 1 || !bytes.Equal(got[0].Frame, p.Frame) || got[0].Offload != p.Offload {
		t.Errorf("over tcp it arrived as %d packets", len(got))
	}
}

func TestWhoMayNotLink(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	b, stop := newSite(t, issue(t, ca, "b"), Kernel{}, "127.0.0.1:0", nil)
	defer stop()
	for _, c := range []struct {
		what, peer string
		from       func() *site
		want       string
	}{
		{"wrong name", "c", func() *site { return siteA(t, ca) }, `"b", not "c"`},
		{"unknown CA", "b", func() *site { return siteA(t, other) }, "certificate"},
	} {
		for _, carrier := range []Carrier{UDP, TCP, Auto} {
			t.Run(c.what+" "+carrier.String(), func(t *testing.T) {
				begin := time.Now()
				_, err := tryDial(c.from(), b, carrier, c.peer)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want an error with %q", err, c.want)
				}
				if time.Since(begin) > 2*time.Second {
					t.Errorf("the answer took %v", time.Since(begin))
				}
			})
		}
	}
	b.refuse = errors.New("not today")
	for _, carrier := range []Carrier{UDP, TCP, Auto} {
		if _, err := tryDial(siteA(t, ca), b, carrier, "b"); err == nil || !strings.Contains(err.Error(), "not today") {
			t.Errorf("a refusal over %v reads %v", carrier, err)
		}
	}
}

func siteA(t *testing.T, ca *pki.CA) *site {
	s, stop := newSite(t, issue(t, ca, "a"), Kernel{}, "127.0.0.1:0", nil)
	t.Cleanup(stop)
	return s
}

func TestFirstAddressToAnswerWins(t *testing.T) {
	a, b := pair(t, nil)
	silent := netip.MustParseAddrPort("127.0.0.1:9") // discard: nobody is there
	for _, carrier := range carriers {
		l, err := a.Dial(t.Context(), Target{Peer: "b", Addrs: []netip.AddrPort{silent, b.Addr()}, Carrier: carrier, Kind: Fast})
		if err != nil {
			t.Fatalf("over %v: %v", carrier, err)
		}
		if l.Remote() != b.Addr() {
			t.Errorf("linked to %v", l.Remote())
		}
		<-b.accepted
	}
}

func TestControlMessages(t *testing.T) {
	for _, carrier := range carriers {
		a, b := pair(t, nil)
		out, in := dial(t, a, b, carrier)
		big := bytes.Repeat([]byte("x"), messageMax)
		for _, m := range [][]byte{[]byte("hello"), {}, big} {
			if err := out.SendControl(m); err != nil {
				t.Fatal(err)
			}
			if err := in.SendControl(m); err != nil {
				t.Fatal(err)
			}
			for _, l := range []*Link{in, out} {
				got, err := l.RecvControl(t.Context())
				if err != nil || !bytes.Equal(got, m) {
					t.Fatalf("over %v: %d bytes arrived as %d, %v", carrier, len(m), len(got), err)
				}
			}
		}
		if err := out.SendControl(append(big, 'x')); err == nil {
			t.Error("a message above the limit was taken")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := in.RecvControl(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled RecvControl: %v", err)
		}
		in.Close("done")
		if _, err := out.RecvControl(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	}
}

func TestHopLimit(t *testing.T) {
	a, b := pair(t, nil)
	out, _ := dial(t, a, b, UDP)
	p, q := frame(0, 60), frame(1, 60)
	p.Hops, q.Hops = maxHops, maxHops-1
	out.Send(0, []ether.Packet{p, q})
	got := b.waitFrames(t, 1)
	if len(got) != 1 || got[0].Hops != maxHops || out.Stats().Drops[DropHopLimit] != 1 {
		t.Errorf("arrived %v, drops %v", got, out.Stats().Drops)
	}
}

func TestRekeyUnderLoad(t *testing.T) {
	for _, carrier := range carriers {
		t.Run(carrier.String(), func(t *testing.T) { rekeyUnderLoad(t, carrier) })
	}
}

func rekeyUnderLoad(t *testing.T, carrier Carrier) {
	const total, batch = 8_000, 20
	a, b := pair(t, nil)
	b.keep, b.seen = false, make([]uint8, total)
	out, _ := dial(t, a, b, carrier)
	for n := 0; n < total; n += batch {
		if n == total/2 { // a second session takes over while the first still receives
			old := out
			out, _ = dial(t, a, b, carrier)
			defer old.Close("replaced")
		}
		var pkts []ether.Packet
		for i := range batch {
			pkts = append(pkts, frame(n+i, 1000))
		}
		out.Send(0, pkts)
		if n%(batch*40) == 0 { // epochs follow the peer's confirmation, which this stands in for
			out.peers.epoch.Store(out.tx.Load().epoch)
			b.waitFrames(t, n+batch)
			if !out.turn() {
				t.Fatal("the epoch did not turn")
			}
		}
		b.waitFrames(t, n)
	}
	b.waitFrames(t, total)
	for n, times := range b.seen {
		if times != 1 {
			t.Fatalf("frame %d arrived %d times", n, times)
		}
	}
	if s := out.Stats(); s.Epoch < 4 {
		t.Errorf("only epoch %d was reached", s.Epoch)
	}
}

func TestEpochsTurnByThemselves(t *testing.T) {
	for _, carrier := range carriers {
		t.Run(carrier.String(), func(t *testing.T) { epochsTurn(t, carrier) })
	}
}

func epochsTurn(t *testing.T, carrier Carrier) {
	a, b := pair(t, func(c *Config) { c.EpochTime = 50 * time.Millisecond })
	out, in := dial(t, a, b, carrier)
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	for n := 0; in.Stats().PeerEpoch < 2; n++ {
		out.Send(0, []ether.Packet{frame(n, 60)})
		b.waitFrames(t, n+1)
		select {
		case <-deadline.C:
			t.Fatalf("epochs: out %d, heard %d", out.Stats().Epoch, in.Stats().PeerEpoch)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestAPeerThatKnowsNoBlocks: with a version before at either end TLS seals the frames; else blocks do, and not in vain.
func TestAPeerThatKnowsNoBlocks(t *testing.T) {
	for _, c := range []struct {
		dialler, acceptor bool // are of the version before
		cipher            string
	}{{false, false, preferred()[0].String()}, {true, false, "TLS 1.3"}, {false, true, "TLS 1.3"}, {true, true, "TLS 1.3"}} {
		ca := newCA(t)
		a, b := makeSite(t, issue(t, ca, "a"), Kernel{}, "127.0.0.1:0", nil), makeSite(t, issue(t, ca, "b"), Kernel{}, "127.0.0.1:0", nil)
		for site, older := range map[*site]bool{a: c.dialler, b: c.acceptor} {
			if older {
				site.Endpoint.frames = []string{alpnFrames}
			}
		}
		stopA, stopB := a.run(t), b.run(t)
		out, in := dial(t, a, b, TCP)
		if out.Cipher() != c.cipher || in.Cipher() != c.cipher {
			t.Errorf("%+v: %s and %s", c, out.Cipher(), in.Cipher())
		}
		want := batchOf(20, 9000)
		out.Send(0, want)
		in.Send(0, want)
		same(t, a.waitFrames(t, len(want)), want)
		same(t, b.waitFrames(t, len(want)), want)
		if out.turn() != (c.cipher != "TLS 1.3") {
			t.Errorf("%+v: epoch %d", c, out.Stats().Epoch)
		}
		stopA()
		stopB()
	}
}

func TestStrangersMayJoinOnly(t *testing.T) {
	ca := newCA(t)
	heard := make(chan string, 1)
	b, stop := newSite(t, issue(t, ca, "b"), Kernel{}, "[::]:0", func(c *Config) {
		c.Join = func(conn net.Conn) {
			defer conn.Close()
			buf := make([]byte, 5)
			_, _ = io.ReadFull(conn, buf)
			heard <- string(buf)
		}
	})
	defer stop()
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), b.Addr().Port()).String()
	for _, alpn := range []string{pki.ALPNJoin, alpnControl, alpnFrames} {
		cfg := &tls.Config{NextProtos: []string{alpn}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
		conn, err := tls.Dial("tcp", at, cfg)
		if err != nil {
			continue
		}
		_, _ = conn.Write([]byte("join!"))
		_, err = conn.Read(make([]byte, 1)) // ends with the connection
		if alpn == pki.ALPNJoin {
			if got := <-heard; got != "join!" {
				t.Errorf("the joiner was heard to say %q", got)
			}
		} else if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("a stranger was let in with %s: %v", alpn, err)
		}
		conn.Close()
	}
}

func TestOneSocketForBothFamilies(t *testing.T) {
	ca := newCA(t)
	b, stop := newSite(t, issue(t, ca, "b"), Kernel{}, "[::]:0", func(c *Config) { c.Sockets = 2 })
	defer stop()
	a, stopA := newSite(t, issue(t, ca, "a"), Kernel{NoGSO: true, NoGRO: true}, "[::]:0", nil)
	defer stopA()
	for n, addr := range []string{"127.0.0.1", "::1"} {
		l, err := a.Dial(t.Context(), Target{Peer: "b", Addrs: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(addr), b.Addr().Port())}, Carrier: UDP, Kind: Fast})
		if err != nil {
			t.Skipf("this machine has no %s: %v", addr, err)
		}
		(<-b.accepted).Start("acceptor")
		l.Send(0, []ether.Packet{superFrame(14_000, 1200)})
		b.waitFrames(t, (n+1)*int(l.Stats().FramesSent))
	}
}

func TestPortInUse(t *testing.T) {
	ca := newCA(t)
	b, stop := newSite(t, issue(t, ca, "b"), Kernel{}, "127.0.0.1:0", nil)
	defer stop()
	second, err := New(Config{Identity: issue(t, ca, "c"), Listen: b.Addr(), Receive: b.receive})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second daemon on the port: %v", err)
	}
}
