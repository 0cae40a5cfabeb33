package link

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

// Protocols agreed in the handshake (ALPN).
const (
	alpnQUIC    = "vnet/1"
	alpnControl = "vnet/1-control" // tcp carrier: the control stream
	alpnSealed  = "vnet/1-sealed"  // tcp carrier: the frames, in blocks of our own
	alpnFrames  = "vnet/1-frames"  // tcp carrier: the frames, sealed by TLS: with a peer that knows of nothing else
)

// framesALPN are the protocols of a frames connection, the better first.
func framesALPN() []string { return []string{alpnSealed, alpnFrames} }

const (
	quicClosed = quic.ApplicationErrorCode(0) // the link was closed in order; the text says why

	setupTimeout = 10 * time.Second // for a whole link set-up of which nothing else limits the time

	// handshakesUnproved is how many QUIC handshakes a second are begun without asking the caller to prove its address.
	handshakesUnproved = 100

	portTries = 16 // attempts to find one free port number for both udp and tcp
)

// Config is what an endpoint needs to know. The zero value of every field but Identity and Receive is usable.
type Config struct {
	Identity *pki.Identity
	Net      Net            // nil: Kernel
	Listen   netip.AddrPort // one number for udp and tcp; port 0: any; no address: all
	Sockets  int            // of the udp group, each with a worker; 0: 1

	FirstLane int // lane of the first socket's worker; lanes below are other workers'
	Lanes     int // of the node in all, at most 64; 0: FirstLane + Sockets

	// Receive takes frames that arrived, in the goroutine that owns lane until it returns; so do the packets.
	Receive func(lane int, l *Link, pkts []ether.Packet)
	// Accept takes a link that a peer dialled, before any frame of it is delivered. An error refuses it; its text is told
	// to the peer. nil refuses all.
	Accept func(l *Link) error
	// Join takes the connection of a stranger who wants to become a node, and closes it. nil refuses them.
	Join func(conn net.Conn)

	// Cipher is what this node wishes for its links with a peer. A link is trusted only when both ends wish so. nil: auto.
	Cipher func(peer string) Cipher
	// ExtraPorts is from how many further ports links to a peer send at first; see Link.SetExtraPorts. nil: none.
	ExtraPorts func(peer string) int
	// Clients takes the connection of a client of the API, who has shown its certificate, and closes it. nil refuses them.
	Clients func(conn *tls.Conn)

	EpochTime      time.Duration // longest use of one key; 0: 15 min
	EpochDatagrams uint64        // most datagrams under one key; 0: 2^25

	Log *slog.Logger // nil: nothing is logged
}

func (c *Config) validate() error {
	if c.Identity == nil || c.Receive == nil {
		return errors.New("cannot make an endpoint without an identity and a receiver")
	}
	if c.Net == nil {
		c.Net = Kernel{}
	}
	c.Sockets = max(1, c.Sockets)
	if c.Lanes == 0 {
		c.Lanes = c.FirstLane + c.Sockets
	}
	if c.FirstLane < 0 || c.Lanes < c.FirstLane+c.Sockets || c.Lanes > maxLanes {
		return fmt.Errorf("cannot use %d lanes from %d on for %d sockets: a node has at most %d", c.Lanes, c.FirstLane, c.Sockets, maxLanes)
	}
	if c.EpochTime <= 0 {
		c.EpochTime = epochTime
	}
	if c.EpochDatagrams == 0 {
		c.EpochDatagrams = epochDatagrams
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Endpoint is a node's end of all its links: one udp port, shared by QUIC and our datagrams, and the tcp port of the same
// number.
type Endpoint struct {
	cfg      Config
	identity atomic.Pointer[pki.Identity]
	ready    chan struct{}
	lanes    []*outbox // each its worker's
	inlets   []*inlet  // one a socket
	usher    *usher
	frames   []string // framesALPN, or what a version before knew

	// Set by Run before ready is closed.
	ctx       context.Context // ends with Run
	sockets   []Socket
	quicConn  *quicConn
	transport *quic.Transport
	listener  *quic.Listener
	tcp       net.Listener

	byLinkID  atomic.Pointer[map[LinkID]*Link] // udp links; replaced whole under mu
	strays    atomic.Uint64                    // datagrams for no link of ours
	nextProbe atomic.Uint32
	joinUDP   atomic.Bool

	mu       sync.Mutex
	closed   bool // Run is ending: nothing new is begun
	sessions map[*Link]struct{}
	lingers  map[*Link]*time.Timer     // dead links that are still known
	awaited  map[LinkID]*awaitedFrames // tcp sessions whose frames connection has not come yet
	extras   []*extraPort              // that links have asked for; each with a reader among tasks
	tasks    sync.WaitGroup            // all goroutines but the receivers
}

// New checks the configuration. It touches nothing.
func New(cfg Config) (*Endpoint, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	e := &Endpoint{
		cfg: cfg, ready: make(chan struct{}), usher: newUsher(), frames: framesALPN(),
		sessions: make(map[*Link]struct{}), lingers: make(map[*Link]*time.Timer), awaited: make(map[LinkID]*awaitedFrames),
	}
	e.identity.Store(cfg.Identity)
	e.byLinkID.Store(&map[LinkID]*Link{})
	return e, nil
}

// SetIdentity replaces the certificate for links made from now on.
func (e *Endpoint) SetIdentity(id *pki.Identity) { e.identity.Store(id) }

// Ready is closed when the endpoint listens.
func (e *Endpoint) Ready() <-chan struct{} { return e.ready }

// Addr is where it listens, once ready.
func (e *Endpoint) Addr() netip.AddrPort { return e.sockets[0].LocalAddr() }

// Strays is the number of datagrams that belonged to no link.
func (e *Endpoint) Strays() uint64 { return e.strays.Load() }

// Run listens and carries until ctx ends, then closes all links. It waits for every goroutine the endpoint started.
func (e *Endpoint) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.ctx = ctx
	if err := e.listen(); err != nil {
		return err
	}
	failed := make(chan error, len(e.sockets))
	var receivers sync.WaitGroup
	for i, s := range e.sockets {
		r := newReceiver(e, e.inlets[i], s)
		receivers.Go(func() {
			if err := r.run(); err != nil {
				failed <- fmt.Errorf("cannot read from the underlay: %w", err)
			}
		})
	}
	e.spawn(e.acceptQUIC)
	e.spawn(e.acceptTCP)
	close(e.ready)
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		cancel()
	}
	e.stop()
	for _, s := range e.sockets {
		s.Close()
	}
	receivers.Wait()
	return err
}

// listen opens everything.
func (e *Endpoint) listen() error {
	if err := e.bind(); err != nil {
		return err
	}
	for i := range e.cfg.Lanes {
		n := i // workers of ports take the sockets in turn, a socket's own worker its own
		if i >= e.cfg.FirstLane {
			n = i - e.cfg.FirstLane
		}
		e.lanes = append(e.lanes, newOutbox(i, e.sockets[n%len(e.sockets)]))
	}
	for i := range e.sockets {
		e.inlets = append(e.inlets, &inlet{lane: e.cfg.FirstLane + i})
	}
	e.quicConn = newQUICConn(e.sockets[0])
	unproved := rate.NewLimiter(handshakesUnproved, handshakesUnproved)
	e.transport = &quic.Transport{
		Conn: e.quicConn, VerifySourceAddress: func(net.Addr) bool { return !unproved.Allow() }, ConnContext: e.knocked,
	}
	var err error
	if e.listener, err = e.transport.Listen(e.quicServerTLS(), quicConfig()); err != nil {
		e.tcp.Close()
		e.transport.Close()
		for _, s := range e.sockets {
			s.Close()
		}
		return fmt.Errorf("cannot listen for QUIC: %w", err)
	}
	return nil
}

// bind takes one port number for tcp and udp. tcp comes first: udp ports can be shared, so only tcp can tell that another
// daemon has the number.
func (e *Endpoint) bind() (err error) {
	for range portTries {
		if e.tcp, err = e.cfg.Net.ListenTCP(e.cfg.Listen); err != nil {
			return err
		}
		at := netip.AddrPortFrom(e.cfg.Listen.Addr(), addrPort(e.tcp.Addr()).Port())
		if e.sockets, err = e.cfg.Net.ListenUDP(at, e.cfg.Sockets); err == nil {
			return nil
		}
		e.tcp.Close()
		if e.cfg.Listen.Port() != 0 {
			break
		}
	}
	return err
}

// stop ends all links and everything that could begin one.
func (e *Endpoint) stop() {
	e.mu.Lock()
	e.closed = true
	for l := range e.sessions {
		l.Close("the node is stopping")
	}
	for l, t := range e.lingers {
		t.Stop()
		delete(e.lingers, l)
	}
	for _, p := range e.extras {
		p.sock.Close()
	}
	e.mu.Unlock()
	e.tcp.Close()
	e.tasks.Wait()
	e.listener.Close()
	e.transport.Close()
	e.quicConn.Close()
}

// spawn starts a goroutine that Run waits for; false when Run is ending.
func (e *Endpoint) spawn(task func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.tasks.Go(task)
	return true
}

var errStopping = errors.New("cannot open a link: the node is stopping")

// admit enters a link into the tables and starts its heartbeat, and over tcp its frames.
func (e *Endpoint) admit(l *Link) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errStopping
	}
	if !l.dialled {
		if err := e.usher.link(l.account); err != nil {
			return err
		}
	}
	if l.stream != nil {
		if err := l.stream.open(); err != nil {
			if !l.dialled {
				e.usher.unlink(l.account)
			}
			return err
		}
	}
	l.start()
	e.sessions[l] = struct{}{}
	if l.stream == nil {
		next := maps.Clone(*e.byLinkID.Load())
		next[l.mine] = l
		e.byLinkID.Store(&next)
	} else {
		in := e.inlets[int(l.mine)%len(e.inlets)]
		e.tasks.Go(func() { l.stream.write(l) })
		e.tasks.Go(func() { l.stream.receive(l, in) })
	}
	e.tasks.Go(l.tick)
	e.tasks.Go(l.keep)
	return nil
}

// forget takes a dead link out of the tables.
func (e *Endpoint) forget(l *Link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l.still.Store(true)
	delete(e.sessions, l)
	delete(e.lingers, l)
	l.left.Do(func() {
		l.control.settle(l.account)
		if !l.dialled {
			e.usher.unlink(l.account)
		}
	})
	if (*e.byLinkID.Load())[l.mine] == l {
		next := maps.Clone(*e.byLinkID.Load())
		delete(next, l.mine)
		e.byLinkID.Store(&next)
	}
}

// forgetLater does so when it has lingered, and repeats its last words until then.
func (e *Endpoint) forgetLater(l *Link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sessions, l)
	if e.closed {
		l.still.Store(true)
		return
	}
	left := linger
	e.lingers[l] = time.AfterFunc(beatEvery, func() {
		if left -= beatEvery; left <= 0 {
			l.shut.Store(true)
			e.forget(l)
			return
		}
		l.sendHouse(0, l.bye().put)
		e.mu.Lock()
		defer e.mu.Unlock()
		if t, ok := e.lingers[l]; ok {
			t.Reset(beatEvery)
		}
	})
}

func (e *Endpoint) byID(id LinkID) *Link { return (*e.byLinkID.Load())[id] }

// newLinkID is a random name for a session that no other of ours has. Names are no secret; being random, one of before a
// restart means nothing after it.
func (e *Endpoint) newLinkID() LinkID {
	for {
		var b [4]byte
		_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
		id := LinkID(binary.BigEndian.Uint32(b[:]))
		if id != 0 && e.byID(id) == nil {
			return id
		}
	}
}
