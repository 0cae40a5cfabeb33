package patterns

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// chunk is how much content is made or checked at a time, in bytes: fits the second-level cache beside
// the kernel's copy, and is a multiple of 8 as the content generator wants.
const chunk = 64 << 10

// arrival is a message as the reader hands it to the rank: verified, or the reason why no more will come.
type arrival struct {
	header
	err error
}

// errBye is the error of the arrival behind a proper end.
var errBye = errors.New("said goodbye")

// letter is a message to be written. done, if there, gets exactly one answer and never blocks.
type letter struct {
	header
	done chan<- error
}

// peer is the connection with one other rank. The rank's loop owns it, but for the fields named below.
type peer struct {
	rank   int
	name   string // for messages
	conn   net.Conn
	ticked uint64 // the peer has all we sent in iterations below this one

	outbox chan letter  // the loop sends and closes, the writer receives
	inbox  chan arrival // the reader sends and closes, the loop receives
	quit   <-chan struct{}
	wake   *waker // the reader's

	self   int
	bytes  uint64         // length of every exchange of this run
	verify bool           // compare the content
	moved  *atomic.Uint64 // bytes in and out of all peers: the sign of life
}

// newPeer starts nothing: go wants readLoop and writeLoop.
func newPeer(rank int, conn net.Conn, cfg *config, moved *atomic.Uint64, quit <-chan struct{}) *peer {
	return &peer{
		rank: rank, name: fmt.Sprintf("rank %d", rank), conn: conn, quit: quit, moved: moved,
		wake: newWaker(conn), self: cfg.rank, bytes: uint64(cfg.bytes), verify: cfg.verify,
		// A few letters: the messages of one phase and the ticks around it never wait for the writer.
		outbox: make(chan letter, 2*window+2), inbox: make(chan arrival, 2*window+2),
	}
}

// start runs the peer's two goroutines in the group; both end when the connection is closed, or after a
// goodbye each way.
func (p *peer) start(group *errgroup.Group) {
	group.Go(func() error { p.readLoop(); return nil })
	group.Go(func() error { p.writeLoop(); return nil })
}

// readLoop receives and verifies messages until the other side ends.
func (p *peer) readLoop() {
	defer close(p.inbox)
	buf := make([]byte, chunk)
	for {
		h, err := p.readMessage(buf)
		if err == nil && h.Kind == kindBye {
			err = errBye
		}
		select {
		case p.inbox <- arrival{h, err}:
		case <-p.quit:
			return
		}
		if err != nil {
			return
		}
	}
}

// readMessage receives one message and compares its content.
func (p *peer) readMessage(buf []byte) (header, error) {
	if _, err := p.wake.readFull(p.conn, buf[:headerLen]); err != nil {
		return header{}, fmt.Errorf("rank %d hung up: %w", p.rank, err)
	}
	p.moved.Add(headerLen)
	h, err := parseHeader(buf)
	switch {
	case err != nil:
		return h, fmt.Errorf("cannot understand rank %d: %w", p.rank, err)
	case int(h.From) != p.rank || int(h.To) != p.self:
		return h, fmt.Errorf("a message from rank %d to %d came over the connection from %d to %d", h.From, h.To, p.rank, p.self)
	case h.Kind == kindData && h.Length != p.bytes:
		return h, fmt.Errorf("rank %d announces %d bytes instead of %d", p.rank, h.Length, p.bytes)
	}
	seed := contentSeed(p.rank, p.self, h.Iteration, int(h.Phase))
	for at := uint64(0); at < h.Length; {
		part := buf[:min(chunk, h.Length-at)]
		n, err := p.wake.readFull(countingReader{p}, part)
		if p.verify {
			if bad := mismatch(part[:n], seed, at); bad >= 0 {
				return h, fmt.Errorf("content from rank %d differs in iteration %d, phase %d, at byte %d of %d",
					p.rank, h.Iteration, h.Phase, at+uint64(bad), h.Length)
			}
		}
		if err != nil {
			return h, fmt.Errorf("rank %d hung up in iteration %d, phase %d, at byte %d of %d: %w",
				p.rank, h.Iteration, h.Phase, at+uint64(n), h.Length, err)
		}
		at += uint64(n)
	}
	return h, nil
}

// countingReader notes every byte as a sign of life.
type countingReader struct{ p *peer }

func (r countingReader) Read(b []byte) (int, error) {
	n, err := r.p.conn.Read(b)
	r.p.moved.Add(uint64(n))
	return n, err
}

// writeLoop sends what is in the outbox until it is closed.
func (p *peer) writeLoop() {
	buf := make([]byte, headerLen+chunk)
	var failed error
	for l := range p.outbox {
		if failed == nil {
			failed = p.writeMessage(buf, l.header)
		}
		if l.done != nil {
			l.done <- failed
		}
	}
	if t, ok := p.conn.(*net.TCPConn); ok && failed == nil {
		_ = t.CloseWrite() // the reader on the other side may already be gone
	}
}

// writeMessage sends a header and its content, the first part of it in the same write.
func (p *peer) writeMessage(buf []byte, h header) error {
	h.From, h.To = uint16(p.self), uint16(p.rank)
	seed := contentSeed(p.self, p.rank, h.Iteration, int(h.Phase))
	h.put(buf)
	out := buf[:headerLen]
	for at := uint64(0); ; {
		n := min(chunk, h.Length-at)
		fill(buf[len(out):len(out)+int(n)], seed, at)
		out = buf[:len(out)+int(n)]
		sent, err := p.conn.Write(out)
		p.moved.Add(uint64(sent))
		if err != nil {
			return fmt.Errorf("cannot send to rank %d in iteration %d: %w", p.rank, h.Iteration, err)
		}
		if at += n; at == h.Length {
			return nil
		}
		out = buf[:0]
	}
}
