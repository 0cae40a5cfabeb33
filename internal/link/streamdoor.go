package link

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// streamDoor is a connection of frames. One goroutine reads; one at a time tries or writes.
type streamDoor interface {
	io.ReadWriteCloser
	// Try writes what the connection takes at once, and says how much that was.
	Try(b []byte) (int, error)
	// Bound lets no more than so many bytes wait in the connection unsent, within limits.
	Bound(bytes int)
}

// plainDoor is a connection that nothing is known of: TLS, or one made of memory. It takes nothing at once.
type plainDoor struct{ net.Conn }

func (plainDoor) Try([]byte) (int, error) { return 0, nil }

func (plainDoor) Bound(int) {}

func (d plainDoor) Close() error {
	abort(d.Conn)
	return nil
}

const (
	// unsentLeast and unsentMost bound what may wait in the socket unsent, and what one system call writes.
	unsentLeast = 16 << 10
	unsentMost  = 256 << 10
)

// streamSocket is a TCP connection of the kernel outside Go's poller, which every segment that arrives would wake, whoever
// reads it. Its reader blocks while much comes (await), and the kernel gets no more than it sends soon: what waits there nobody
// can see into.
type streamSocket struct {
	descriptor
	chunk int // bytes that may wait unsent; whoever may write may
}

// takeSocket takes a connection over and closes it. It returns an error that is errors.ErrUnsupported where it is no socket.
func takeSocket(conn net.Conn) (*streamSocket, error) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var fail error
	if err = raw.Control(func(old uintptr) { fd, fail = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err == nil {
		err = os.NewSyscallError("fcntl", fail)
	}
	if err != nil {
		return nil, err
	}
	conn.Close() // the connection lives on in the other descriptor
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	s := &streamSocket{descriptor: descriptor{fd: fd}}
	s.users.Store(1)
	s.Bound(unsentMost)
	return s, nil
}

func (s *streamSocket) Read(b []byte) (int, error) {
	for {
		if !s.enter() {
			return 0, net.ErrClosed
		}
		n, err := s.take(b, s.await())
		s.leave()
		switch {
		case s.closed.Load():
			return 0, net.ErrClosed
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// take reads once. Where the socket was waited for it does not wait, and tells the scheduler nothing (await).
func (s *streamSocket) take(b []byte, waited bool) (int, error) {
	if !waited || len(b) == 0 {
		return unix.Read(s.fd, b)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func (s *streamSocket) Try(b []byte) (int, error) { return s.write(b, 0) }

func (s *streamSocket) Write(b []byte) (int, error) { return s.write(b, -1) }

// write writes while the socket has little unsent, or waits for that with a patience of -1.
func (s *streamSocket) write(b []byte, patience int) (written int, err error) {
	if !s.enter() {
		return 0, net.ErrClosed
	}
	defer s.leave()
	for written < len(b) {
		if s.closed.Load() {
			return written, net.ErrClosed
		}
		// What a socket has begun to put together it lets grow without asking whether too much waits: so it is asked here.
		ask := [1]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}
		if len(b) <= streamShort && patience == 0 {
			n, err := s.short(&ask[0], b[written:])
			return written + n, err
		}
		switch n, err := unix.Poll(ask[:], patience); {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return written, os.NewSyscallError("poll", err)
		case n == 0:
			return written, nil
		}
		n, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(&b[written])),
			uintptr(min(len(b)-written, s.chunk)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == 0:
			written += int(n)
		case errno == unix.EAGAIN && patience == 0:
			return written, nil
		case errno != unix.EINTR && errno != unix.EAGAIN:
			return written, os.NewSyscallError("sendto", errno)
		}
	}
	return written, nil
}

// streamShort is how many bytes are written without telling the scheduler, such as a heartbeat (await).
const streamShort = 2 << 10

// short writes a few bytes if the socket says at once that it has room.
func (s *streamSocket) short(ask *unix.PollFd, b []byte) (int, error) {
	var now unix.Timespec
	ready, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(ask)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	if errno == 0 && ready > 0 {
		var n uintptr
		if n, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0); errno == 0 {
			return int(n), nil
		}
	}
	if errno == 0 || errno == unix.EAGAIN || errno == unix.EINTR {
		return 0, nil // the writer will wait
	}
	return 0, os.NewSyscallError("sendto", errno)
}

func (s *streamSocket) Bound(bytes int) {
	if bytes = min(max(bytes, unsentLeast), unsentMost); bytes != s.chunk {
		s.chunk = bytes
		_ = unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bytes) // one that is larger only delays
	}
}
