package port

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// qemuWaiting is how many bytes wait for a guest that reads too slowly: a few super-frames, since a unix socket takes
	// only some ten datagrams (net.unix.max_dgram_qlen) and one super-frame is 44.
	qemuWaiting = 512 << 10
	// qemuRead is how many bytes of a stream are read at once.
	qemuRead = 256 << 10
	// qemuPrefix is the length in front of each frame of a stream, big-endian, in bytes.
	qemuPrefix = 4
)

// qemu is a port on a socket that a guest's network card is plugged into. It needs no privileges. Frames go one by one and
// finished, since QEMU has no marks there.
type qemu struct {
	config QEMUConfig
	wake   int // readable once the port closes
	kick   int // readable once frames wait that the reader should help out
	gate   *gate
	outlet outlet

	in      int    // datagrams arrive here, or connections
	arrived []byte // of the stream: read, not yet taken. The reader's, as are the next three
	parsed  int    // bytes of it
	from    string // path of the last datagram's sender
	sender  unix.RawSockaddrUnix

	mu      sync.Mutex // guards the following
	out     int        // what frames leave by; -1 while nobody is there. The stream's connection, which the reader reads
	to      string     // the path that out leads to
	waiting []byte     // frames with their prefixes; the first may have gone in part where it is a stream
	gone    int        // bytes of waiting that have
}

// OpenQEMU makes a port where a QEMU guest plugs in its network card, now or later, and again after it was started anew.
func OpenQEMU(c QEMUConfig) (Port, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	q := &qemu{config: c, gate: newGate(), in: -1, out: -1, wake: -1, kick: -1, to: c.Remote}
	q.outlet.door = q
	q.outlet.start(0, "a socket of QEMU carries no marks", 0)
	if err := q.open(); err != nil {
		q.closeAll()
		return nil, fmt.Errorf("cannot open port %q for QEMU at %s: %w", c.Name, c.Local, err)
	}
	return q, nil
}

func (q *qemu) open() (err error) {
	if q.wake, err = newWake(); err != nil {
		return err
	}
	if q.kick, err = newWake(); err != nil {
		return err
	}
	kind := unix.SOCK_DGRAM
	if q.config.Stream {
		kind = unix.SOCK_STREAM
		q.arrived = make([]byte, 0, qemuRead)
	}
	if q.in, err = bound(q.config.Local, kind); err != nil {
		return err
	}
	if q.config.Stream {
		return os.NewSyscallError("listen", unix.Listen(q.in, 1))
	}
	setBuffer(q.in, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, qemuWaiting)
	if isPath(q.config.Local) {
		return nil // out leads to a socket that may not be there yet
	}
	to, _ := address(q.config.Remote)
	if err := unix.Connect(q.in, to); err != nil {
		return os.NewSyscallError("connect", err)
	}
	q.out = q.in
	return nil
}

// address makes a socket address of a checked one.
func address(text string) (sa unix.Sockaddr, family int) {
	if isPath(text) {
		return &unix.SockaddrUnix{Name: text}, unix.AF_UNIX
	}
	at := netip.MustParseAddrPort(text)
	if at.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}, unix.AF_INET6
}

// bound opens a socket at an address. A file that a dead process left there goes; the new one is for this user only.
func bound(at string, kind int) (fd int, err error) {
	sa, family := address(at)
	fd, err = unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if family == unix.AF_UNIX {
		err = unix.Fchmod(fd, 0o600) // before bind: the file gets the socket's mode
		if err == nil && abandoned(fd, sa) {
			err = os.Remove(at)
		}
	} else {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = unix.Bind(fd, sa)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("cannot take it: %w", err)
	}
	return fd, nil
}

// abandoned reports whether there is a socket that nobody answers at.
func abandoned(like int, sa unix.Sockaddr) bool {
	kind, err := unix.GetsockoptInt(like, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return false
	}
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return errors.Is(unix.Connect(fd, sa), unix.ECONNREFUSED)
}

func (q *qemu) Name() string { return q.config.Name }

func (q *qemu) Queues() int { return 1 }

// refreshMTU knows none: what a guest takes is between it and its sender.
func (q *qemu) refreshMTU() int { return 0 }

// SetOffloads finds none that QEMU's sockets could take.
func (q *qemu) SetOffloads(names []string) error {
	_, err := q.outlet.use(names)
	return err
}

func (q *qemu) Info() Info {
	way := "dgram:"
	if q.config.Stream {
		way = "stream:"
	}
	return Info{Kind: KindQEMU, Interface: way + q.config.Local, Queues: 1, Drops: q.outlet.drops.reasons()}
}

func (q *qemu) Close() error {
	if !q.gate.close(func() { ring(q.wake) }) {
		return net.ErrClosed
	}
	if isPath(q.config.Local) {
		_ = os.Remove(q.config.Local) // a file that stays is taken over by the next
	}
	q.closeAll()
	return nil
}

func (q *qemu) closeAll() {
	if q.out == q.in {
		q.out = -1
	}
	for _, fd := range []int{q.in, q.out, q.wake, q.kick} {
		if fd >= 0 {
			_ = unix.Close(fd) // what was under way to the guest is lost, as with any cable
		}
	}
}
