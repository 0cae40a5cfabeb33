package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
)

const (
	// tick is how often the loop looks at what is due: announcements, loop
	// probes, prepared state that expires.
	tick = 50 * time.Millisecond
	// slowTick is the same while nothing happens at all: a wake-up costs some 200 µs of a core, with what the scheduler does
	// around it. What is due then is due in seconds. A frame, or anything else that reaches the loop, ends it at once.
	slowTick = time.Second
	// probeTick is the same at a node with a port on a LAN, which sends a loop probe each second.
	probeTick = 250 * time.Millisecond
	// dozeAfter is how long nothing must have happened.
	dozeAfter = time.Second
	// relearn is how often workers report senders they have reported before, so
	// that ageing (300 s) sees who is still there.
	relearn = 60 * time.Second
	// readBatch is how many packets a worker takes from a port at once: enough to
	// share system calls and seals, few enough to stay in the cache.
	readBatch = 64
)

// loop owns the node's state: nobody else touches it.
func (n *Node) loop(ctx context.Context, s *state) error {
	if err := s.n.restoreTrust(); err != nil {
		return err
	}
	if err := s.restore(); err != nil {
		return fmt.Errorf("cannot read the cached state: %w", err)
	}
	s.publish()
	select {
	case <-n.endpoint.Ready():
	case <-ctx.Done():
		return nil
	}
	if err := n.startOffloads(); err != nil {
		return err
	}
	s.under.tick(time.Now(), s) // before any port is read
	s.reluctant()
	s.startKeepers()
	close(n.ready)
	d := newDoze(n)
	defer d.ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			s.close()
			return nil
		case now := <-d.ticker.C:
			s.tick(now)
			d.tick(now, s)
			s.publishIfDirty()
			continue
		case fn := <-n.work:
			fn(s)
		case one := <-n.seen:
			s.learn(time.Now(), one)
		case q := <-n.asked:
			s.answer(q)
		case p := <-n.probed:
			s.lans.heard(p)
		case t := <-n.traces:
			s.report(t)
		case <-n.roused:
		}
		d.stir(time.Now())
		s.publishIfDirty()
	}
}

// doze is the loop's clock, which goes slowly while nothing happens. The loop owns it.
type doze struct {
	n      *Node
	ticker *link.Ticker
	slow   bool
	last   time.Time // when something happened
	frames uint64    // that the workers had seen by the last tick
}

func newDoze(n *Node) *doze {
	return &doze{n: n, ticker: link.NewTicker(n.cfg.Net, tick), last: time.Now()}
}

// stir says that something happened.
func (d *doze) stir(now time.Time) {
	d.last = now
	if d.n.dozing.Swap(false) || d.slow {
		d.slow = false
		d.ticker.Reset(tick)
	}
}

// tick looks whether anything happened lately, or is about to.
func (d *doze) tick(now time.Time, s *state) {
	frames := d.n.framesSeen()
	if frames != d.frames || !s.settled() || d.n.cfg.Imagined != nil {
		d.frames = frames
		d.stir(now)
		return
	}
	if !d.slow && now.Sub(d.last) >= dozeAfter {
		d.slow = true
		if s.lans.key != nil && slices.ContainsFunc(d.n.ports, func(at *localPort) bool { return at.lan }) {
			d.ticker.Reset(probeTick)
		} else {
			d.ticker.Reset(slowTick)
		}
		d.n.dozing.Store(true)
	}
}

// framesSeen grows with every batch of frames that reaches the node.
func (n *Node) framesSeen() (sum uint64) {
	for _, w := range n.workers {
		sum += w.counts.edgeIn.value() + w.counts.linkIn.value()
	}
	return sum
}

// rouse ends the loop's doze; it may be called for every batch.
func (n *Node) rouse() {
	if n.dozing.Load() && n.dozing.Swap(false) {
		select {
		case n.roused <- struct{}{}:
		default:
		}
	}
}

// readPort is the goroutine of one port queue.
func (n *Node) readPort(ctx context.Context, w *worker, at *localPort, q int) error {
	select {
	case <-n.ready:
	case <-ctx.Done():
		return nil
	}
	batch := port.NewBatch(readBatch)
	var turn link.Turn
	for {
		switch err := at.port.Read(q, batch); {
		case err == nil:
			w.run(at.side, batch.Packets)
			turn.At(time.Now())
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return nil
		default:
			n.portFailed(at, err)
			return nil // the other ports go on
		}
	}
}

// portFailed reports a port whose interface is gone.
func (n *Node) portFailed(at *localPort, err error) {
	text := fmt.Sprintf("port %s is lost: %v; restart the daemon when its interface is back", at.name, err)
	n.do(func(s *state) { s.warning["port "+at.name] = text })
	n.event(Event{Kind: "port.lost", Text: text, Fields: map[string]string{"port": at.name}})
}
