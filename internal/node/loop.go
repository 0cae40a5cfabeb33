package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
)

const (
	// tick is how often the loop looks at what is due: announcements, loop
	// probes, prepared state that expires.
	tick = 50 * time.Millisecond
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
	s.startKeepers()
	close(n.ready)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			s.close()
			return nil
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
		case now := <-ticker.C:
			s.tick(now)
		}
		s.publishIfDirty()
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
