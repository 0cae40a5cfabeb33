package patterns

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// sockets makes this rank's TCP sockets with the options asked for.
type sockets struct {
	own     netip.AddrPort
	control string // congestion control, empty = leave the system's
}

// prepare is called on each new socket before it connects or listens; accepted sockets inherit. A system
// without the congestion control keeps its own: what is in use is read back later.
func (s sockets) prepare(_, _ string, raw syscall.RawConn) error {
	if s.control == "" {
		return nil
	}
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, s.control)
	})
}

func (s sockets) listen(ctx context.Context) (net.Listener, error) {
	l, err := (&net.ListenConfig{Control: s.prepare}).Listen(ctx, "tcp", s.own.String())
	if err != nil {
		return nil, fmt.Errorf("cannot listen on this rank's own address %s: %w", s.own, err)
	}
	return l, nil
}

// dial connects from this rank's own address, which the peers know it by.
func (s sockets) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	from := net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.own.Addr(), 0))
	return (&net.Dialer{LocalAddr: from, Control: s.prepare}).DialContext(ctx, "tcp", to.String())
}

// congestionOf reads which congestion control a connection uses, empty if the system does not say.
func congestionOf(c net.Conn) string {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return ""
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return ""
	}
	var name string
	_ = raw.Control(func(fd uintptr) {
		name, _ = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	})
	return strings.TrimRight(name, "\x00")
}

// waker spares a reader from being woken for every segment: MPI's libraries wait for whole messages too, and a rank that is
// woken some thousand times a second measures its machine, not the network.
type waker struct {
	raw syscall.RawConn // nil where the connection has no descriptor
	now int
}

func newWaker(c net.Conn) *waker {
	w := &waker{}
	if sc, ok := c.(syscall.Conn); ok {
		w.raw, _ = sc.SyscallConn()
	}
	return w
}

// readFull fills b, as io.ReadFull does, and waits once where it can: for as much as is missing, or the connection's end. The
// kernel waits for less when its buffer is smaller, and one that refuses wakes for everything (socket(7), SO_RCVLOWAT).
func (w *waker) readFull(from io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		w.at(len(b) - n)
		var got int
		got, err = from.Read(b[n:])
		n += got
	}
	if n == len(b) {
		return n, nil
	}
	if err == io.EOF && n > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (w *waker) at(bytes int) {
	if w.raw == nil || bytes == w.now {
		return
	}
	w.now = bytes
	_ = w.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, bytes)
	})
}
