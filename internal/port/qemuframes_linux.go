package port

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// Write sends frames to the guest; what its socket does not take at once waits, bounded, until the reader can send it.
func (q *qemu) Write(lane int, pkts []ether.Packet) (int, error) {
	if !q.gate.enter() {
		return 0, net.ErrClosed
	}
	defer q.gate.leave()
	return q.outlet.write(lane, pkts)
}

func (q *qemu) put(_ int, p *ether.Packet) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.out < 0 && !q.reach() {
		return errDown
	}
	if len(q.waiting) > 0 {
		return q.wait(p.Frame, 0)
	}
	var prefix [qemuPrefix]byte
	binary.BigEndian.PutUint32(prefix[:], uint32(len(p.Frame)))
	head := prefix[:]
	if !q.config.Stream {
		head = nil
	}
	n, errno := sendParts(q.out, head, p.Frame)
	if !q.config.Stream && stale(errno) { // to an address it tells of the frame before
		q.part()
		if q.out < 0 && !q.reach() {
			return errDown
		}
		n, errno = sendParts(q.out, head, p.Frame)
	}
	switch {
	case errno == 0 && (!q.config.Stream || n == qemuPrefix+len(p.Frame)):
		return nil
	case errno == 0:
		return q.wait(p.Frame, n)
	case errno == unix.EAGAIN || errno == unix.ENOBUFS:
		return q.wait(p.Frame, 0)
	case errno == unix.EMSGSIZE:
		return errLong
	}
	q.part()
	return errDown
}

// stale reports whether the socket at the other end was replaced or is gone.
func stale(errno unix.Errno) bool {
	return errno == unix.ECONNREFUSED || errno == unix.ECONNRESET || errno == unix.ENOTCONN || errno == unix.EPIPE
}

// wait keeps a frame of which some bytes, prefix included, have gone. The lock is held.
func (q *qemu) wait(f ether.Frame, gone int) error {
	if gone == 0 && len(q.waiting)-q.gone+len(f) > qemuWaiting {
		return errFull
	}
	if len(q.waiting) == 0 {
		q.gone = gone
		ring1(q.kick)
	}
	if q.gone > qemuWaiting {
		q.compact()
	}
	q.waiting = binary.BigEndian.AppendUint32(q.waiting, uint32(len(f)))
	q.waiting = append(q.waiting, f...)
	return nil
}

// compact forgets the frames that have gone whole. The lock is held.
func (q *qemu) compact() {
	at := 0
	for {
		next := at + qemuPrefix + int(binary.BigEndian.Uint32(q.waiting[at:]))
		if next > q.gone {
			break
		}
		at = next
	}
	q.waiting = q.waiting[:copy(q.waiting, q.waiting[at:])]
	q.gone -= at
}

// flush sends what waits, as far as the guest takes it. The lock is held.
func (q *qemu) flush() {
	for q.gone < len(q.waiting) {
		rest := q.waiting[q.gone:]
		if !q.config.Stream {
			rest = rest[qemuPrefix:][:binary.BigEndian.Uint32(rest)]
		}
		n, errno := sendParts(q.out, nil, rest)
		switch {
		case errno == unix.EAGAIN || errno == unix.ENOBUFS:
			return
		case errno != 0:
			q.part()
			return
		case q.config.Stream:
			q.gone += n
		default:
			q.gone += qemuPrefix + len(rest)
		}
	}
	q.waiting, q.gone = q.waiting[:0], 0
}

// part lets go of a guest that is gone, and of what waited for it. The lock is held.
func (q *qemu) part() {
	lost := 0
	for rest := q.waiting; len(rest) > 0; lost++ {
		rest = rest[qemuPrefix+binary.BigEndian.Uint32(rest):]
	}
	q.outlet.drops.add(dropDown, lost)
	q.waiting, q.gone = q.waiting[:0], 0
	if q.out >= 0 && q.out != q.in {
		_ = unix.Close(q.out)
		q.out = -1
	}
}

// reach finds the guest's socket for datagrams. The lock is held.
func (q *qemu) reach() bool {
	if q.config.Stream || q.to == "" {
		return false
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	if unix.Connect(fd, &unix.SockaddrUnix{Name: q.to}) != nil {
		_ = unix.Close(fd)
		return false
	}
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, qemuWaiting)
	q.out = fd
	return true
}

// Read waits for frames of the guest.
func (q *qemu) Read(_ int, b *Batch) error {
	if !q.gate.enter() {
		return net.ErrClosed
	}
	defer q.gate.leave()
	b.reset()
	for {
		var err error
		if q.config.Stream {
			err = q.takeStream(b)
		} else {
			err = q.takeDatagrams(b)
		}
		if err != nil {
			return fmt.Errorf("cannot use port %q for QEMU: %w", q.config.Name, err)
		}
		if len(b.Packets) > 0 {
			return nil
		}
		if err := q.await(); err != nil {
			return err
		}
	}
}

// await returns once there may be something to read; meanwhile it sends what waits, as the guest takes it.
func (q *qemu) await() error {
	q.mu.Lock()
	if len(q.waiting) > 0 {
		q.flush()
	}
	fds := [4]unix.PollFd{
		{Fd: int32(q.wake), Events: unix.POLLIN},
		{Fd: int32(q.kick), Events: unix.POLLIN},
		{Fd: int32(q.in), Events: unix.POLLIN},
		{Fd: -1},
	}
	if q.out >= 0 && q.out != q.in { // of datagrams only whether it is full, and only while something waits
		fds[3].Fd = int32(q.out)
		if q.config.Stream {
			fds[3].Events = unix.POLLIN
		} else if len(q.waiting) == 0 {
			fds[3].Fd = -1
		}
	}
	if at := &fds[2]; len(q.waiting) > 0 {
		if q.out != q.in {
			at = &fds[3]
		}
		at.Events |= unix.POLLOUT
	}
	q.mu.Unlock()
	if _, err := unix.Ppoll(fds[:], nil, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("cannot wait for frames: %w", err)
	}
	if fds[0].Revents != 0 {
		return net.ErrClosed
	}
	if fds[1].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(q.kick, count[:]) // it only has to be empty again
	}
	return nil
}

// takeDatagrams reads one frame a datagram, and remembers where it came from if nobody said where the guest is.
func (q *qemu) takeDatagrams(b *Batch) error {
	for tries := 0; b.room() && tries < 2*b.max; tries++ {
		space := b.space()[frameAt:]
		size := uint32(unix.SizeofSockaddrUnix)
		n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(q.in), uintptr(unsafe.Pointer(&space[0])), uintptr(len(space)), 0,
			uintptr(unsafe.Pointer(&q.sender)), uintptr(unsafe.Pointer(&size)))
		switch errno {
		case 0:
		case unix.EAGAIN:
			return nil
		case unix.EINTR, unix.ECONNREFUSED: // the latter tells of something sent before
			continue
		default:
			return errno
		}
		if q.config.Remote == "" {
			if path := q.senderPath(size); len(path) > 0 && string(path) != q.from {
				q.from = string(path)
				q.moved(q.from)
			}
		}
		if n >= ether.HeaderLen {
			b.take(ether.Packet{Frame: space[:n:n]}, frameAt+int(n))
		}
	}
	return nil
}

// senderPath is the path in sender, whose address has so many bytes; empty if the sender has none to answer to.
func (q *qemu) senderPath(size uint32) []byte {
	const family = 2
	raw := (*[unix.SizeofSockaddrUnix]byte)(unsafe.Pointer(&q.sender))[:]
	path, _, _ := bytes.Cut(raw[family:max(family, min(size, unix.SizeofSockaddrUnix))], []byte{0})
	return path
}

// moved notes where the guest is now.
func (q *qemu) moved(to string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.part()
	q.to = to
}

// takeStream takes the frames that have arrived on the connection, and lets the newest guest in.
func (q *qemu) takeStream(b *Batch) error {
	if fd, _, err := unix.Accept4(q.in, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC); err == nil {
		q.admit(fd)
	}
	q.parse(b)
	if len(b.Packets) > 0 {
		return nil
	}
	q.mu.Lock()
	conn := q.out // only this goroutine opens it; another may close it, but not under the lock
	defer q.mu.Unlock()
	if conn < 0 {
		return nil
	}
	rest := copy(q.arrived[:cap(q.arrived)], q.arrived[q.parsed:])
	q.arrived, q.parsed = q.arrived[:rest], 0
	n, err := unix.Read(conn, q.arrived[rest:cap(q.arrived)])
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil
	case err != nil || n == 0:
		q.part() // the guest has ended; another may come
		q.arrived = q.arrived[:0]
		return nil
	}
	q.arrived = q.arrived[:rest+n]
	if !q.parse(b) { // what comes next cannot be told from the middle of a frame
		q.part()
		q.arrived, q.parsed = q.arrived[:0], 0
	}
	return nil
}

// admit replaces the guest's connection.
func (q *qemu) admit(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // a unix socket has none, and no delay
	q.mu.Lock()
	defer q.mu.Unlock()
	q.part()
	q.out, q.arrived, q.parsed = fd, q.arrived[:0], 0
}

// parse moves whole frames into the batch, and returns false when a length makes no sense.
func (q *qemu) parse(b *Batch) bool {
	for b.room() {
		rest := q.arrived[q.parsed:]
		if len(rest) < qemuPrefix {
			return true
		}
		n := int(binary.BigEndian.Uint32(rest))
		if n > maxFrame {
			return false
		}
		if len(rest) < qemuPrefix+n {
			return true
		}
		if n >= ether.HeaderLen {
			b.copyIn(&ether.Packet{Frame: ether.Frame(rest[qemuPrefix : qemuPrefix+n])})
		}
		q.parsed += qemuPrefix + n
	}
	return true
}

// sendParts sends bytes from up to two places in one call.
func sendParts(fd int, head, body []byte) (int, unix.Errno) {
	var iov [2]unix.Iovec
	n := 0
	for _, part := range [2][]byte{head, body} {
		if len(part) > 0 {
			iov[n].Base = &part[0]
			iov[n].SetLen(len(part))
			n++
		}
	}
	m := unix.Msghdr{Iov: &iov[0]}
	m.SetIovlen(n)
	for {
		sent, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), unix.MSG_NOSIGNAL)
		if errno != unix.EINTR {
			return int(sent), errno
		}
	}
}

// ring1 makes the event counter readable until it is read.
func ring1(counter int) {
	_, _ = unix.Write(counter, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // it cannot overflow before it is read
}
