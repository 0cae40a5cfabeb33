package link

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// quietReads is how few reads in a quietWindow make a socket quiet: the heartbeats of two dozen links.
	quietReads  = 100
	quietWindow = time.Second
)

// pace tells whether little comes through a socket. Its zero value says that much does; the reader owns it.
type pace struct {
	quiet bool
	since time.Time // the window's begin
	reads int       // in it
}

// read takes note of a read.
func (p *pace) read(now time.Time) {
	p.reads++
	if past := now.Sub(p.since); past >= quietWindow {
		p.quiet = p.reads < quietReads
		p.since, p.reads = now, 0
	} else if p.reads >= quietReads {
		p.quiet = false
	}
}

// watch waits for a socket in Go's network poller, by an epoll instance of its own: the socket itself stays one that blocks.
// The instance tells of the socket once for each wait; else every datagram would wake the poller's thread, whoever reads it.
type watch struct {
	file *os.File
	raw  syscall.RawConn
	fd   int // the socket
}

// armed is what is waited for, once.
const armed = unix.EPOLLIN | unix.EPOLLONESHOT

func newWatch(fd int) (*watch, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	event := unix.EpollEvent{Events: armed}
	if err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &event); err == nil {
		err = unix.SetNonblock(ep, true) // which is how os knows that it can be waited for
	}
	if err != nil {
		unix.Close(ep)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	w := &watch{file: os.NewFile(uintptr(ep), "epoll"), fd: fd}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		w.file.Close()
		return nil, err
	}
	return w, nil
}

// wait returns when there is something to read, or the socket was closed.
func (w *watch) wait() error {
	first := true
	return w.raw.Read(func(ep uintptr) bool {
		if first {
			first = false
			event := unix.EpollEvent{Events: armed}
			if unix.EpollCtl(int(ep), unix.EPOLL_CTL_MOD, w.fd, &event) != nil {
				return true
			}
		}
		var event unix.EpollEvent
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, ep, uintptr(unsafe.Pointer(&event)), 1, 0, 0, 0)
		return errno == 0 && n > 0 || errno != 0 && errno != unix.EINTR
	})
}

func (w *watch) close() { w.file.Close() }

// await waits for a socket through which little comes. A reader that blocks in the kernel is the quickest to wake, but keeps the
// scheduler's watchman awake for 10 ms each time, some 57 of its looks (retake in Go's runtime): for heartbeats alone as much
// as all the rest that an idle daemon does. One that waits in the poller costs nothing but the wake-up, which takes 40 µs
// longer. Where the poller cannot be had the reader blocks. True says that it has waited: what is there is read by a call that
// does not wait and that the scheduler is not told of (RawSyscall), which would wake its watchman as well.
func (s *descriptor) await() (waited bool) {
	s.pace.read(time.Now())
	if !s.pace.quiet {
		return false
	}
	w := s.watch.Load()
	if w == nil {
		var err error
		if w, err = newWatch(s.fd); err != nil {
			return false
		}
		s.watch.Store(w)
	}
	_ = w.wait() // of a socket that was closed the read says so
	return true
}
