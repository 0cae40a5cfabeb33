package node

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/forward"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
	"github.com/virtuoso-vnet/virtuoso/internal/seal"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
)

const (
	// loopLane is the lane of frames that the node itself makes; the loop owns it.
	loopLane = 0
	// sightings is how many new senders may wait to be learned; what does not
	// fit is seen again with the sender's next frame.
	sightings = 1024
)

// Node is one daemon. New touches nothing; Run does.
type Node struct {
	cfg      Config
	name     overlay.Name
	endpoint *link.Endpoint
	trust    *pki.Trust
	identity atomic.Pointer[pki.Identity]           // the newest
	ciphers  atomic.Pointer[map[string]link.Cipher] // that the user wants, by peer; one that is not there is automatic
	extra    atomic.Pointer[map[string]int]         // ports that the user wants, by peer; one that is not there has none
	ready    chan struct{}
	started  time.Time

	// Constant after New; each worker belongs to the goroutine that reads its
	// queue or socket, worker 0 to the loop.
	workers []*worker
	ports   []*localPort

	snapshot atomic.Pointer[snapshot]                 // written by the loop, read by workers
	holders  atomic.Pointer[map[netip.Addr]ether.MAC] // of IP addresses, likewise; nil while nothing is dropped by it

	work   chan func(*state) // to the loop
	seen   chan sighting     // from workers to the loop, dropping when full
	asked  chan question     // likewise
	probed chan heardProbe   // likewise
	traces chan traced       // likewise
	roused chan struct{}     // to the loop: frames come after a long time without
	dozing atomic.Bool       // the loop wants to know when they do

	offload switches

	disk    *store.Writer // of the cache
	desk    *seal.Desk    // answers hosts that want to seal
	calls   calls         // answers we wait for
	decoder decoder
	events  *Events

	keepers sync.WaitGroup // keepers and readers; Run waits for them
	ctx     context.Context
}

// localPort is a port with what forwarding needs to know of it.
type localPort struct {
	port  port.Port
	name  string
	index int
	side  forward.Side
	lan   bool
	guard *lanGuard // nil unless lan

	in, out traffic // by all workers, a batch at a time
	gate    gate
}

// traffic is what crossed a port in one direction.
type traffic struct{ frames, bytes atomic.Uint64 }

func (t *traffic) add(frames, bytes uint64) {
	t.frames.Add(frames)
	t.bytes.Add(bytes)
}

// New prepares a node; Run starts it.
func New(cfg Config) (*Node, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, name: overlay.Name(cfg.Identity.Name), ready: make(chan struct{}),
		work: make(chan func(*state)), seen: make(chan sighting, sightings), asked: make(chan question, 64), probed: make(chan heardProbe, 16), traces: make(chan traced, tracesAhead), roused: make(chan struct{}, 1), events: NewEvents(),
	}
	lane, lan := loopLane+1, sharedEchoes()
	for i, p := range cfg.Ports {
		at := &localPort{port: p, name: p.Name(), index: i, side: forward.PortSide(i), lan: p.Info().LAN}
		if at.lan {
			at.guard = &lanGuard{echoes: lan.newEchoes()}
		}
		n.ports = append(n.ports, at)
		lane += p.Queues()
	}
	n.disk = store.NewWriter(cfg.Store, n.diskSays)
	n.desk = seal.NewDesk(n.Identity, n.sealTaken)
	id, err := n.believe()
	if err != nil {
		return nil, err
	}
	n.endpoint, err = link.New(link.Config{
		Identity: id, Net: cfg.Net, Listen: cfg.Listen, Sockets: cfg.Sockets,
		FirstLane: lane, Receive: n.receive, Accept: n.accept, Join: n.join(), Clients: cfg.Clients, Cipher: n.cipherWith, ExtraPorts: n.extraPortsWith, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	for i := range lane + cfg.Sockets {
		n.workers = append(n.workers, newWorker(n, i))
	}
	return n, nil
}

// Ready is closed when the node listens and forwards.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Name is the name the node was enrolled under.
func (n *Node) Name() overlay.Name { return n.name }

// Endpoint is the node's end of all its links.
func (n *Node) Endpoint() *link.Endpoint { return n.endpoint }

// Run forwards until ctx ends, then closes links and ports.
func (n *Node) Run(ctx context.Context) error {
	disk, stop := context.WithCancel(context.WithoutCancel(ctx)) // past the loop's last word
	var writing sync.WaitGroup
	writing.Go(func() { n.disk.Run(disk) })
	defer writing.Wait()
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	n.ctx = ctx
	n.started = time.Now()
	s := newState(n)
	s.publish()
	group.Go(func() error { return n.endpoint.Run(ctx) })
	group.Go(func() error { return n.loop(ctx, s) })
	lane := loopLane + 1
	for _, at := range n.ports {
		for q := range at.port.Queues() {
			w := n.workers[lane]
			group.Go(func() error { return n.readPort(ctx, w, at, q) })
			lane++
		}
	}
	group.Go(func() error {
		<-ctx.Done()
		for _, at := range n.ports {
			at.port.Close()
		}
		return nil
	})
	err := group.Wait()
	n.desk.Close()
	n.keepers.Wait()
	return err
}

// do runs fn on the loop and waits for it; false when the node has ended.
func (n *Node) do(fn func(*state)) bool {
	done := make(chan struct{})
	select {
	case n.work <- func(s *state) { defer close(done); fn(s) }:
		<-done
		return true
	case <-n.ctx.Done():
		return false
	}
}

// receive carries a batch from a link; it runs in the link's receive worker.
func (n *Node) receive(lane int, l *link.Link, pkts []ether.Packet) {
	at, ok := l.Owner().(*slot)
	if !ok {
		return
	}
	n.workers[lane].run(at.side, pkts)
}

func (n *Node) join() func(conn net.Conn) {
	if n.cfg.Hub == nil {
		return nil
	}
	return n.cfg.Hub.Join
}

// isProxy tells whether this is the node that the Proxy runs on.
func (n *Node) isProxy() bool { return n.cfg.Hub != nil }
