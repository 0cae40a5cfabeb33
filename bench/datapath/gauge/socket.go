package gauge

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	// udpPort is where datagrams are received, and echoed one higher.
	udpPort = 9000
	// buffer is the receiver's socket buffer in bytes, so that a receiver that waits for a processor for some
	// milliseconds is not measured as loss of the path. Without privilege the kernel gives what its limit allows.
	buffer = 8 << 20
	// patience is how long a blocking receive waits before its caller looks around, in microseconds.
	patience = 50_000
)

// socket opens a blocking UDP socket in a guest, bound to an address of it and connected if to is valid.
func (g Between) socket(in string, from, to netip.AddrPort) (fd int, err error) {
	err = g.Stage.In(in, func() error {
		family := unix.AF_INET
		if from.Addr().Is6() {
			family = unix.AF_INET6
		}
		if fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer) // what the limit allows will have to do
		}
		tv := unix.Timeval{Usec: patience}
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return err
		}
		if err := unix.Bind(fd, sockaddr(from)); err != nil {
			return err
		}
		if !to.IsValid() {
			return nil
		}
		return unix.Connect(fd, sockaddr(to))
	})
	if err != nil {
		return -1, fmt.Errorf("cannot open a socket in %s: %w", in, err)
	}
	return fd, nil
}

func sockaddr(at netip.AddrPort) unix.Sockaddr {
	if at.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
}

// pair opens a sender in A and a receiver in B.
func (g Between) pair(port uint16) (sender, receiver int, err error) {
	to := netip.AddrPortFrom(g.AddrB, port)
	if receiver, err = g.socket(g.B, to, netip.AddrPort{}); err != nil {
		return -1, -1, err
	}
	if sender, err = g.socket(g.A, netip.AddrPortFrom(g.AddrA, 0), to); err != nil {
		return -1, -1, errors.Join(err, unix.Close(receiver))
	}
	return sender, receiver, nil
}

// nothingYet tells whether a receive ended because nothing came in time.
func nothingYet(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) }
