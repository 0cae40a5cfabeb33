package proxy

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
	"github.com/virtuoso-vnet/virtuoso/internal/simnet"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// door is a host of the memory network as a node's door.
type door struct{ *simnet.Host }

func (d door) ListenUDP(at netip.AddrPort, n int) ([]link.Socket, error) {
	group, err := d.Host.ListenUDP(at, n)
	out := make([]link.Socket, len(group))
	for i, s := range group {
		out[i] = s
	}
	return out, err
}

// papers are the identities of an overlay: made once, because keys cost more
// than a whole run, and used by every world after another.
type papers struct {
	ca  *pki.CA
	ids map[string]*pki.Identity
}

// issuePapers enrols a Proxy and hosts h1, h2 … at the time at which bubbles begin.
func issuePapers(t testing.TB, hosts int) *papers {
	t.Helper()
	bubbles := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	ca, err := pki.NewCA("test", bubbles)
	if err != nil {
		t.Fatal(err)
	}
	p := &papers{ca: ca, ids: map[string]*pki.Identity{}}
	for i := range hosts + 1 {
		name, role := fmt.Sprintf("h%d", i), pki.RoleHost
		if i == 0 {
			name, role = "proxy", pki.RoleProxy
		}
		if p.ids[name], err = ca.Issue(name, role, bubbles, 30*24*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// world is an overlay in a bubble: a Proxy and hosts on a network made of
// memory, with guests behind their ports. The test's goroutine owns it.
type world struct {
	t      testing.TB
	papers *papers
	net    *simnet.Net
	dice   *rand.Rand
	proxy  *machine
	hosts  []*machine
	guests []*guest
	number uint64 // of the last probe sent
	mode   adapt.Mode
	apps   []*program
	past   []account // of daemons that have ended
	log    *slog.Logger
}

// machine is one computer: its disk and its guests outlive its daemon.
type machine struct {
	w      *world
	name   string
	addr   netip.Addr
	disk   *store.Store
	sealed bool // vnet host --sealed
	guests []*guest

	proxy  *Proxy // of the Proxy's machine
	node   *node.Node
	cancel context.CancelFunc // nil while no daemon runs
	ended  chan error
}

// newWorld builds the machines and starts every daemon; guests[i] is how many
// guests machine i has, the Proxy's being machine 0.
func newWorld(t testing.TB, papers *papers, seed uint64, path wan.Path, guests ...int) *world {
	t.Helper()
	w := makeWorld(t, papers, seed, path, guests...)
	w.startAll()
	return w
}

// newWorldWith is a Proxy and two hosts with a guest each, whose daemons are set up before they start.
func newWorldWith(t testing.TB, papers *papers, set func(*machine)) *world {
	t.Helper()
	w := makeWorld(t, papers, 1, wan.Path{Delay: 5 * time.Millisecond}, 1, 1, 1)
	for _, m := range w.machines() {
		set(m)
	}
	w.startAll()
	return w
}

// makeWorld builds the machines.
func makeWorld(t testing.TB, papers *papers, seed uint64, path wan.Path, guests ...int) *world {
	t.Helper()
	w := &world{t: t, papers: papers, net: simnet.New(seed), dice: rand.New(rand.NewPCG(seed, 0)), mode: adapt.Observe}
	w.net.SetDefault(path)
	for i, n := range guests {
		m := &machine{w: w, name: fmt.Sprintf("h%d", i), addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), disk: store.Memory()}
		for j := range n {
			g := &guest{name: fmt.Sprintf("vm%d", j+1), mac: ether.MAC{2, 0, 0, 0, byte(i), byte(j + 1)}, at: m, got: map[uint64]int{}}
			m.guests = append(m.guests, g)
			w.guests = append(w.guests, g)
		}
		if i == 0 {
			m.name, w.proxy = "proxy", m
		} else {
			w.hosts = append(w.hosts, m)
		}
	}
	return w
}

func (w *world) startAll() {
	w.t.Helper()
	w.proxy.start()
	for _, m := range w.hosts {
		m.start()
	}
}

func (w *world) machines() []*machine { return append([]*machine{w.proxy}, w.hosts...) }

func (w *world) machine(name string) *machine {
	for _, m := range w.machines() {
		if m.name == name {
			return m
		}
	}
	return nil
}

// stop ends every daemon.
func (w *world) stop() {
	for _, m := range w.machines() {
		m.stop()
	}
}

// config is what the machine's daemon runs on, with guests plugged in anew.
func (m *machine) config() node.Config {
	cfg := node.Config{
		Identity: m.w.papers.ids[m.name], Net: door{m.w.net.Host(m.addr)}, Listen: netip.AddrPortFrom(m.addr, 4500),
		Store: m.disk, Boot: uint64(time.Now().UnixMicro()), Sealed: m.sealed, Log: m.w.log,
	}
	for _, g := range m.guests {
		cfg.Ports = append(cfg.Ports, g.plug())
	}
	if m != m.w.proxy {
		cfg.Proxy, cfg.ProxyName = []string{netip.AddrPortFrom(m.w.proxy.addr, 4500).String()}, "proxy"
	}
	cfg.Serve = m.answer
	return cfg
}

// start runs the machine's daemon and returns once it forwards.
func (m *machine) start() {
	m.w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m.ended = make(chan error, 1)
	run, ready := m.daemon()
	go func() { m.ended <- run(ctx) }()
	select {
	case <-ready:
	case err := <-m.ended:
		m.w.t.Fatalf("%s does not start: %v", m.name, err)
	}
	m.cancel = cancel
}

func (m *machine) daemon() (run func(context.Context) error, ready <-chan struct{}) {
	if m == m.w.proxy {
		p, err := New(Config{Node: m.config(), CA: m.w.papers.ca, Store: m.disk, Log: m.w.log, Adapt: adapt.Config{Mode: m.w.mode}})
		if err != nil {
			m.w.t.Fatal(err)
		}
		m.proxy, m.node = p, p.Node()
		return p.Run, p.Ready()
	}
	n, err := node.New(m.config())
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.node = n
	return n.Run, n.Ready()
}

// stop ends the daemon in good order: its peers are told.
func (m *machine) stop() {
	if m.cancel == nil {
		return
	}
	last := m.account()
	m.cancel()
	if err := <-m.ended; err != nil {
		m.w.t.Errorf("%s: %v", m.name, err)
	}
	m.cancel = nil
	last.totals = m.node.Totals()
	m.w.past = append(m.w.past, last)
	for _, g := range m.guests {
		g.unplug()
	}
}

// crash is a loss of power: nobody is told. The machine is off when it returns.
func (m *machine) crash() {
	for _, other := range m.w.machines() {
		if other != m {
			m.w.net.Cut(m.addr, other.addr)
		}
	}
	m.stop()
	m.w.net.Host(m.addr).Crash()
	for _, other := range m.w.machines() {
		if other != m {
			m.w.net.Heal(m.addr, other.addr)
		}
	}
}

// answer serves what a Proxy asks of nodes over control streams.
func (m *machine) answer(ctx context.Context, method string, body []byte) (a control.Answer) {
	var err error
	switch method {
	case "ListLinks":
		a.Body, err = own(ctx, body, m.node.ListLinks)
	case "ListRules":
		a.Body, err = own(ctx, body, m.node.ListRules)
	case "GetCounters":
		a.Body, err = own(ctx, body, m.node.GetCounters)
		if m == m.w.proxy {
			a.Body, err = own(ctx, body, m.proxy.GetCounters)
		}
	case "GetStatus":
		a.Body, err = own(ctx, body, m.node.GetStatus)
	default:
		err = invalid("cannot answer %q: this fake knows no such call", method)
	}
	if err != nil {
		e := vnetv1.AsError(err)
		a.Code, a.Error = e.Code.String(), e.Text()
	}
	return a
}

// service is the API at the Proxy.
func (w *world) service() Service { return w.proxy.proxy.Service() }

// await lets time pass until the condition holds; after 30 s it fails.
func (w *world) await(what string, holds func() bool) {
	w.t.Helper()
	for range 600 {
		synctest.Wait()
		if holds() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.t.Fatalf("waited 30 s in vain: %s", what)
}

// up tells whether every host that runs is attached.
func (w *world) up() bool {
	list, err := w.service().ListNodes(context.Background(), &vnetv1.ListNodesRequest{})
	if err != nil {
		return false
	}
	here := 0
	for _, n := range list.Nodes {
		if n.State == vnetv1.NodeState_NODE_STATE_UP && w.machine(n.Name).cancel != nil {
			here++
		}
	}
	for _, m := range w.machines() {
		if m.cancel != nil {
			here--
		}
	}
	return here == 0
}

// guest is a fake machine behind a port: it sends numbered frames and counts
// those it hears.
type guest struct {
	name string
	mac  ether.MAC
	at   *machine
	far  port.Port // its end of the pipe; nil while unplugged

	read sync.WaitGroup
	mu   sync.Mutex     // guards the following
	got  map[uint64]int // how often each number arrived, over all lives of the daemon
	app  func(ether.Frame)
	spy  func(ether.Frame) // hears every frame
}

// probeType is an EtherType for experiments (IEEE 802, 0x88B5).
const probeType = 0x88b5

// plug makes a new pipe and returns the daemon's end.
func (g *guest) plug() port.Port {
	near, far := port.Pipe(g.name, g.name)
	g.far = far
	g.read.Go(func() {
		for batch := port.NewBatch(64); far.Read(0, batch) == nil; {
			g.heard(batch.Packets)
		}
	})
	return near
}

func (g *guest) unplug() {
	if g.far != nil {
		g.far.Close()
		g.read.Wait()
		g.far = nil
	}
}

func (g *guest) heard(pkts []ether.Packet) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range pkts {
		if g.spy != nil {
			g.spy(p.Frame)
		}
		switch f := p.Frame; {
		case f.EtherType() == probeType && len(f) >= 22:
			g.got[binary.BigEndian.Uint64(f[14:])]++
		case f.EtherType() == appType && g.app != nil:
			g.app(f)
		}
	}
}

// times tells how often a numbered frame has arrived.
func (g *guest) times(number uint64) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.got[number]
}

// send gives the daemon one numbered frame and returns its number.
func (g *guest) send(to ether.MAC) uint64 { return g.sendOf(to, 60) }

// sendOf is send with a frame of so many bytes.
func (g *guest) sendOf(to ether.MAC, size int) uint64 {
	w := g.at.w
	w.number++
	f := make(ether.Frame, size)
	copy(f[0:], to[:])
	copy(f[6:], g.mac[:])
	binary.BigEndian.PutUint16(f[12:], probeType)
	binary.BigEndian.PutUint64(f[14:], w.number)
	g.put(f)
	return w.number
}

// put gives the daemon a frame, if one runs.
func (g *guest) put(f ether.Frame) {
	if g.far != nil {
		g.far.Write(0, []ether.Packet{{Frame: f}})
	}
}

var broadcast = ether.MAC{255, 255, 255, 255, 255, 255}

// greet has every guest be heard once, so that the overlay knows where it is.
func (w *world) greet() {
	for _, g := range w.guests {
		g.send(broadcast)
	}
}

// twice lists the frames that a guest got more than once.
func (w *world) twice() (found []string) {
	for _, g := range w.guests {
		g.mu.Lock()
		for number, times := range g.got {
			if times > 1 {
				found = append(found, fmt.Sprintf("frame %d came %d times to %s at %s", number, times, g.name, g.at.name))
			}
		}
		g.mu.Unlock()
	}
	return found
}

// account is what one life of a daemon did to frames.
type account struct {
	name   string
	totals node.Totals
	links  *vnetv1.Counters
}

func (m *machine) account() account {
	a := account{name: m.name, totals: m.node.Totals(), links: &vnetv1.Counters{}}
	if out, err := m.node.GetCounters(context.Background(), &vnetv1.GetCountersRequest{}); err == nil {
		a.links = out.Total
	}
	return a
}

// accounts are those of all lives of all daemons.
func (w *world) accounts() []account {
	all := append([]account(nil), w.past...)
	for _, m := range w.machines() {
		if m.cancel != nil {
			all = append(all, m.account())
		}
	}
	return all
}
