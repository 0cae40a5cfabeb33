package port

import (
	"errors"
	"fmt"
	"net"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// queue is one non-blocking descriptor of a port. Its reader waits with ppoll on its own thread: going through
// Go's network poller instead would add about 60 µs to a request and its answer.
type queue struct {
	fd   int
	wake int // event counter of the whole port, readable once it closes
	// look is how long wait waits at most, or 0 for ever; idle is whether it did. These and vigil belong to the reader.
	look      time.Duration
	idle      bool
	vigil     vigil
	reckoning reckoning // of what waits
}

// wait returns once the descriptor is readable or has an error to tell, or nothing came for as long as look says.
func (k *queue) wait() error {
	var timeout *unix.Timespec
	if k.look > 0 {
		t := unix.NsecToTimespec(int64(k.look))
		timeout = &t
	}
	fds := [2]unix.PollFd{
		{Fd: int32(k.fd), Events: unix.POLLIN},
		{Fd: int32(k.wake), Events: unix.POLLIN},
	}
	for {
		n, err := unix.Ppoll(fds[:], timeout, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot wait for frames: %w", err)
		}
		if fds[1].Revents != 0 {
			return net.ErrClosed
		}
		k.idle = n == 0
		return nil
	}
}

// fill reads packets with receive until none waits or the batch is full; it looks or waits for the first.
// receive reads one packet into the batch and may find it not worth taking.
func (k *queue) fill(b *Batch, receive func(*queue, *Batch) error) error {
	b.reset()
	looking := false
	for {
		// Bounded, so that a flood of what is not worth taking does not hide that the port closes.
		for tries := 0; b.room() && tries < 2*b.max; tries++ {
			err := receive(k, b)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
		}
		if len(b.Packets) > 0 {
			k.reckoning.read(b.Packets)
			return nil
		}
		now := time.Now()
		if !looking {
			k.vigil.begin(now)
			looking = true
		}
		if k.vigil.more(now) {
			giveWay()
			continue
		}
		k.reckoning.empty()
		if err := k.wait(); err != nil {
			return err
		}
		k.vigil.woke(time.Now())
		looking = false
	}
}

// writeMarked writes a frame with its marks in front, from two places in memory.
func writeMarked(fd int, p *ether.Packet) unix.Errno {
	var marks [ether.OffloadLen]byte
	p.Offload.Put(marks[:])
	iov := [2]unix.Iovec{{Base: &marks[0]}, {Base: &p.Frame[0]}}
	iov[0].SetLen(len(marks))
	iov[1].SetLen(len(p.Frame))
	for {
		_, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
		if errno != unix.EINTR {
			return errno
		}
	}
}

// meaning sorts what the kernel says to a frame.
func meaning(errno unix.Errno) error {
	switch errno {
	case 0:
		return nil
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return errFull
	case unix.EMSGSIZE:
		return errLong
	case unix.EIO, unix.ENETDOWN:
		return errDown
	case unix.EBADFD, unix.ENXIO, unix.ENODEV:
		return ErrGone
	case unix.EINVAL, unix.EOPNOTSUPP:
		return refusal(errno)
	}
	return errRefused
}

// newWake returns an event counter that ends the waiting of a port's readers.
func newWake() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("cannot make an event counter: %w", err)
	}
	return fd, nil
}

// ring makes the event counter readable for good.
func ring(wake int) {
	// Writing 1 to a counter at 0 cannot fail.
	_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 1})
}
