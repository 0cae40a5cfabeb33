package link

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	quicQueue = 512  // packets waiting for the QUIC transport; more are dropped, QUIC sends them again
	quicMax   = 1500 // bytes: quic-go reads no longer packets
)

// quicConn is the socket as quic-go sees it: fed by the receivers, which keep our own datagrams. It is no *net.UDPConn and
// embeds none, else quic-go would read the descriptor past us.
type quicConn struct {
	local net.Addr
	out   Socket

	queue   chan *quicPacket
	spare   sync.Pool // *quicPacket
	dropped atomic.Uint64

	mu      sync.Mutex
	expired chan struct{} // closed while a read deadline in the past is set
	closed  bool
}

type quicPacket struct {
	from netip.AddrPort
	n    int
	b    [quicMax]byte
}

func newQUICConn(out Socket) *quicConn {
	return &quicConn{
		local: net.UDPAddrFromAddrPort(out.LocalAddr()), out: out,
		queue: make(chan *quicPacket, quicQueue), expired: make(chan struct{}),
		spare: sync.Pool{New: func() any { return new(quicPacket) }},
	}
}

// push hands a packet over without waiting.
func (c *quicConn) push(b []byte, from netip.AddrPort) {
	if len(b) > quicMax {
		c.dropped.Add(1)
		return
	}
	p := c.spare.Get().(*quicPacket)
	p.from, p.n = from, copy(p.b[:], b)
	select {
	case c.queue <- p:
	default:
		c.dropped.Add(1)
		c.spare.Put(p)
	}
}

func (c *quicConn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.mu.Lock()
	expired := c.expired
	c.mu.Unlock()
	select {
	case p := <-c.queue:
		n, from := copy(b, p.b[:p.n]), net.UDPAddrFromAddrPort(p.from)
		c.spare.Put(p)
		return n, from, nil
	case <-expired:
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.closed {
			return 0, nil, net.ErrClosed
		}
		return 0, nil, os.ErrDeadlineExceeded
	}
}

func (c *quicConn) WriteTo(b []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, net.InvalidAddrError("not a udp address")
	}
	a := u.AddrPort()
	// A full queue or an unreachable address is a lost packet to QUIC; an error would end the connection.
	_ = c.out.WriteSegments(netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), b, len(b))
	return len(b), nil
}

// Close ends reading; the socket is the endpoint's to close.
func (c *quicConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.expire()
	return nil
}

// expire closes the channel that readers watch, once; mu is held.
func (c *quicConn) expire() {
	select {
	case <-c.expired:
	default:
		close(c.expired)
	}
}

func (c *quicConn) LocalAddr() net.Addr { return c.local }

// SetReadDeadline knows the past and never: all that quic-go asks for.
func (c *quicConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
	case t.IsZero():
		select {
		case <-c.expired:
			c.expired = make(chan struct{})
		default:
		}
	case !t.After(time.Now()):
		c.expire()
	}
	return nil
}

func (c *quicConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *quicConn) SetWriteDeadline(time.Time) error { return nil }
func (c *quicConn) SetReadBuffer(int) error          { return nil } // set on the real socket already
func (c *quicConn) SetWriteBuffer(int) error         { return nil }
