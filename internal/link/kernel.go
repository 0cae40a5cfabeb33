package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// socketBuffer is asked for in both directions: 4 MiB are 27 ms at 1.2 Gbit/s, long enough for a worker that lost its
	// processor for a scheduler's round; the default of 208 KiB drops at once.
	socketBuffer = 4 << 20
	// notSentLow is how much a TCP socket may hold that it has not sent: more would be a queue that nobody can see into.
	notSentLow = 64 << 10
	// userTimeout is when the kernel gives up a TCP connection whose data is not acknowledged, in milliseconds: later
	// than our own judgement (silentLimitTCP), so that it only cleans up.
	userTimeout = 10_000
)

// Kernel is the real network.
type Kernel struct {
	NoGSO bool // send every datagram with a call of its own
	NoGRO bool // do not take several datagrams as one

	// Control is called with each socket before it is bound, for instance to mark it; nil does nothing.
	Control func(fd int) error
}

// ListenUDP opens a group of sockets with SO_REUSEPORT; the kernel steers each sender's address to one of them. An
// invalid address means any address of both families where IPv6 exists. One socket at any port has the port to itself: with
// SO_REUSEPORT the kernel may choose one that another socket of this user has (udp_lib_lport_inuse).
func (k Kernel) ListenUDP(at netip.AddrPort, n int) ([]Socket, error) {
	if !at.Addr().IsValid() {
		at = netip.AddrPortFrom(netip.IPv6Unspecified(), at.Port())
	}
	group, shared := make([]Socket, 0, n), n > 1 || at.Port() != 0
	for range n {
		s, err := k.openSocket(at, shared)
		if errors.Is(err, unix.EAFNOSUPPORT) && at.Addr() == netip.IPv6Unspecified() {
			at = netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port())
			s, err = k.openSocket(at, shared)
		}
		if err != nil {
			for _, open := range group {
				open.Close()
			}
			return nil, fmt.Errorf("cannot listen on udp %v: %w", at, err)
		}
		group = append(group, s)
		at = s.LocalAddr() // the first socket decides the port
	}
	return group, nil
}

func (k Kernel) openSocket(at netip.AddrPort, shared bool) (*udpSocket, error) {
	family := unix.AF_INET6
	if at.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &udpSocket{descriptor: descriptor{fd: fd}, v6: family == unix.AF_INET6}
	s.users.Store(1)
	if err := k.prepare(s, at, shared); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

// prepare sets the options of a socket and binds it. What only makes it faster may fail.
func (k Kernel) prepare(s *udpSocket, at netip.AddrPort, shared bool) error {
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, asInt(shared)); err != nil {
		return os.NewSyscallError("setsockopt SO_REUSEPORT", err)
	}
	if s.v6 {
		only := 1
		if at.Addr() == netip.IPv6Unspecified() {
			only = 0
		}
		if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return os.NewSyscallError("setsockopt IPV6_V6ONLY", err)
		}
		// A wrong guess of the kernel about the path must not refuse a datagram: PROBE sends with DF, whatever it believes.
		_ = unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	}
	_ = unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	for _, o := range [...]struct{ force, plain int }{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o.force, socketBuffer) != nil {
			_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o.plain, socketBuffer)
		}
	}
	s.SetGSO(!k.NoGSO)
	s.SetGRO(!k.NoGRO)
	if k.Control != nil {
		if err := k.Control(s.fd); err != nil {
			return fmt.Errorf("cannot prepare the socket: %w", err)
		}
	}
	return s.bind(at)
}

func asInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *udpSocket) bind(at netip.AddrPort) error {
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(at.Port()), Addr: as4(at.Addr())}
	if s.v6 {
		sa = &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16(), ZoneId: zoneID(at.Addr())}
	}
	if err := unix.Bind(s.fd, sa); err != nil {
		return os.NewSyscallError("bind", err)
	}
	bound, err := unix.Getsockname(s.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	switch b := bound.(type) {
	case *unix.SockaddrInet4:
		s.local = netip.AddrPortFrom(netip.AddrFrom4(b.Addr), uint16(b.Port))
	case *unix.SockaddrInet6:
		s.local = netip.AddrPortFrom(at.Addr(), uint16(b.Port))
	}
	return nil
}

// ListenTCP listens on the address, on both families when it is invalid.
func (k Kernel) ListenTCP(at netip.AddrPort) (net.Listener, error) {
	host := ""
	if at.Addr().IsValid() {
		host = at.Addr().String()
	}
	network := "tcp"
	if at.Addr().Is4() {
		network = "tcp4"
	}
	lc := net.ListenConfig{Control: k.tune}
	l, err := lc.Listen(context.Background(), network, net.JoinHostPort(host, fmt.Sprint(at.Port())))
	if err != nil {
		return nil, fmt.Errorf("cannot listen on tcp %v: %w", at, err)
	}
	return l, nil
}

// DialTCP connects with the socket options of a link.
func (k Kernel) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{Control: k.tune}
	return d.DialContext(ctx, "tcp", to.String())
}

// tune sets what accepted connections inherit from their listener: a short unsent queue and an end to unacknowledged data.
func (k Kernel) tune(_, _ string, c syscall.RawConn) error {
	var fail error
	err := c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLow)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeout)
		if k.Control != nil {
			fail = k.Control(int(fd))
		}
	})
	return errors.Join(err, fail)
}

// PathMTU asks the routing table. 0 means it does not know.
func (k Kernel) PathMTU(to netip.AddrPort) int {
	addr := to.Addr().Unmap()
	family, level, option := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU
	var sa unix.Sockaddr
	if addr.Is4() {
		sa = &unix.SockaddrInet4{Port: int(to.Port()), Addr: addr.As4()}
	} else {
		family, level, option = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU
		sa = &unix.SockaddrInet6{Port: int(to.Port()), Addr: addr.As16(), ZoneId: zoneID(addr)}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	if unix.Connect(fd, sa) != nil {
		return 0
	}
	mtu, err := unix.GetsockoptInt(fd, level, option)
	if err != nil {
		return 0
	}
	return mtu
}

// zoneID is the interface index of a link-local address's zone, which Go writes as a name or a number.
func zoneID(a netip.Addr) uint32 {
	if a.Zone() == "" {
		return 0
	}
	if ifi, err := net.InterfaceByName(a.Zone()); err == nil {
		return uint32(ifi.Index)
	}
	var n uint32
	_, _ = fmt.Sscan(a.Zone(), &n)
	return n
}

// udpSocket is one UDP socket of the kernel. Reading blocks the calling thread: a wake-up through Go's poller costs 60 µs of
// every request-response (measured, docs/performance.md).
type udpSocket struct {
	descriptor
	v6       bool
	local    netip.AddrPort
	gso      offload      // several datagrams a call
	gro      offload      // several datagrams as one
	unmarked atomic.Int64 // until when there may be some without their size, Unix ns; 0 = never
	reader   reader       // owned by the one goroutine that reads
}

// descriptor is a socket in which one goroutine at a time reads, blocking, and others write. One that is open has users 1.
type descriptor struct {
	fd     int
	closed atomic.Bool
	users  atomic.Int32          // calls in progress, plus one until Close: the last to leave closes fd
	pace   pace                  // its reader's
	watch  atomic.Pointer[watch] // made by its reader, closed with fd
}
