package simulate

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
	"github.com/virtuoso-vnet/virtuoso/internal/proxy"
	"github.com/virtuoso-vnet/virtuoso/internal/simnet"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// listen is the port of every daemon.
const listen = 4747

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

// machine is one computer with its daemon.
type machine struct {
	name    string
	addr    netip.Addr
	guests  []*guest
	node    *node.Node
	proxy   *proxy.Proxy // at the Proxy's
	counter *vttif.Counter
	ways    node.Ways // when the flows were led last
	cancel  context.CancelFunc
	ended   chan error
}

func (m *machine) config(w *World, id *pki.Identity) node.Config {
	cfg := node.Config{
		Identity: id, Net: door{w.net.Host(m.addr)}, Listen: netip.AddrPortFrom(m.addr, listen),
		Store: store.Memory(), Boot: uint64(time.Now().UnixMicro()), Imagined: m.counter,
	}
	for _, g := range m.guests {
		cfg.Ports = append(cfg.Ports, g.plug())
	}
	cfg.Serve = m.answer
	if m.name != w.spec.Overlay.Proxy {
		at, _ := w.spec.Host(w.spec.Overlay.Proxy)
		cfg.Proxy, cfg.ProxyName = []string{netip.AddrPortFrom(at.Address.Addr(), listen).String()}, w.spec.Overlay.Proxy
	}
	return cfg
}

// start runs the daemon and returns once it forwards.
func (m *machine) start(w *World, id *pki.Identity, ca *pki.CA) error {
	var run func(context.Context) error
	var ready <-chan struct{}
	cfg := m.config(w, id)
	if m.name == w.spec.Overlay.Proxy {
		p, err := proxy.New(proxy.Config{Node: cfg, CA: ca, Store: cfg.Store, Adapt: w.cfg.Adapt, VTTIF: w.cfg.VTTIF})
		if err != nil {
			return err
		}
		m.proxy, m.node, run, ready = p, p.Node(), p.Run, p.Ready()
	} else {
		n, err := node.New(cfg)
		if err != nil {
			return err
		}
		m.node, run, ready = n, n.Run, n.Ready()
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.ended = cancel, make(chan error, 1)
	go func() { m.ended <- run(ctx) }()
	select {
	case <-ready:
		return nil
	case err := <-m.ended:
		return err
	}
}

func (m *machine) stop() error {
	if m.cancel == nil {
		return nil
	}
	m.cancel()
	err := <-m.ended
	for _, g := range m.guests {
		g.unplug()
	}
	return err
}

// answer serves what the Proxy asks of nodes over control streams.
func (m *machine) answer(ctx context.Context, method string, _ []byte) control.Answer {
	return control.Answer{Code: "not_found", Error: "a simulated daemon has no server for " + method}
}

// counters are the machine's part of the account of frames.
func (m *machine) counters() *vnetv1.Counters {
	out, err := m.node.GetCounters(context.Background(), &vnetv1.GetCountersRequest{})
	if err != nil {
		return &vnetv1.Counters{}
	}
	return out.Total
}

// guest is a VM: what its application sends is a model, what it probes with is real.
type guest struct {
	number int
	name   string
	mac    ether.MAC
	at     *machine
	far    port.Port // its end of the pipe

	read sync.WaitGroup
	mu   sync.Mutex     // guards the following
	got  map[uint64]int // how often each numbered probe came
}

// probeType is an EtherType for experiments (IEEE 802, 0x88B5).
const probeType = 0x88b5

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
	g.far.Close()
	g.read.Wait()
}

func (g *guest) heard(pkts []ether.Packet) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range pkts {
		if f := p.Frame; f.EtherType() == probeType && len(f) >= 22 {
			g.got[binary.BigEndian.Uint64(f[14:])]++
		}
	}
}

// times tells how often a probe came.
func (g *guest) times(number uint64) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.got[number]
}

func (g *guest) send(to ether.MAC, number uint64) {
	f := make(ether.Frame, 60)
	copy(f[0:], to[:])
	copy(f[6:], g.mac[:])
	binary.BigEndian.PutUint16(f[12:], probeType)
	binary.BigEndian.PutUint64(f[14:], number)
	_, _ = g.far.Write(0, []ether.Packet{{Frame: f}}) // a pipe that is full counts it
}

// side is the guest's port at its node.
func (g *guest) side() overlay.Side { return overlay.AtPort(g.name) }
