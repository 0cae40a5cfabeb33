package link

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/simnet"
)

// Whoever cannot link is told how far it came and what the cause is, as far as this end can know; and before tcp is tried, why udp
// failed.
func TestTheCauseIsTold(t *testing.T) {
	ours := func(d []byte) int {
		if len(d) > 0 && d[0] < 0x40 {
			return 0
		}
		return 1
	}
	for _, c := range []struct {
		what    string
		carrier Carrier
		plant   func(w *world, a, b *pki.Identity)
		says    []string
	}{
		{"cut", UDP, func(w *world, _, _ *pki.Identity) { w.net.Cut(addrA, addrB) }, []string{"10.0.0.2:4500: no answer"}},
		{"cut", TCP, func(w *world, _, _ *pki.Identity) { w.net.Cut(addrA, addrB) }, []string{"10.0.0.2:4500: no answer"}},
		{"cut", Auto, func(w *world, _, _ *pki.Identity) { w.net.Cut(addrA, addrB) }, []string{"over udp: 10.0.0.2:4500: no answer", "over tcp: 10.0.0.2:4500: no answer"}},
		{"QUIC only", UDP, func(w *world, _, _ *pki.Identity) { w.doorA.meddle(ours) }, []string{"it answers, but the datagrams that carry frames do not come through"}},
		{"a's clock", UDP, func(_ *world, a, _ *pki.Identity) { a.Time = days(40) }, []string{"has expired at", "one of the two clocks is wrong"}},
		{"b's clock", UDP, func(_ *world, _, b *pki.Identity) { b.Time = days(40) }, []string{"it does not accept this node's certificate", "a clock is wrong"}},
		{"b's clock", TCP, func(_ *world, _, b *pki.Identity) { b.Time = days(40) }, []string{"it does not accept this node's certificate"}},
	} {
		t.Run(c.what+" "+c.carrier.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{net: simnet.New(1)}
				w.doorA, w.doorB = &simDoor{Host: w.net.Host(addrA)}, &simDoor{Host: w.net.Host(addrB)}
				ca := newCA(t)
				a, b := issue(t, ca, "a"), issue(t, ca, "b")
				c.plant(w, a, b)
				siteA, stopA := newSite(t, a, w.doorA, "10.0.0.1:4500", nil)
				_, stopB := newSite(t, b, w.doorB, "10.0.0.2:4500", nil)
				var trouble error
				ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
				_, err := siteA.Dial(ctx, Target{
					Peer: "b", Addrs: []netip.AddrPort{netip.AddrPortFrom(addrB, 4500)}, Carrier: c.carrier, Kind: Fast, Trouble: func(err error) { trouble = err },
				})
				cancel()
				for _, want := range c.says {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("it says %v; want %q", err, want)
					}
				}
				if c.carrier == Auto && (trouble == nil || !strings.Contains(trouble.Error(), "over udp: 10.0.0.2:4500: no answer")) {
					t.Errorf("before tcp was tried it said %v", trouble)
				}
				stopA()
				stopB()
			})
		})
	}
	lonely, stop := newSite(t, issue(t, newCA(t), "a"), Kernel{}, "127.0.0.1:0", nil)
	defer stop()
	_, err := lonely.Dial(t.Context(), Target{Peer: "b", Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}, Carrier: TCP, Kind: Fast})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:9: nobody listens there") {
		t.Errorf("where nobody listens it says %v", err)
	}
}

// days is a clock that is ahead.
func days(n int) func() time.Time {
	return func() time.Time { return time.Now().AddDate(0, 0, n) }
}
