package simnet

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// conn is one end of a TCP connection. The network's lock guards it.
type conn struct {
	net           *Net
	local, remote netip.AddrPort
	in, out       *stream
	changed       *sync.Cond // anything a reader or a writer waits for
	readBy        deadline
	writeBy       deadline
	closed        bool  // by its owner, or its host crashed
	err           error // the connection was reset
}

// deadline wakes the waiting when it is reached.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) over() bool { return !d.at.IsZero() && !d.at.After(time.Now()) }

// newPair returns both ends of a connection.
func newPair(n *Net, a, b netip.AddrPort) (*conn, *conn) {
	x := &conn{net: n, local: a, remote: b, changed: sync.NewCond(&n.mu)}
	y := &conn{net: n, local: b, remote: a, changed: sync.NewCond(&n.mu)}
	x.out = &stream{net: n, from: a.Addr(), to: b.Addr(), writer: x, reader: y}
	y.out = &stream{net: n, from: b.Addr(), to: a.Addr(), writer: y, reader: x}
	x.in, y.in = y.out, x.out
	n.conns[x], n.conns[y] = true, true
	return x, y
}

func (c *conn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

func (c *conn) Read(b []byte) (int, error) {
	c.net.mu.Lock()
	defer c.net.unlock()
	for {
		switch {
		case c.closed:
			return 0, c.failed("read", net.ErrClosed)
		case c.readBy.over():
			return 0, c.failed("read", os.ErrDeadlineExceeded)
		case len(b) == 0 || len(c.in.in) > 0:
			return c.in.read(b), nil
		case c.err != nil:
			return 0, c.failed("read", c.err)
		case c.in.eof:
			return 0, io.EOF
		}
		c.changed.Wait()
	}
}

func (c *conn) Write(b []byte) (written int, err error) {
	c.net.mu.Lock()
	defer c.net.unlock()
	for {
		switch {
		case c.closed:
			return written, c.failed("write", net.ErrClosed)
		case c.writeBy.over():
			return written, c.failed("write", os.ErrDeadlineExceeded)
		case c.err != nil:
			return written, c.failed("write", c.err)
		case c.out.fin:
			return written, c.failed("write", syscall.EPIPE)
		}
		written += c.out.write(b[written:])
		if written == len(b) {
			return written, nil
		}
		c.net.settle()
		if len(c.out.out) >= sendBuffer && c.err == nil {
			c.changed.Wait()
		}
	}
}

// CloseWrite ends the sending direction; what was written still arrives.
func (c *conn) CloseWrite() error {
	c.net.mu.Lock()
	defer c.net.unlock()
	if c.closed {
		return c.failed("close", net.ErrClosed)
	}
	c.out.fin = true
	c.out.pump()
	return nil
}

// Close ends both directions. What was written still arrives; what arrives from now on resets the peer.
func (c *conn) Close() error {
	c.net.mu.Lock()
	defer c.net.unlock()
	if c.closed {
		return c.failed("close", net.ErrClosed)
	}
	c.closed = true
	c.out.fin = true
	c.in.in = nil
	c.out.pump()
	c.stop()
	c.retire()
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error  { return c.setDeadline(&c.readBy, t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writeBy, t) }

func (c *conn) setDeadline(d *deadline, t time.Time) error {
	c.net.mu.Lock()
	defer c.net.unlock()
	if c.closed {
		return c.failed("set deadline", net.ErrClosed)
	}
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, func() {
			c.net.mu.Lock()
			defer c.net.unlock()
			c.changed.Broadcast()
		})
	}
	c.changed.Broadcast()
	return nil
}

// reset breaks this end: its peer's host said that the connection does not exist.
func (c *conn) reset() {
	if c.err == nil {
		c.err = syscall.ECONNRESET
	}
	c.in.gone, c.out.gone = true, true
	c.stop()
	c.retire()
}

// vanish is the end of a connection on a crashed host. The other end hears of it when it next sends.
func (c *conn) vanish() {
	c.closed = true
	c.in.in, c.out.gone = nil, true
	c.stop()
	c.retire()
}

// stop wakes everyone and ends the timers.
func (c *conn) stop() {
	for _, d := range []*deadline{&c.readBy, &c.writeBy} {
		if d.timer != nil {
			d.timer.Stop()
		}
	}
	c.changed.Broadcast()
}

// retire forgets a connection that has nothing more to send.
func (c *conn) retire() {
	if c.out.gone || c.closed && c.out.ended {
		delete(c.net.conns, c)
	}
}

func (c *conn) failed(op string, err error) error {
	return failed(op, "tcp", c.LocalAddr(), c.RemoteAddr(), err)
}
