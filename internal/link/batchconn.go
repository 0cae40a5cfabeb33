package link

import (
	"net"
	"sync"
)

// batchRead is how much a batchConn reads at once: several super-frames. TLS by itself asks for one record, 16 KiB.
const batchRead = 256 << 10

// batchConn is the TCP connection under TLS. Once frames flow it makes one system call of many TLS records in either direction.
type batchConn struct {
	net.Conn

	mu   sync.Mutex // guards the following
	hold bool       // what TLS writes is kept until flush
	held []byte

	buf     []byte // read ahead; nil while the handshake lasts. This and the next are the reader's
	at, end int    // buf[at:end] has not been taken
}

// Write writes, or keeps between begin and flush.
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

// begin keeps what is written from now on.
func (w *batchConn) begin() {
	w.mu.Lock()
	w.hold = true
	w.mu.Unlock()
}

// flush writes what was kept. Only the goroutine that began may call it.
func (w *batchConn) flush() error {
	w.mu.Lock()
	out := w.held
	w.held, w.hold = nil, false
	w.mu.Unlock()
	if len(out) == 0 {
		return nil
	}
	_, err := w.Conn.Write(out)
	w.mu.Lock()
	if w.held == nil {
		w.held = out[:0]
	}
	w.mu.Unlock()
	return err
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

// batchUnder is the batchConn below a TLS connection; nil where there is none.
func batchUnder(conn net.Conn) *batchConn {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		w, _ := t.NetConn().(*batchConn)
		return w
	}
	return nil
}
