package link

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// TestLanesSendAtOnce: two port workers send, the far end's receive worker sends everything back in its own lane.
//
//	a lane 0 ─┐                 ┌─ receive ─┐
//	          ├─ link ─────────►│     b     │
//	a lane 1 ─┘◄────────────────└─ Send ────┘
func TestLanesSendAtOnce(t *testing.T) {
	for _, carrier := range carriers {
		t.Run(carrier.String(), func(t *testing.T) {
			const each, batch = 3000, 30
			ca := newCA(t)
			a, stopA := newSite(t, issue(t, ca, "a"), Kernel{}, "127.0.0.1:0", func(c *Config) { c.FirstLane, c.Sockets = 2, 2 })
			defer stopA()
			b, stopB := newSite(t, issue(t, ca, "b"), Kernel{}, "127.0.0.1:0", func(c *Config) {
				c.FirstLane, c.Sockets = 2, 2
				c.Receive = func(lane int, l *Link, pkts []ether.Packet) { l.Send(lane, pkts) }
			})
			defer stopB()
			a.keep, a.seen = false, make([]uint8, 2*each)
			out, in := dial(t, a, b, carrier)
			var round sync.WaitGroup
			for n := 0; n < each; n += batch {
				for lane := range 2 {
					round.Go(func() {
						var pkts []ether.Packet
						for i := range batch {
							pkts = append(pkts, frame(lane*each+n+i, 700))
						}
						out.Send(lane, pkts)
					})
				}
				round.Wait()
				a.waitFrames(t, 2*n)
			}
			a.waitFrames(t, 2*each)
			for n, times := range a.seen {
				if times != 1 {
					t.Fatalf("frame %d came back %d times", n, times)
				}
			}
			s := in.Stats()
			for by := time.Now().Add(5 * time.Second); s.FramesSent < 2*each && time.Now().Before(by); s = in.Stats() {
				runtime.Gosched() // a worker counts after its send has returned, and the answer may be back before
			}
			if s.FramesSent != 2*each || s.FramesReceived != 2*each || s.Duplicates != 0 || s.AuthFailures != 0 {
				t.Errorf("account: %+v", s)
			}
		})
	}
}

func TestFramesConnectionNeedsItsTicket(t *testing.T) {
	ca := newCA(t)
	b, stop := newSite(t, issue(t, ca, "b"), Kernel{}, "127.0.0.1:0", nil)
	defer stop()
	waiting := &awaitedFrames{peer: "a", ticket: make([]byte, secretLen), conn: nil}
	b.await(77, waiting)
	for what, c := range map[string]struct {
		who string
		m   join
	}{
		"a session nobody waits for": {"a", join{link: 78}},
		"a wrong ticket":             {"a", join{link: 77, mac: [32]byte{1}}},
		"another node":               {"c", join{link: 77}},
	} {
		who := &Endpoint{cfg: Config{Net: Kernel{}}}
		who.identity.Store(issue(t, ca, c.who))
		conn, err := who.connect(t.Context(), b.Addr(), "b", alpnFrames)
		if err != nil {
			t.Fatal(err)
		}
		if c.who == "c" { // who knows the ticket even
			if c.m.mac, err = ticketMAC(waiting.ticket, conn.ConnectionState()); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeMessage(conn, msgJoin, c.m.encode()); err != nil {
			t.Fatal(err)
		}
		if _, err := expect(conn, msgOpened); err == nil {
			t.Errorf("%s was taken", what)
		}
		abort(conn)
	}
	b.await(77, nil)
}
