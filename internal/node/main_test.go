package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
	"github.com/virtuoso-vnet/virtuoso/internal/simnet"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// door is a host of the memory network as a node's door, on which UDP can be shut.
type door struct {
	*simnet.Host
	mu    sync.Mutex
	noUDP bool // guarded by mu
}

func (d *door) ListenUDP(at netip.AddrPort, n int) ([]link.Socket, error) {
	group, err := d.Host.ListenUDP(at, n)
	var out []link.Socket
	for _, s := range group {
		out = append(out, &socket{s, d})
	}
	return out, err
}

func (d *door) shutUDP(shut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.noUDP = shut
}

type socket struct {
	*simnet.UDPSocket
	door *door
}

func (s *socket) WriteSegments(to netip.AddrPort, buf []byte, seg int) error {
	s.door.mu.Lock()
	shut := s.door.noUDP
	s.door.mu.Unlock()
	if shut {
		return nil // a firewall says nothing
	}
	return s.UDPSocket.WriteSegments(to, buf, seg)
}

// hub is a Proxy that welcomes hosts and remembers what it hears.
type hub struct {
	node *Node
	busy time.Duration // how long it takes to welcome a host

	mu    sync.Mutex // guards the following
	here  map[overlay.Name]int
	gone  map[overlay.Name]int
	heard []any
}

func (h *hub) Attached(peer overlay.Name, l *link.Link, hello control.Hello) {
	time.Sleep(h.busy)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.here[peer]++
	h.node.SendTo(peer, control.Welcome{Proxy: h.node.Name(), Overlay: "test", Generation: 7, Flood: true})
}

func (h *hub) Detached(peer overlay.Name, _ *link.Link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone[peer]++
}

func (h *hub) Heard(_ overlay.Name, message any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = append(h.heard, message)
}

func (h *hub) Join(conn net.Conn) { conn.Close() }

// all are the messages of one kind that the hub has heard.
func all[M any](h *hub) (list []M) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, message := range h.heard {
		if m, ok := message.(M); ok {
			list = append(list, m)
		}
	}
	return list
}

// last is the newest of them.
func last[M any](h *hub) (m M, ok bool) {
	list := all[M](h)
	if len(list) == 0 {
		return m, false
	}
	return list[len(list)-1], true
}

// site is one machine in a bubble: its daemon, its network, its disk and its one guest.
type site struct {
	t     testing.TB
	name  string
	addr  netip.Addr
	door  *door
	disk  *store.Store
	guest port.Port // the far end of port vm1
	node  *Node
	hub   *hub // of the Proxy
	stop  func()
}

// town is a Proxy and hosts h1, h2 … in a bubble.
type town struct {
	net   *simnet.Net
	ids   map[string]*pki.Identity
	proxy *site
	hosts []*site
}

func bubbleStart() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

func identities(t testing.TB, hosts int) map[string]*pki.Identity {
	t.Helper()
	ca, err := pki.NewCA("test", bubbleStart())
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]*pki.Identity{}
	for i := range hosts + 1 {
		name, role := fmt.Sprint("h", i), pki.RoleHost
		if i == 0 {
			name, role = "proxy", pki.RoleProxy
		}
		if ids[name], err = ca.Issue(name, role, bubbleStart(), 30*24*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

// inTown runs the body in a bubble with daemons that run and are linked to their Proxy.
func inTown(t *testing.T, hosts int, body func(*testing.T, *town)) {
	t.Helper()
	ids := identities(t, hosts)
	synctest.Test(t, func(t *testing.T) {
		w := &town{net: simnet.New(1), ids: ids}
		w.net.SetDefault(wan.Path{Delay: 5 * time.Millisecond})
		w.proxy = w.newSite(t, "proxy", 1)
		w.proxy.start(w)
		for i := range hosts {
			h := w.newSite(t, fmt.Sprint("h", i+1), byte(i+2))
			w.hosts = append(w.hosts, h)
			h.start(w)
		}
		defer func() {
			for _, s := range append(w.hosts, w.proxy) {
				s.stop()
			}
		}()
		for _, h := range w.hosts {
			h.await("the star is up", func() bool { return h.star() != nil })
		}
		body(t, w)
	})
}

func (w *town) newSite(t testing.TB, name string, number byte) *site {
	s := &site{t: t, name: name, addr: netip.AddrFrom4([4]byte{10, 0, 0, number}), disk: store.Memory(), stop: func() {}}
	s.door = &door{Host: w.net.Host(s.addr)}
	return s
}

func (s *site) start(w *town, change ...func(*Config)) {
	s.t.Helper()
	near, far := port.Pipe("vm1", "vm1")
	s.guest = far
	cfg := Config{
		Identity: w.ids[s.name], Net: s.door, Listen: netip.AddrPortFrom(s.addr, 4500), Store: s.disk,
		Ports: []port.Port{near}, Boot: uint64(time.Now().UnixMicro()), ProxyName: "proxy",
	}
	if s.name == "proxy" {
		s.hub = &hub{here: map[overlay.Name]int{}, gone: map[overlay.Name]int{}}
		cfg.Hub = s.hub
	} else {
		cfg.Proxy = []string{"10.0.0.1:4500"}
	}
	for _, c := range change {
		c(&cfg)
	}
	n, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.node = n
	if s.hub != nil {
		s.hub.node = n
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	<-n.Ready()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("%s: %v", s.name, err)
		}
		s.guest.Close()
		s.stop = func() {}
	}
}

// crash is a loss of power: nobody is told.
func (s *site) crash(w *town) {
	for i := range 9 {
		w.net.Cut(s.addr, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}))
	}
	s.stop()
	s.door.Host.Crash()
	for i := range 9 {
		w.net.Heal(s.addr, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}))
	}
}

func (s *site) await(what string, holds func() bool) time.Duration {
	s.t.Helper()
	begin := time.Now()
	for range 30_000 {
		synctest.Wait()
		if holds() {
			return time.Since(begin)
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("%s: waited 5 minutes in vain: %s", s.name, what)
	return 0
}

// to is the session to a neighbour that frames are sent on, and how many live.
func (s *site) to(peer overlay.Name) (current *link.Link, live int) {
	s.node.do(func(st *state) {
		if one, ok := st.byPeer[peer]; ok {
			current, live = one.current.Load(), len(one.live)
		}
	})
	return current, live
}

func (s *site) star() *link.Link { l, _ := s.to("proxy"); return l }

// frame is a plain frame with the addresses of two guests.
func frame(from, to ether.MAC) ether.Packet {
	f := make(ether.Frame, 60)
	copy(f, to[:])
	copy(f[6:], from[:])
	f[12], f[13] = 0x12, 0x34
	return ether.Packet{Frame: f}
}

func mac(n int) ether.MAC { return ether.MAC{2, 0, 0, 0, byte(n >> 8), byte(n)} }

func everybody() ether.MAC { return ether.MAC{255, 255, 255, 255, 255, 255} }
