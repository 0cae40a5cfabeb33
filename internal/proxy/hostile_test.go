package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// proxyHeap in bytes is what a Proxy's heap is stated to stay below whatever one host with a good certificate says
// (docs/hardening.md): a full matrix of pairs, and the host's share of everything else.
const proxyHeap = 256 << 20

// liar is a host that says what it likes.
type liar struct {
	t    *testing.T
	l    *link.Link
	heap uint64 // before it came
	most uint64
}

// intrude links a liar with the world's Proxy under the name of a host whose daemon does not run.
func (w *world) intrude(t *testing.T, name string) (*liar, func()) {
	t.Helper()
	addr := netip.MustParseAddr("10.0.0.66")
	e, err := link.New(link.Config{
		Identity: w.papers.ids[name], Net: door{w.net.Host(addr)}, Listen: netip.AddrPortFrom(addr, 4500), FirstLane: 1,
		Receive: func(int, *link.Link, []ether.Packet) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	<-e.Ready()
	m := &liar{t: t, heap: heap()}
	m.l, err = e.Dial(ctx, link.Target{
		Peer: "proxy", Addrs: []netip.AddrPort{netip.AddrPortFrom(w.proxy.addr, 4500)}, Carrier: link.UDP, Kind: link.Star, Owner: "liar",
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { // it hears what it is told, so that it is told more
		for {
			if _, err := m.l.RecvControl(ctx); err != nil {
				return
			}
		}
	}()
	return m, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// say sends a message, and waits while too much is waiting.
func (m *liar) say(message any) {
	m.t.Helper()
	data, err := node.Encode(message)
	if err != nil {
		m.t.Fatal(err)
	}
	for m.l.SendControl(data) != nil {
		if m.l.Err() != nil {
			m.t.Fatalf("the liar was put out: %v", m.l.Err())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// measure notes what the heap has become.
func (m *liar) measure(what string) {
	m.t.Helper()
	now := heap()
	m.most = max(m.most, now)
	m.t.Logf("%s: the heap is %d MiB, %d before it came", what, now>>20, m.heap>>20)
}

func invented(n int) ether.MAC {
	return ether.MAC{6, 6, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

// A host with a good certificate lies, floods and boasts. The Proxy's memory stays below what is stated, honest guests' frames
// all arrive, and their traffic is still seen.
func TestAHostThatLies(t *testing.T) {
	papers := issuePapers(t, 3)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, papers, 1, wan.Path{Delay: 5 * time.Millisecond}, 0, 1, 1)
		defer w.stop()
		w.await("both hosts are there", w.up)
		w.greet()
		a, b := w.guests[0], w.guests[1]
		sent, quit, stopped := []uint64{}, make(chan struct{}), make(chan struct{})
		time.Sleep(time.Second)
		go func() {
			defer close(stopped)
			for {
				select {
				case <-quit:
					return
				case <-time.After(10 * time.Millisecond):
					sent = append(sent, a.sendOf(b.mac, 1400))
				}
			}
		}()
		m, leave := w.intrude(t, "h3")
		defer leave()
		m.floods()
		m.lies(a.mac, b.mac)
		if m.most > m.heap+proxyHeap {
			t.Errorf("the Proxy's heap grew by %d MiB, at most %d are stated", (m.most-m.heap)>>20, proxyHeap>>20)
		}
		close(quit)
		<-stopped
		time.Sleep(time.Second)
		lost := 0
		for _, number := range sent {
			if b.times(number) != 1 {
				lost++
			}
		}
		if lost > 0 || len(sent) < 100 {
			t.Errorf("of %d frames of honest guests %d did not arrive once", len(sent), lost)
		}
		m.checkLies(w, a.mac, b.mac)
	})
}

// floods says more than there is room for.
func (m *liar) floods() {
	hello := control.Hello{Name: "proxy", Version: strings.Repeat("v\x1b[31m", 100_000), Boot: 1}
	for i := range maxPorts {
		hello.Ports = append(hello.Ports, control.PortInfo{Name: fmt.Sprintf("p%d", i)})
	}
	for i := range 5000 {
		hello.Candidates = append(hello.Candidates, netip.AddrPortFrom(netip.AddrFrom4([4]byte{9, 9, byte(i >> 8), byte(i)}), 80))
	}
	m.say(hello)
	seq := uint64(0)
	for i := range 10 { // 40,000 addresses, with four IP addresses of their own each
		seq++
		one := control.Announce{Boot: 1, Seq: seq}
		for j := range 4000 {
			s := control.Sighting{MAC: invented(i*4000 + j), Port: "p0"}
			for k := range 4 {
				s.IPs = append(s.IPs, netip.AddrFrom4([4]byte{10, byte(i), byte(j), byte(k)}))
			}
			one.Seen = append(one.Seen, s)
		}
		m.say(one)
	}
	time.Sleep(5 * time.Second)
	m.measure("40,000 addresses announced")
	for range 1000 {
		m.say(node.Event{Kind: "link.up\x07", Text: strings.Repeat("x\x1b]0;", 500), Fields: map[string]string{"peer": strings.Repeat("p", 1999)}})
	}
	m.measure("1,000 events told")
	for i := range 300 {
		m.say(control.Call{ID: uint64(i), Method: "GetOverlay"})
	}
	m.measure("300 questions asked")
}

// maxPorts is how many ports a host may say it has.
const maxPorts = 1024

// lies says what is not so.
func (m *liar) lies(a, b ether.MAC) {
	for i := range 15 { // 60,000 pairs that carry more than any real one, and some of others' VMs
		r := vttif.Report{Boot: 1, Seq: uint64(i + 1)}
		for j := range 4000 {
			r.Deltas = append(r.Deltas, vttif.Delta{
				Pair:  vttif.Pair{Src: invented(i*4000 + j), Dst: invented(j)},
				Tally: vttif.Tally{OfferedBytes: 1 << 40, OfferedFrames: 1 << 30},
			})
		}
		r.Deltas = append(r.Deltas, vttif.Delta{Pair: vttif.Pair{Src: b, Dst: a}, Tally: vttif.Tally{OfferedBytes: 1 << 50, OfferedFrames: 1 << 40}})
		m.say(r)
	}
	time.Sleep(5 * time.Second)
	m.measure("60,000 pairs reported")
	m.say(control.StageReply{Change: 1, Stage: control.StageFlip, OK: true, Opened: []overlay.Name{"h1"}})
	m.say(control.Welcome{Proxy: "h3", Overlay: "test"})
	m.say(control.Directory{Version: 1 << 60, Full: true})
	m.say(control.StageRequest{Change: 1 << 60, Stage: control.StageDelete, DeleteRules: []uint64{1, 2, 3}})
	m.say(control.Answer{ID: 1 << 60, Body: make([]byte, 1<<20)})
	m.say(control.Announce{Boot: 1, Seq: 1 << 60, Seen: []control.Sighting{{MAC: a, Port: "p0"}}}) // a is another's, and talks
	time.Sleep(2 * time.Second)
	m.measure("orders given, and another's address claimed")
}

// checkLies looks at what the Proxy believes.
func (m *liar) checkLies(w *world, a, b ether.MAC) {
	m.t.Helper()
	p := w.proxy.proxy
	var theirs, mine control.Place
	var places int
	var back uint64
	var seen bool
	err := p.ask(context.Background(), func(h *hub) {
		theirs, _ = h.places.Place(a)
		mine, _ = h.places.Place(invented(1))
		places = len(h.places.Snapshot())
		for _, e := range h.infer.Matrix(time.Now()) {
			if e.Pair == (vttif.Pair{Src: b, Dst: a}) {
				back = e.Total.OfferedBytes
			}
			seen = seen || e.Pair == (vttif.Pair{Src: a, Dst: b}) && e.Total.OfferedFrames > 100
		}
		if at := h.hosts["h3"]; len(at.hello.Candidates) > 32 || len(at.hello.Version) > 64 || strings.Contains(at.hello.Version, "\x1b") {
			m.t.Errorf("%d candidates, version of %d bytes", len(at.hello.Candidates), len(at.hello.Version))
		}
	})
	if err != nil {
		m.t.Fatal(err)
	}
	if theirs.Node != "h1" || mine.Node != "h3" || places > 1<<15+10 {
		m.t.Errorf("%s is taken to be at %s; the liar has a place at %q; %d places", a, theirs.Node, mine.Node, places)
	}
	if back > 1<<30 || !seen {
		m.t.Errorf("the liar's word on others' traffic counts for %d bytes; theirs is seen: %v", back, seen)
	}
	list, _, _ := p.node.Events().Since(0)
	for _, ev := range list {
		if len(ev.Text) > 1024 || strings.ContainsAny(ev.Text+ev.Kind, "\x1b\x07") {
			m.t.Fatalf("an event of %d bytes is kept: %.40q", len(ev.Text), ev.Text)
		}
	}
}

// A host may ask the Proxy for what its user may do, and for nothing that makes others nodes or unmakes them.
func TestAHostGetsNoTokens(t *testing.T) {
	p := &Proxy{cfg: Config{Allowed: func(method string) error {
		if method == "CreateToken" {
			return vnetv1.Errorf(connect.CodePermissionDenied, "no")
		}
		return nil
	}}}
	if p.allowed("CreateToken") == nil || p.allowed("ListNodes") != nil || (&Proxy{}).allowed("CreateToken") != nil {
		t.Error("what is allowed is not what was said")
	}
	papers := issuePapers(t, 1)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, papers, 1, wan.Path{Delay: time.Millisecond}, 0, 1)
		defer w.stop()
		w.await("the host is there", w.up)
		w.proxy.proxy.cfg.Allowed = p.cfg.Allowed
		body, err := proto.Marshal(&vnetv1.CreateTokenRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range []overlay.Name{"", "proxy", "h1"} {
			a, err := w.hosts[0].node.Call(t.Context(), to, "CreateToken", body)
			if err != nil || a.Code != connect.CodePermissionDenied.String() {
				t.Errorf("asked of %q: %+v, %v", to, a, err)
			}
		}
		if a, err := w.hosts[0].node.Call(t.Context(), "", node.MethodRenew, []byte("nonsense")); err != nil || a.Code == connect.CodePermissionDenied.String() {
			t.Errorf("what is its own business: %+v, %v", a, err)
		}
	})
}
