package link

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	maxSegments = 64 // datagrams in one UDP_SEGMENT call: the limit of kernels before 6.9
	readBatch   = 16 // messages one recvmmsg may take
	groSpace    = 24 // bytes: CMSG_SPACE of one int, with room for its alignment
	segSpace    = 24 // bytes: CMSG_SPACE of one uint16
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// reader is the memory of recvmmsg.
type reader struct {
	msgs    [readBatch]mmsghdr
	iovs    [readBatch]unix.Iovec
	names   [readBatch]unix.RawSockaddrInet6
	control [readBatch][groSpace]byte
}

// enter counts a call in, so that Close cannot take the descriptor from under it; false once it may be gone.
func (s *descriptor) enter() bool {
	for {
		n := s.users.Load()
		if n == 0 || s.closed.Load() {
			return false
		}
		if s.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave closes the descriptor when it was the last.
func (s *descriptor) leave() {
	if s.users.Add(-1) == 0 {
		unix.Close(s.fd)
		if w := s.watch.Load(); w != nil {
			w.close()
		}
	}
}

// Close wakes the reader; the descriptor goes when the last call has returned.
func (s *descriptor) Close() error {
	if s.closed.Swap(true) {
		return net.ErrClosed
	}
	// This wakes whoever waits in it, also where it returns ENOTCONN, on an unconnected UDP socket (Linux inet_shutdown).
	_ = unix.Shutdown(s.fd, unix.SHUT_RDWR)
	s.leave()
	return nil
}

func (s *udpSocket) LocalAddr() netip.AddrPort { return s.local }

func (s *udpSocket) ReadBatch(bufs [][]byte, sizes, segs []int, from []netip.AddrPort) (int, error) {
	for {
		if !s.enter() {
			return 0, net.ErrClosed
		}
		n, err := s.receive(bufs, s.await())
		s.leave()
		switch {
		case s.closed.Load():
			return 0, net.ErrClosed
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ECONNREFUSED),
			errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EMSGSIZE):
			continue // what a path says about an earlier datagram is no failure of the socket
		case err != nil:
			return 0, os.NewSyscallError("recvmmsg", err)
		}
		r := &s.reader
		for i := range n {
			sizes[i] = int(r.msgs[i].n)
			segs[i] = groSize(r.control[i][:min(int(r.msgs[i].hdr.Controllen), groSpace)])
			from[i] = addrOf(&r.names[i])
		}
		s.remark(bufs, sizes[:n], segs)
		return n, nil
	}
}

// receive makes one recvmmsg call. Where the socket was waited for it does not wait, and tells the scheduler nothing (await).
func (s *udpSocket) receive(bufs [][]byte, waited bool) (int, error) {
	r := &s.reader
	count := min(len(bufs), readBatch)
	for i := range count {
		r.iovs[i].Base = &bufs[i][0]
		r.iovs[i].SetLen(len(bufs[i]))
		h := &r.msgs[i].hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&r.names[i])), unix.SizeofSockaddrInet6
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Control = &r.control[i][0]
		h.SetControllen(groSpace)
	}
	var n uintptr
	var errno syscall.Errno
	if waited {
		n, _, errno = unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&r.msgs[0])),
			uintptr(count), unix.MSG_DONTWAIT, 0, 0)
	} else {
		n, _, errno = unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&r.msgs[0])),
			uintptr(count), unix.MSG_WAITFORONE, 0, 0)
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// groSize finds the datagrams' size in a received control message; 0 where there is only one.
func groSize(c []byte) int {
	if len(c) < unix.SizeofCmsghdr+4 {
		return 0
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
	if h.Level != unix.SOL_UDP || h.Type != unix.UDP_GRO {
		return 0
	}
	return int(binary.NativeEndian.Uint32(c[unix.SizeofCmsghdr:]))
}

func (s *udpSocket) WriteSegments(to netip.AddrPort, buf []byte, seg int) error {
	if !s.enter() {
		return net.ErrClosed
	}
	defer s.leave()
	if len(buf) <= seg {
		return full(s.send(to, buf, 0))
	}
	if s.gso.on.Load() {
		err := s.send(to, buf, seg)
		if err == nil || full(err) == ErrFull {
			return full(err)
		}
		// The route's device may not segment (EIO), or the kernel refuse the size (EINVAL, EMSGSIZE): each on its own then.
		if alone := s.each(to, buf, seg); alone != nil {
			return full(alone)
		}
		if err == unix.EIO || err == unix.EINVAL {
			s.gso.off("refused when sending: " + err.Error())
		}
		return nil
	}
	return full(s.each(to, buf, seg))
}

// each sends the datagrams one by one and returns the last error; some may have gone.
func (s *udpSocket) each(to netip.AddrPort, buf []byte, seg int) (last error) {
	for len(buf) > 0 {
		n := min(seg, len(buf))
		if err := s.send(to, buf[:n], 0); err != nil {
			last = err
		}
		buf = buf[n:]
	}
	return last
}

// full translates what the caller must tell apart.
func full(err error) error {
	switch err {
	case nil:
		return nil
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return ErrFull
	}
	return os.NewSyscallError("sendmsg", err)
}

// send makes one sendmsg call; seg > 0 asks the kernel to cut.
func (s *udpSocket) send(to netip.AddrPort, buf []byte, seg int) error {
	var (
		name    unix.RawSockaddrInet6
		iov     unix.Iovec
		hdr     unix.Msghdr
		control [segSpace]byte
	)
	hdr.Name, hdr.Namelen = (*byte)(unsafe.Pointer(&name)), s.name(&name, to)
	iov.Base = &buf[0]
	iov.SetLen(len(buf))
	hdr.Iov = &iov
	hdr.SetIovlen(1)
	if seg > 0 {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		c.Level, c.Type = unix.SOL_UDP, unix.UDP_SEGMENT
		c.SetLen(unix.CmsgLen(2))
		binary.NativeEndian.PutUint16(control[unix.SizeofCmsghdr:], uint16(seg))
		hdr.Control = &control[0]
		hdr.SetControllen(unix.CmsgSpace(2))
	}
	if !s.v6 && !to.Addr().Unmap().Is4() {
		return unix.EAFNOSUPPORT
	}
	for {
		var errno syscall.Errno
		if seg > 0 {
			_, _, errno = unix.Syscall(unix.SYS_SENDMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&hdr)), unix.MSG_DONTWAIT)
		} else { // it is short, and need not wake the scheduler's watchman
			_, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&hdr)), unix.MSG_DONTWAIT)
		}
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		case unix.ECONNREFUSED: // an earlier datagram's answer; this one has not been sent yet
		default:
			return errno
		}
	}
}

// name writes the address as the socket's family wants it.
func (s *udpSocket) name(n *unix.RawSockaddrInet6, to netip.AddrPort) uint32 {
	if !s.v6 {
		n4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(n))
		n4.Family, n4.Addr = unix.AF_INET, as4(to.Addr())
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&n4.Port))[:], to.Port())
		return unix.SizeofSockaddrInet4
	}
	n.Family, n.Addr = unix.AF_INET6, to.Addr().As16()
	if to.Addr().Zone() != "" {
		n.Scope_id = zoneID(to.Addr())
	}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&n.Port))[:], to.Port())
	return unix.SizeofSockaddrInet6
}

// as4 is the IPv4 form of an address, all zeros where there is none.
func as4(a netip.Addr) [4]byte {
	if a = a.Unmap(); a.Is4() {
		return a.As4()
	}
	return [4]byte{}
}

func addrOf(n *unix.RawSockaddrInet6) netip.AddrPort {
	if n.Family == unix.AF_INET {
		n4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(n))
		return netip.AddrPortFrom(netip.AddrFrom4(n4.Addr), binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&n4.Port))[:]))
	}
	addr := netip.AddrFrom16(n.Addr).Unmap()
	if n.Scope_id != 0 && addr.IsLinkLocalUnicast() {
		addr = addr.WithZone(strconv.Itoa(int(n.Scope_id)))
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&n.Port))[:]))
}
