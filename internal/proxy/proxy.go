package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// Config is what a Proxy needs beyond its node.
type Config struct {
	Node  node.Config  // Hub is set by New
	CA    *pki.CA      // signs the hosts' certificates
	OldCA *pki.CA      // the one before, while it is still believed; nil for none
	Vault Vault        // keeps new keys; nil keeps them in memory only
	Store *store.Store // the record of the overlay, tokens
	Adapt adapt.Config // at the first start; zero is fastpath in mode auto without limit
	VTTIF vttif.Config // zero is the defaults
	// Allowed says whether a host may ask for a method of the API; nil: for each.
	Allowed func(method string) error
	Log     *slog.Logger
}

// Proxy is one Proxy. New touches nothing; Run does.
type Proxy struct {
	cfg   Config
	node  *node.Node
	mail  *mailbox
	desks desks         // what each host has the hub busy with
	disk  *store.Writer // of the record
	ready chan struct{}
	ended chan struct{} // closed when the hub looks at no mail any more

	authority *authority
	ctx       context.Context // ends with Run, which sets it
	sealing   sealTelling
	tasks     sync.WaitGroup // what is told to nodes beside the hub; Run waits for it
}

// New prepares a Proxy; Run starts it.
func New(cfg Config) (*Proxy, error) {
	if cfg.CA == nil || cfg.Store == nil {
		return nil, fmt.Errorf("cannot start a Proxy without a certificate authority and a store")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{cfg: cfg, mail: newMailbox(), ready: make(chan struct{}), ended: make(chan struct{})}
	p.sealing = newSealTelling()
	p.disk = store.NewWriter(cfg.Store, p.diskSays)
	cfg.Node.Hub = p
	var err error
	if p.node, err = node.New(cfg.Node); err != nil {
		return nil, err
	}
	p.authority = newAuthority(cfg.CA, cfg.OldCA)
	p.node.Trust().Members(p.ledger().Holds)
	return p, nil
}

// Node is the node that the Proxy runs on.
func (p *Proxy) Node() *node.Node { return p.node }

// Ready is closed when the Proxy answers for the overlay.
func (p *Proxy) Ready() <-chan struct{} { return p.ready }

// Run serves until ctx ends.
func (p *Proxy) Run(ctx context.Context) error {
	defer close(p.ended)
	defer p.write(ctx)()
	group, ctx := errgroup.WithContext(ctx)
	p.ctx = ctx
	defer p.tasks.Wait()
	group.Go(func() error { return p.node.Run(ctx) })
	group.Go(func() error {
		select {
		case <-p.node.Ready():
		case <-ctx.Done():
			return nil
		}
		h, err := newHub(ctx, p)
		if err != nil {
			return err
		}
		close(p.ready)
		p.tasks.Go(func() { p.keepKeys(ctx) })
		return h.run(ctx)
	})
	return group.Wait()
}

// write keeps the record's writer running until the function it returns is called: past ctx, for what the hub says last.
func (p *Proxy) write(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { p.disk.Run(ctx) })
	return func() { cancel(); running.Wait() }
}

// diskSays reports a disk that takes nothing; the overlay goes on as it is in memory.
func (p *Proxy) diskSays(err error) {
	if err != nil {
		p.event("warning", fmt.Sprintf("cannot save the overlay: %v; free some disk space, or a restart forgets what is new", err), nil)
		return
	}
	p.event("saved", "the overlay is on disk again", nil)
}

// saved returns the outcome of what a client asked for, once it is on disk: nodes did not wait for that, but who was
// told that it is done may rely on it after a crash. A disk that takes nothing is reported and makes nobody wait.
func (p *Proxy) saved(ctx context.Context, outcome error) error {
	if outcome == nil {
		_ = p.disk.Settle(ctx) // diskSays has told
	}
	return outcome
}

// Attached, Detached and Heard implement node.Hub: they leave a message.

// Attached says that a host's control stream is open.
func (p *Proxy) Attached(peer overlay.Name, l *link.Link, hello control.Hello) {
	p.mail.leave(func(h *hub) { h.attached(time.Now(), peer, l, hello) })
}

// Detached says that a star link has ended.
func (p *Proxy) Detached(peer overlay.Name, l *link.Link) {
	p.mail.leave(func(h *hub) { h.detached(peer, l) })
}

// Heard takes a message of a host, or of the node itself. Of a host it waits while too many wait already; the node itself,
// whose loop it is that calls, is never kept.
func (p *Proxy) Heard(peer overlay.Name, message any) {
	if peer == p.node.Name() {
		p.mail.leave(func(h *hub) { h.heard(time.Now(), peer, message) })
		return
	}
	letters := p.desks.at(peer).letters
	select {
	case letters <- struct{}{}:
	case <-p.ctx.Done():
		return
	}
	p.mail.leave(func(h *hub) {
		<-letters
		h.heard(time.Now(), peer, message)
	})
}

func remoteHost(conn net.Conn) string {
	if at, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		return at.Addr().Unmap().String()
	}
	return conn.RemoteAddr().String()
}

func (p *Proxy) event(kind, text string, fields map[string]string) {
	p.node.Events().Add(node.Event{Time: time.Now(), Node: string(p.node.Name()), Kind: kind, Text: text, Fields: fields})
	p.cfg.Log.Info(text, "kind", kind)
}

// errStopped is what callers hear whom the hub did not get to answer.
var errStopped = errors.New("cannot answer: the Proxy is stopping; ask again when it is back")

// ask runs fn in the hub and waits for it.
func (p *Proxy) ask(ctx context.Context, fn func(*hub)) error {
	done := make(chan struct{})
	p.mail.leave(func(h *hub) { fn(h); close(done) })
	select {
	case <-done:
		return nil
	case <-p.ended:
		return errStopped
	case <-ctx.Done():
		return fmt.Errorf("cannot answer: %w", ctx.Err())
	}
}
