package link

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// wire is a socket that hands what is written straight to a receiver: the data path without system calls.
type wire struct{ to *receiver }

func (w *wire) ReadBatch([][]byte, []int, []int, []netip.AddrPort) (int, error) { return 0, nil }
func (w *wire) LocalAddr() netip.AddrPort                                       { return netip.AddrPort{} }
func (w *wire) Close() error                                                    { return nil }
func (w *wire) WriteSegments(to netip.AddrPort, buf []byte, seg int) error {
	for len(buf) > 0 {
		d := buf[:min(seg, len(buf))]
		buf = buf[len(d):]
		w.to.datagram(d, to)
	}
	w.to.deliver()
	return nil
}

// shortCircuit is a link whose frames come back to its own endpoint.
func shortCircuit(t testing.TB, c Cipher, receive func(int, *Link, []ether.Packet)) *Link {
	e := &Endpoint{cfg: Config{Receive: receive, Lanes: 1}, usher: newUsher()}
	secret := bytes.Repeat([]byte{1}, secretLen)
	l, err := e.newLink(birth{mine: 7, theirs: 7, cipher: c, session: session{out: secret, in: secret}})
	if err != nil {
		t.Fatal(err)
	}
	l.size.Store(sizeLargest)
	l.Start(true)
	e.JoinUDP(true)
	e.byLinkID.Store(&map[LinkID]*Link{7: l})
	r := newReceiver(e, &inlet{}, nil)
	r.now = time.Now()
	e.lanes = []*outbox{newOutbox(0, &wire{r})}
	return l
}

var traffic = []struct {
	name string
	make func() []ether.Packet
}{
	{"superframe64k", func() []ether.Packet { return []ether.Packet{superFrame(64_000, 1448)} }},
	{"64x1400", func() []ether.Packet { return batchOf(64, 1400) }},
	{"64x64", func() []ether.Packet { return batchOf(64, 64) }},
	{"44x64asone", func() []ether.Packet { return []ether.Packet{datagrams(44, 64)} }},
	{"64x1514split", func() []ether.Packet { return batchOf(64, 1514) }},
}

func batchOf(n, size int) (pkts []ether.Packet) {
	for i := range n {
		pkts = append(pkts, frame(i, size))
	}
	return pkts
}

func bytesOf(pkts []ether.Packet) (n int64) {
	for i := range pkts {
		n += int64(len(pkts[i].Frame))
	}
	return n
}

// BenchmarkSealOpen: go test -bench SealOpen ./internal/link
func BenchmarkSealOpen(b *testing.B) {
	for _, s := range []Cipher{AES128, ChaCha20, AES256, Trusted} {
		for _, c := range traffic {
			b.Run(s.String()+"/"+c.name, func(b *testing.B) {
				frames := 0
				l := shortCircuit(b, s, func(_ int, _ *Link, pkts []ether.Packet) { frames += int(framesOf(pkts)) })
				pkts := c.make()
				b.SetBytes(bytesOf(pkts))
				b.ReportAllocs()
				for b.Loop() {
					l.Send(0, pkts)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(frames), "ns/frame")
			})
		}
	}
}

// window is how many frames may be under way: fewer than the tcp carrier holds at first.
const window = 128

// BenchmarkLoopback: go test -bench Loopback ./internal/link
func BenchmarkLoopback(b *testing.B) {
	for _, carrier := range carriers {
		for _, c := range traffic {
			b.Run(carrier.String()+"/"+c.name, func(b *testing.B) {
				var arrived atomic.Uint64
				var lost int64
				grew, patience := make(chan struct{}, 1), time.NewTimer(time.Hour)
				ca := newCA(b)
				x, stopX := newSite(b, issue(b, ca, "a"), Kernel{}, "127.0.0.1:0", nil)
				y, stopY := newSite(b, issue(b, ca, "b"), Kernel{}, "127.0.0.1:0", func(cfg *Config) {
					cfg.Receive = func(_ int, _ *Link, pkts []ether.Packet) {
						arrived.Add(framesOf(pkts))
						select {
						case grew <- struct{}{}:
						default:
						}
					}
				})
				out, _ := dial(b, x, y, carrier)
				pkts := c.make()
				b.SetBytes(bytesOf(pkts))
				b.ReportAllocs()
				b.ResetTimer()
				for b.Loop() {
					out.Send(0, pkts)
					for {
						under := int64(out.framesSent()) - int64(arrived.Load()) - lost
						if under <= window {
							break
						}
						patience.Reset(time.Second)
						select {
						case <-grew:
						case <-patience.C: // lost on the way: wait for them no longer
							lost += under
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(out.framesSent()), "ns/frame")
				b.ReportMetric(float64(out.Stats().Drops[DropFull]), "drops")
				b.ReportMetric(float64(lost), "lost")
				b.StopTimer()
				stopX()
				stopY()
			})
		}
	}
}

func TestDataPathAllocatesNothing(t *testing.T) {
	for _, cipher := range []Cipher{preferred()[0], Trusted} {
		for _, c := range traffic {
			l := shortCircuit(t, cipher, func(int, *Link, []ether.Packet) {})
			pkts := c.make()
			l.Send(0, pkts)
			if n := testing.AllocsPerRun(100, func() { l.Send(0, pkts) }); n > 0 {
				t.Errorf("%v, %s: %v allocations a batch", cipher, c.name, n)
			}
		}
	}
}

// TestDatagramsTravelInGroups: a super-frame of datagrams fills few datagrams of the link, each standing alone, and comes out
// as it went in.
func TestDatagramsTravelInGroups(t *testing.T) {
	for _, c := range []struct {
		each int
		want uint64 // datagrams of the link
	}{
		{64, 3},
		{460, 15}, // three fill one, so that it is sealed from where it lies
	} {
		sent := datagrams(44, c.each)
		if err := sent.Check(); err != nil {
			t.Fatal(err)
		}
		var got []ether.Packet
		l := shortCircuit(t, preferred()[0], func(_ int, _ *Link, pkts []ether.Packet) {
			for _, p := range pkts {
				p.Frame = bytes.Clone(p.Frame)
				got = append(got, p)
			}
		})
		l.Send(0, []ether.Packet{sent})
		sent.Hops++
		if diff := cmp.Diff([]ether.Packet{sent}, got); diff != "" {
			t.Errorf("(-sent +got):\n%s", diff)
		}
		s := l.Stats()
		if s.DatagramsSent != c.want {
			t.Errorf("%d datagrams of the link for 44 of %d bytes, want %d", s.DatagramsSent, c.each, c.want)
		}
		if s.FramesReceived != 44 || s.FramesSent != 44 || s.Cuts != 0 {
			t.Errorf("%d frames out, %d in, want 44; %d cuts", s.FramesSent, s.FramesReceived, s.Cuts)
		}
	}
}
