package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/forward"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
)

// bench is a host that does not run: the test plays its loop and its workers.
type bench struct {
	*state
	w   *worker
	far []port.Port
}

// plainNet is a door that nobody goes through.
type plainNet struct{ link.Net }

// newBench makes a host with three ports and slots for the Proxy and peer h2, both down.
func newBench(t testing.TB, change ...func(*Config)) *bench {
	t.Helper()
	b := &bench{}
	cfg := Config{
		Identity: identities(t, 1)["h1"], Net: plainNet{}, Listen: netip.MustParseAddrPort("10.0.0.2:0"),
		Store: store.Memory(), Proxy: []string{"10.0.0.1:4500"}, ProxyName: "proxy", Boot: 1,
	}
	for _, name := range []string{"vm1", "vm2", "vm3"} {
		near, far := port.Pipe(name, name)
		cfg.Ports, b.far = append(cfg.Ports, near), append(b.far, far)
	}
	for _, c := range change {
		c(&cfg)
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.started = time.Now()
	b.state = newState(n)
	if err := b.restore(); err != nil {
		t.Fatal(err)
	}
	b.slot("h2")
	b.publish()
	b.w = n.workers[1]
	return b
}

// drain does what the loop would do with what workers left for it.
func (b *bench) drain() {
	for len(b.n.seen) > 0 {
		b.learn(time.Now(), <-b.n.seen)
	}
	b.publishIfDirty()
}

// from has packets arrive at a local port.
func (b *bench) from(number int, pkts ...ether.Packet) { b.w.run(forward.PortSide(number), pkts) }

// got reads how many frames wait behind each port.
func (b *bench) got(t testing.TB) string {
	t.Helper()
	var counts []string
	for i, far := range b.far {
		n := 0
		for written := b.n.ports[i].out.frames.Load(); uint64(n) < written; {
			batch := port.NewBatch(64)
			if err := far.Read(0, batch); err != nil {
				t.Fatal(err)
			}
			n += len(batch.Packets)
		}
		b.n.ports[i].out.frames.Store(0)
		counts = append(counts, fmt.Sprint(n))
	}
	return strings.Join(counts, " ")
}

func (b *bench) rules(t testing.TB, texts ...string) {
	t.Helper()
	for i, text := range texts {
		r, err := overlay.ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		r.ID = uint64(i + 1)
		if err := b.change([]overlay.Rule{r}, nil); err != nil {
			t.Fatal(err)
		}
	}
	b.publishIfDirty()
}

func TestWorkerForwardsAndCounts(t *testing.T) {
	toPeer := "from any src any dst " + mac(9).String() + " to link:h2"
	rows := []struct {
		name  string
		rules []string
		do    func(*bench)
		got   string // frames behind each port
		drops string
	}{
		{"a broadcast goes to the other ports", nil, func(b *bench) { b.from(0, frame(mac(1), everybody())) }, "0 1 1", ""},
		{"an unknown address is flooded", nil, func(b *bench) { b.from(1, frame(mac(2), mac(7))) }, "1 0 1", ""},
		{"what is learned is not flooded", nil, func(b *bench) {
			b.from(0, frame(mac(1), everybody()))
			b.drain()
			b.from(1, frame(mac(2), mac(1)))
		}, "1 1 1", ""},
		{"home already", nil, func(b *bench) {
			b.from(0, frame(mac(1), everybody()))
			b.drain()
			b.from(0, frame(mac(3), mac(1)))
		}, "0 1 1", "same side 1"},
		{"a reserved address stays on its wire", nil, func(b *bench) { b.from(0, frame(mac(1), ether.MAC{1, 0x80, 0xc2, 0, 0, 2})) }, "0 0 0", "reserved address 1"},
		{"a runt", nil, func(b *bench) { b.from(0, ether.Packet{Frame: make(ether.Frame, 13)}) }, "0 0 0", "runt 1"},
		{"a link that is down is no way: the tree is", []string{toPeer}, func(b *bench) { b.from(0, frame(mac(1), mac(9))) }, "0 1 1", ""},
		{"a link that went down since it was decided", []string{toPeer}, func(b *bench) {
			b.table = b.table.WithDown(b.byPeer["h2"].side, false)
			b.publish()
			b.from(0, frame(mac(1), mac(9)), frame(mac(1), mac(9)))
		}, "0 0 0", "link down 2"},
		{"from a fast path without a rule", nil, func(b *bench) {
			b.w.run(b.byPeer["h2"].side, []ether.Packet{frame(mac(9), mac(8))})
		}, "0 0 0", "no rule on a fast path 1"},
		{"from a fast path to a port by rule", []string{"from link:h2 src any dst " + mac(8).String() + " to port:vm3"}, func(b *bench) {
			b.w.run(b.byPeer["h2"].side, []ether.Packet{frame(mac(9), mac(8))})
		}, "0 0 1", ""},
		{"a broadcast from a fast path", nil, func(b *bench) {
			b.w.run(b.byPeer["h2"].side, []ether.Packet{frame(mac(9), everybody())})
		}, "0 0 0", "group frame on a fast path 1"},
		{"a peer's marks that lie", nil, func(b *bench) {
			p := frame(mac(9), mac(8))
			p.Offload = ether.Offload{Flags: ether.NeedsChecksum, CsumStart: 5000}
			b.w.run(b.byPeer["h2"].side, []ether.Packet{p})
		}, "0 0 0", "bad offload marks 1"},
		{"a batch keeps together", nil, func(b *bench) {
			b.from(0, frame(mac(1), everybody()), frame(mac(1), everybody()), frame(mac(1), mac(7)))
		}, "0 3 3", ""},
	}
	for _, row := range rows {
		b := newBench(t)
		b.rules(t, row.rules...)
		row.do(b)
		if got := b.got(t); got != row.got {
			t.Errorf("%s: behind the ports %s, want %s", row.name, got, row.got)
		}
		totals := b.n.Totals()
		var drops []string
		for why, frames := range totals.Drops {
			drops = append(drops, fmt.Sprintf("%s %d", why, frames))
		}
		slices.Sort(drops)
		if got := strings.Join(drops, ", "); got != row.drops {
			t.Errorf("%s: drops %q, want %q", row.name, got, row.drops)
		}
		if r := totals.Remainder(); r != 0 {
			t.Errorf("%s: %d frames are unaccounted for: %+v", row.name, r, totals)
		}
	}
}

func TestFullPortIsACountedDrop(t *testing.T) {
	b := newBench(t)
	pkts := make([]ether.Packet, 600) // a pipe holds 500
	for i := range pkts {
		pkts[i] = frame(mac(1), everybody())
	}
	b.from(0, pkts...)
	totals := b.n.Totals()
	if totals.EdgeOut != 1000 || totals.Drops["port full"] != 200 || totals.Remainder() != 0 {
		t.Errorf("%+v, %d unaccounted for", totals, totals.Remainder())
	}
}

// A straggler goes up the star: because its destination has just moved, or
// because the next hop died; and not for ever.
func TestStragglers(t *testing.T) {
	rows := []struct {
		name  string
		moved bool
		rule  bool
		hops  uint8
		after time.Duration
		drops string // why it ends here; "link down" says that it was sent up the star, which is down in this test
	}{
		{name: "it never lived here", hops: 1, drops: "no rule on a fast path"},
		{name: "it has just moved", moved: true, hops: 1, drops: "link down"},
		{name: "it moved long ago", moved: true, hops: 1, after: straggling + time.Second, drops: "no rule on a fast path"},
		{name: "it has come far", moved: true, hops: straggleHops + 1, drops: "no rule on a fast path"},
		{name: "the next hop is gone", rule: true, hops: 2, drops: "link down"},
		{name: "the next hop is gone, once more around", rule: true, hops: 5, drops: "output down"},
	}
	for _, row := range rows {
		b := newBench(t)
		if row.moved {
			b.places[mac(8)] = control.Place{MAC: mac(8), Node: "h1", Port: "vm1"}
		}
		b.placed(control.Place{MAC: mac(8), Node: "h3", Mobility: 1})
		if row.rule {
			b.rules(t, "from any src any dst "+mac(8).String()+" to link:h4")
		}
		b.forgetMoved(time.Now().Add(row.after))
		b.publish()
		b.star.current.Store(&link.Link{}) // it was up when the worker decided …
		p := frame(mac(9), mac(8))
		p.Hops = row.hops
		b.w.adopt(b.n.snapshot.Load())
		b.w.one(b.n.snapshot.Load(), b.byPeer["h2"].side, &p)
		b.star.current.Store(nil) // … and no more when it sent
		b.w.flush(b.n.snapshot.Load())
		if got := b.n.Totals().Drops; len(got) != 1 || got[row.drops] != 1 {
			t.Errorf("%s: %v, want %s", row.name, got, row.drops)
		}
	}
}

func TestLearningIsToldOnceAndAgain(t *testing.T) {
	b := newBench(t)
	speak := func() int {
		b.from(0, frame(mac(1), everybody()), frame(mac(1), mac(5)))
		n := len(b.n.seen)
		b.drain()
		return n
	}
	if n := speak(); n != 1 {
		t.Errorf("a new sender was reported %d times", n)
	}
	if n := speak(); n != 0 {
		t.Errorf("a known sender was reported %d times", n)
	}
	b.learnEpoch++ // as the loop does every minute
	b.publish()
	if n := speak(); n != 1 {
		t.Errorf("after a while a sender was reported %d times", n)
	}
	b.from(1, frame(mac(1), everybody()))
	b.drain()
	if at := b.local[mac(1)].at.name; at != "vm2" {
		t.Errorf("it moved to vm2 and is taken to be at %s", at)
	}
	b.from(0, frame(ether.MAC{1, 0, 0x5e, 0, 0, 1}, mac(5)))
	if len(b.n.seen) != 0 {
		t.Error("a group address was learned as a sender")
	}
}

func TestSilentMACsAgeAndTheProxyIsTold(t *testing.T) {
	b := newBench(t)
	b.from(0, frame(mac(1), everybody()))
	b.drain()
	b.age(time.Now().Add(ageing + 2*time.Second))
	if len(b.local) != 0 || !b.announce[mac(1)].Gone || len(b.learnedRules) != 0 {
		t.Errorf("resident %v, announced %+v, rules %v", b.local, b.announce[mac(1)], b.learnedRules)
	}
}

// In steady state a frame costs no allocation.
func TestForwardingDoesNotAllocate(t *testing.T) {
	b := newBench(t)
	b.from(0, frame(mac(1), everybody()))
	b.from(1, frame(mac(2), everybody()))
	b.drain()
	pkts := []ether.Packet{frame(mac(1), mac(2)), frame(mac(1), mac(2)), frame(mac(1), mac(2))}
	batch := port.NewBatch(64)
	b.from(0, pkts...)
	if n := testing.AllocsPerRun(1000, func() {
		b.w.run(forward.PortSide(0), pkts)
		b.far[1].Read(0, batch)
	}); n != 0 {
		t.Errorf("a batch of three frames costs %v allocations", n)
	}
}

func BenchmarkForward(b *testing.B) {
	w := newBench(b)
	w.from(0, frame(mac(1), everybody()))
	w.from(1, frame(mac(2), everybody()))
	w.drain()
	pkts := make([]ether.Packet, 64)
	for i := range pkts {
		pkts[i] = frame(mac(1), mac(2))
	}
	batch := port.NewBatch(64)
	b.ReportAllocs()
	for b.Loop() {
		w.w.run(forward.PortSide(0), pkts)
		w.far[1].Read(0, batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/frame")
}
