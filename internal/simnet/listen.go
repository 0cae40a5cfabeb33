package simnet

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// The pace of connecting.
const (
	backlog  = 128         // connections waiting for Accept, Linux' default of old
	synRetry = time.Second // until an unanswered SYN is sent again (RFC 6298)
)

// listener is a listening TCP socket. The network's lock guards it.
type listener struct {
	host    *Host
	at      netip.AddrPort
	waiting []*conn
	changed *sync.Cond
	closed  bool
}

// ListenTCP opens a listening socket.
func (h *Host) ListenTCP(at netip.AddrPort) (net.Listener, error) {
	h.net.mu.Lock()
	defer h.net.unlock()
	at, err := h.bind(at, func(p uint16) bool { return h.tcp[p] != nil })
	if err != nil {
		return nil, err
	}
	l := &listener{host: h, at: at, changed: sync.NewCond(&h.net.mu)}
	h.tcp[at.Port()] = l
	return l, nil
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

// Accept returns a connection as soon as its SYN has come.
func (l *listener) Accept() (net.Conn, error) {
	l.host.net.mu.Lock()
	defer l.host.net.unlock()
	for len(l.waiting) == 0 && !l.closed {
		l.changed.Wait()
	}
	if l.closed {
		return nil, failed("accept", "tcp", nil, l.Addr(), net.ErrClosed)
	}
	c := l.waiting[0]
	l.waiting = l.waiting[1:]
	return c, nil
}

func (l *listener) Close() error {
	l.host.net.mu.Lock()
	defer l.host.net.unlock()
	if l.closed {
		return failed("close", "tcp", nil, l.Addr(), net.ErrClosed)
	}
	l.shut()
	delete(l.host.tcp, l.at.Port())
	return nil
}

// shut refuses everyone who waits.
func (l *listener) shut() {
	l.closed = true
	for _, c := range l.waiting {
		c.abandon()
	}
	l.waiting = nil
	l.changed.Broadcast()
}

// abandon breaks this end and tells the other.
func (c *conn) abandon() {
	peer := c.out.reader
	c.net.answer(c.local.Addr(), c.remote.Addr(), peer.reset)
	c.closed = true
	c.reset()
}

// dial is one attempt to connect, from the first SYN until it is answered. The network's lock guards it.
type dial struct {
	host     *Host
	from, to netip.AddrPort
	near     *conn // once the SYN has met a listener
	done     bool
	err      error
	changed  *sync.Cond
}

// DialTCP connects: the answer takes a round trip, is repeated while the path loses it, and is waited for
// until ctx ends.
func (h *Host) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	n := h.net
	n.mu.Lock()
	defer n.unlock()
	d := &dial{
		host: h, from: netip.AddrPortFrom(h.addr, h.port()), to: netip.AddrPortFrom(to.Addr().Unmap(), to.Port()),
		changed: sync.NewCond(&n.mu),
	}
	stop := context.AfterFunc(ctx, func() {
		n.mu.Lock()
		defer n.unlock()
		d.changed.Broadcast()
	})
	defer stop()
	d.syn()
	n.settle()
	for !d.done && ctx.Err() == nil {
		d.changed.Wait()
	}
	switch {
	case d.err != nil:
	case !d.done:
		d.done, d.err = true, ctx.Err()
		if d.near != nil {
			d.near.abandon()
		}
	default:
		return d.near, nil
	}
	return nil, failed("dial", "tcp", net.TCPAddrFromAddrPort(d.from), net.TCPAddrFromAddrPort(d.to), d.err)
}

// syn sends the request, and again each second until the dial is done.
func (d *dial) syn() {
	if d.done {
		return
	}
	n := d.host.net
	n.answer(d.from.Addr(), d.to.Addr(), d.meet)
	n.plan(time.Now().Add(synRetry), d.syn)
}

// meet is the request at the other host.
func (d *dial) meet() {
	n := d.host.net
	h := n.hosts[d.to.Addr()]
	switch {
	case d.done || h == nil: // nobody there, no answer
		return
	case d.near == nil && h.tcp[d.to.Port()] == nil:
		n.answer(d.to.Addr(), d.from.Addr(), func() { d.finish(syscall.ECONNREFUSED) })
		return
	case d.near == nil:
		l := h.tcp[d.to.Port()]
		if len(l.waiting) >= backlog {
			return
		}
		var far *conn
		d.near, far = newPair(n, d.from, d.to)
		l.waiting = append(l.waiting, far)
		l.changed.Signal()
	}
	n.answer(d.to.Addr(), d.from.Addr(), func() { d.finish(nil) })
}

func (d *dial) finish(err error) {
	if !d.done {
		d.done, d.err = true, err
		d.changed.Broadcast()
	}
}
