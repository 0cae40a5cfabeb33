package port

import (
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Underlayer is a port on somebody's LAN, which may carry our own links too: a LAN or a bridge.
type Underlayer interface {
	// SetUnderlay replaces the endpoints of our own links: frames from or to them are not read. An unspecified
	// address stands for all addresses this machine has now; call it again when they change.
	SetUnderlay(ours []netip.AddrPort) error
}

// attachFilter makes the program that leaves out ours and gives it to the kernel.
func attachFilter(ours []netip.AddrPort, attach func(*unix.SockFprog) error) error {
	ours, err := specified(ours)
	if err != nil {
		return err
	}
	program, err := underlayFilter(ours)
	if err != nil {
		return err
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return fmt.Errorf("cannot assemble the filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	if err := attach(&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}); err != nil {
		return fmt.Errorf("cannot attach the filter for our own links: %w", err)
	}
	return nil
}

// attachTAP gives a program to all queues of a TAP: the kernel runs it before it queues a frame for us.
func attachTAP(fd int, program *unix.SockFprog) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNATTACHFILTER, uintptr(unsafe.Pointer(program))); errno != 0 {
		return errno
	}
	return nil
}

// specified replaces unspecified addresses with those of this machine.
func specified(ours []netip.AddrPort) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, at := range ours {
		if !at.Addr().IsUnspecified() {
			out = append(out, at)
			continue
		}
		local, err := net.InterfaceAddrs()
		if err != nil {
			return nil, fmt.Errorf("cannot list the addresses of this machine: %w", err)
		}
		for _, a := range local {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				out = append(out, netip.AddrPortFrom(prefix.Addr(), at.Port()))
			}
		}
	}
	return out, nil
}
