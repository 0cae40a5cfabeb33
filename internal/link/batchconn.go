package link

import (
	"errors"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// batchRead is how much a batchConn reads at once: several super-frames. TLS by itself asks for one record, 16 KiB.
	batchRead = 256 << 10
	// batchLeast and batchMost bound what may wait in the socket unsent, and what one system call writes.
	batchLeast = 16 << 10
	batchMost  = 256 << 10
)

// batchConn is the TCP connection under TLS. Once frames flow it makes one system call of many TLS records in either direction,
// and gives the kernel no more than it sends soon: what waits there nobody can see into.
type batchConn struct {
	net.Conn

	mu   sync.Mutex // guards the following
	hold bool       // what TLS writes is kept for try and flush
	held []byte

	raw   syscall.RawConn       // nil where the connection is made of memory; set by batch, as are the next two
	write func(fd uintptr) bool // w.writeSome, made once
	wait  bool                  // for writeSome: until all of out has gone
	out   []byte                // for writeSome. This and the rest but the last are those of whoever tries or flushes
	whole []byte                // the memory that out is the rest of, to be given back
	fail  error
	chunk int // bytes that may wait unsent

	buf     []byte // read ahead; nil while the handshake lasts. This and the next are the reader's
	at, end int    // buf[at:end] has not been taken
}

// batchUnder is the batchConn below a TLS connection; nil where there is none.
func batchUnder(conn net.Conn) *batchConn {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		w, _ := t.NetConn().(*batchConn)
		return w
	}
	return nil
}

// batch keeps what is written from now on, for try and flush.
func (w *batchConn) batch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold, w.write = true, w.writeSome
	if c, ok := w.Conn.(syscall.Conn); ok {
		w.raw, _ = c.SyscallConn()
	}
	w.bound(batchMost)
}

// Write writes, or keeps.
func (w *batchConn) Write(b []byte) (int, error) {
	w.mu.Lock()
	if w.hold {
		w.held = append(w.held, b...)
		w.mu.Unlock()
		return len(b), nil
	}
	w.mu.Unlock()
	return w.Conn.Write(b)
}

// take is what was kept. give gives the memory back.
func (w *batchConn) take() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.held
	w.held = nil
	return out
}

func (w *batchConn) give(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil {
		w.held = b[:0]
	}
}

// try writes what was kept as far as the socket takes it at once, and reports whether that was all. One goroutine at a time
// may try or flush.
func (w *batchConn) try() bool {
	if w.raw == nil {
		return false
	}
	if len(w.out) == 0 {
		w.out = w.take()
		w.whole = w.out
	}
	w.wait = false
	if err := w.raw.Write(w.write); err != nil && w.fail == nil {
		w.fail = err
	}
	if len(w.out) > 0 || w.fail != nil {
		return false
	}
	w.give(w.whole)
	w.out, w.whole = nil, nil
	return true
}

// flush writes all that was kept, waiting as long as it takes.
func (w *batchConn) flush() error {
	for w.fail == nil {
		if len(w.out) == 0 {
			w.out = w.take()
			if w.whole = w.out; len(w.out) == 0 {
				w.give(w.whole)
				w.out, w.whole = nil, nil
				return nil
			}
		}
		var err error
		if w.raw == nil {
			_, err = w.Conn.Write(w.out)
		} else {
			w.wait = true
			err = w.raw.Write(w.write)
		}
		if w.fail == nil {
			w.fail = err
		}
		w.give(w.whole)
		w.out, w.whole = nil, nil
	}
	return w.fail
}

// writeSome writes out while the socket has little unsent. False makes the poller wait for that and come again.
func (w *batchConn) writeSome(fd uintptr) bool {
	for len(w.out) > 0 {
		// What a socket has begun to put together it lets grow without asking whether too much waits: so it is asked here.
		ask := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		switch n, err := unix.Poll(ask[:], 0); {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			w.fail = err
			return true
		case n == 0:
			return !w.wait
		}
		n, err := unix.Write(int(fd), w.out[:min(len(w.out), w.chunk)])
		switch {
		case err == nil:
			w.out = w.out[n:]
		case errors.Is(err, unix.EAGAIN):
			return !w.wait
		case !errors.Is(err, unix.EINTR):
			w.fail = err
			return true
		}
	}
	return true
}

// bound lets so many bytes wait in the socket, within limits; whoever may try or flush may.
func (w *batchConn) bound(bytes int) {
	bytes = min(max(bytes, batchLeast), batchMost)
	if w.raw == nil || bytes == w.chunk {
		return
	}
	w.chunk = bytes
	_ = w.raw.Control(func(fd uintptr) { // one that is larger only delays
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bytes)
	})
}

// readAhead begins to read as much as there is; the reader calls it.
func (w *batchConn) readAhead() { w.buf = make([]byte, batchRead) }

// Read gives what was read ahead, or reads.
func (w *batchConn) Read(b []byte) (int, error) {
	if w.at == w.end {
		if w.buf == nil || len(b) >= len(w.buf) {
			return w.Conn.Read(b)
		}
		n, err := w.Conn.Read(w.buf)
		w.at, w.end = 0, n
		if n == 0 {
			return 0, err
		} // an error beside bytes comes again with the next read
	}
	n := copy(b, w.buf[w.at:w.end])
	w.at += n
	return n, nil
}
