package link

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

const (
	// streamAge bounds what waits for the tcp carrier in time: a queue that is older is a path that carries less than it is
	// given, and more queue would only add delay.
	streamAge = 100 * time.Millisecond
	// streamQueue bounds it in bytes, as what the path was seen to carry in this time: the path has a queue of its own. A
	// frame that finds nothing waiting is always taken. It begins low so that a slow path is not buried before it is known.
	streamQueue = 2 * time.Millisecond
	streamLeast = 24 << 10
	streamFirst = 256 << 10
	streamMost  = 1 << 20
	// streamSlow is how long a write must take to tell of the path: a shorter one only filled the socket.
	streamSlow = time.Millisecond / 2

	// streamWrite is how many bytes of frames are sealed before they are written: the other end begins with them meanwhile.
	streamWrite = 128 << 10

	streamRead  = 256 << 10 // bytes read at once, while much comes: several super-frames
	streamQuiet = 16 << 10  // bytes read at once otherwise
	// streamRoom is how many bytes a read may bring at least, while much comes: what has not been opened is moved for it.
	streamRoom = 64 << 10
	// streamIdle is how long no read must have been larger than streamQuiet for the memory of larger ones to be given back.
	streamIdle = 2 * time.Second
)

// frameStream is the frames connection of the tcp carrier. Workers append what is to be written, blocks or, where TLS seals,
// records, and write it as far as the socket takes it at once; what is left one goroutine writes.
type frameStream struct {
	conn   net.Conn   // TLS, whose set-up the connection has behind it
	sealed bool       // frames travel in blocks of our own from now on
	door   streamDoor // set by open

	mu      sync.Mutex
	blocks  blockWriter
	pending []byte    // waiting, from gone on
	gone    int       // bytes at the start of pending that were written
	oldest  time.Time // when the first of them came
	now     time.Time // of the present call
	spare   []byte    // memory for pending while the writer has it
	limit   int       // bytes that may wait
	busy    bool      // the writer goroutine writes; else whoever holds the lock may
	active  bool      // something was sent since the last message of the link's own
	last    bool      // nothing more will be appended; the writer ends when pending is out

	wake    chan struct{} // room for one: there is something to do
	written chan struct{} // closed when the writer has ended
	read    chan struct{} // closed when the reader has ended
}

func newFrameStream(conn net.Conn, sealed bool) *frameStream {
	return &frameStream{
		conn: conn, sealed: sealed, limit: streamFirst,
		wake: make(chan struct{}, 1), written: make(chan struct{}), read: make(chan struct{}),
	}
}

// framesOver makes a stream of a connection that was set up for one.
func framesOver(conn *tls.Conn) *frameStream {
	return newFrameStream(conn, conn.ConnectionState().NegotiatedProtocol == alpnSealed)
}

// open makes the connection ready for frames.
func (s *frameStream) open() error {
	s.door = plainDoor{s.conn}
	c := below(s.conn)
	switch {
	case !s.sealed:
		if c != nil {
			c.ahead = bufio.NewReaderSize(c.Conn, readAhead)
		}
		return nil
	case c == nil:
		return errors.New("cannot take the connection from TLS")
	}
	socket, err := takeSocket(c.Conn)
	switch {
	case errors.Is(err, errors.ErrUnsupported): // it is made of memory
		s.door = plainDoor{c.Conn}
	case err != nil:
		return fmt.Errorf("cannot take the connection from TLS: %w", err)
	default:
		s.door = socket
	}
	return nil
}

// sendStream appends the packets as records, super-frames whole. Too much waiting, or for too long, is a drop.
func (o *outbox) sendStream(l *Link, pkts []ether.Packet) {
	s := l.stream
	o.link, o.tx = l, &l.lanes[o.lane]
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
	if s.last {
		l.drop(DropClosed, framesOf(pkts))
		return
	}
	if len(s.pending) > 0 && now.Sub(s.oldest) > streamAge {
		l.drop(DropFull, framesOf(pkts))
		return
	}
	for i := range pkts {
		p := &pkts[i]
		o.hops = p.Hops + 1
		switch {
		case p.Hops >= maxHops:
			l.drop(DropHopLimit, uint64(p.Frames()))
		case len(p.Frame) <= recordMax:
			o.streamRecord(p)
		case !p.Offload.Segmented():
			l.drop(DropTooLarge, uint64(p.Frames()))
		default:
			if err := o.seg.Segment(p, 0, o.whole); err != nil {
				l.drop(DropBadOffload, uint64(p.Frames()))
			}
		}
	}
	s.push(l, now)
	o.link = nil
}

// streamRecord appends one packet; the stream's lock is held.
func (o *outbox) streamRecord(p *ether.Packet) {
	s := o.link.stream
	if waiting := len(s.pending) - s.gone; waiting > 0 && waiting+recordLen(p) > s.limit {
		if s.push(o.link, s.now); len(s.pending) > 0 {
			o.link.drop(DropFull, uint64(p.Frames()))
			return
		}
	}
	s.append(o.link, record{hops: o.hops, offload: p.Offload, bytes: p.Frame})
	o.tx.frames.Add(uint64(p.Frames()))
	o.tx.datagrams.Add(1)
	if len(s.pending)-s.gone >= streamWrite {
		s.push(o.link, s.now)
	}
}

// append adds a record to what waits. The lock is held.
func (s *frameStream) append(l *Link, r record) {
	s.active = true
	if s.sealed {
		s.pending = s.blocks.record(s.pending, r, l.tx.Load())
		return
	}
	n := recordHead + len(r.bytes)
	if r.offload != (ether.Offload{}) {
		n += ether.OffloadLen
	}
	s.pending = extend(s.pending, n)
	putRecord(s.pending[len(s.pending)-n:], r)
}

// house appends a message of the link itself, past the bounds: it is short, and the link's life depends on it.
func (s *frameStream) house(l *Link, put func([]byte) int) {
	var b [houseMax]byte
	n := put(b[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.say(l, b[:n])
}

// turn makes next the key of all blocks that follow, and tells the peer so with the last of the present one.
func (s *frameStream) turn(l *Link, next *epochKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = s.blocks.close(s.pending, l.tx.Load())
	s.say(l, []byte{houseTurn})
	l.tx.Store(next)
}

// say appends a message and writes. The lock is held.
func (s *frameStream) say(l *Link, message []byte) {
	if s.last {
		return
	}
	if !s.active && len(s.pending) == 0 && cap(s.pending) > streamQuiet {
		s.pending, s.spare = nil, nil // nothing else was sent for some time
	}
	s.append(l, record{flags: recHouse, bytes: message})
	s.push(l, time.Now())
	s.active = false
}

// sealedBlocks is how many blocks there have been.
func (s *frameStream) sealedBlocks() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blocks.state.number
}

// push seals and writes what waits, without waiting; what the socket does not take at once is left to the writer goroutine. The
// lock is held.
func (s *frameStream) push(l *Link, now time.Time) {
	if s.sealed {
		s.pending = s.blocks.close(s.pending, l.tx.Load())
	}
	switch {
	case len(s.pending) == 0:
		return
	case !s.busy:
		n, _ := s.door.Try(s.pending[s.gone:]) // the writer meets the error again
		if s.gone += n; s.gone == len(s.pending) {
			s.pending, s.gone = s.pending[:0], 0
			return
		}
		s.busy = true
	}
	s.poke(now)
}

// extend lengthens b by n bytes of any content.
func extend(b []byte, n int) []byte {
	if cap(b)-len(b) < n {
		grown := make([]byte, len(b), max(2*cap(b), len(b)+n, 4<<10))
		copy(grown, b)
		b = grown
	}
	return b[:len(b)+n]
}

// poke wakes the writer; the lock is held.
func (s *frameStream) poke(now time.Time) {
	if s.oldest.IsZero() {
		s.oldest = now
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// write is the writer goroutine: it takes all that waits and writes it, until finish or an error.
func (s *frameStream) write(l *Link) {
	defer close(s.written)
	for range s.wake {
		for more := true; more; {
			s.mu.Lock()
			whole, out, last := s.pending, s.pending[s.gone:], s.last
			s.pending, s.spare, s.gone, s.oldest, s.busy = s.spare[:0], nil, 0, time.Time{}, true
			s.mu.Unlock()
			begin := time.Now()
			if _, err := s.door.Write(out); err != nil {
				l.streamEnded(err)
				return
			}
			took := time.Since(begin)
			s.mu.Lock()
			s.spare = whole
			s.limit = nextLimit(s.limit, len(out), took)
			s.door.Bound(s.limit)
			more = len(s.pending) > 0
			s.busy = more
			s.mu.Unlock()
			if last && !more {
				return
			}
		}
	}
}

// nextLimit is how much may wait, after n bytes took so long to be written: what the path carries in streamQueue, approached by
// halving, since one write that took long may have found the processor busy, which is all that one of a few bytes tells. A
// write that took no time has not met the path's end, and doubles it.
func nextLimit(limit, n int, took time.Duration) int {
	switch {
	case n <= streamShort:
		return limit
	case took >= streamSlow:
		return min(max(streamLeast, limit/2, int(float64(n)*float64(streamQueue)/float64(took))), streamMost)
	case n > limit/2:
		return min(streamMost, 2*limit)
	}
	return limit
}

// finish ends the connection. It lets the last records out, and waits for the peer's last words: data that arrives at a closed
// socket would make the kernel reset the connection, and the peer lose ours.
func (s *frameStream) finish() {
	s.mu.Lock()
	s.last = true
	s.poke(time.Now())
	s.mu.Unlock()
	timeout := time.NewTimer(byeWait)
	defer timeout.Stop()
	for _, end := range []chan struct{}{s.written, s.read} {
		select {
		case <-end:
		case <-timeout.C:
			timeout.Reset(0)
		}
	}
	s.door.Close()
	<-s.written
	<-s.read
}

// abort closes a connection without waiting for its peer, as tls.Conn.Close would.
func abort(conn net.Conn) {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		t.NetConn().Close()
		return
	}
	conn.Close()
}

// receive is the reader goroutine: it carries all frames that have arrived to the owner in one batch.
func (s *frameStream) receive(l *Link, in *inlet) {
	defer close(s.read)
	if s.sealed {
		s.receiveBlocks(l, in)
		return
	}
	buf, have := make([]byte, streamRead), 0
	var pkts []ether.Packet
	for {
		n, err := s.door.Read(buf[have:])
		have += n
		var parting *bye
		used, bad := 0, error(nil)
		pkts, used, parting, bad = l.streamRecords(buf[:have], pkts[:0])
		l.hand(in, pkts)
		clear(pkts)
		if used > 0 {
			have = copy(buf, buf[used:have])
		}
		if l.streamOver(parting, bad, err) {
			return
		}
	}
}

// streamOver ends the link where there is a reason: the peer's bye, what it should not have sent, a failure.
func (l *Link) streamOver(parting *bye, bad, err error) bool {
	switch {
	case parting != nil:
		l.farewell(*parting)
	case bad != nil:
		l.end(bad, false)
	case err != nil:
		l.streamEnded(err)
	default:
		return false
	}
	return true
}

// receiveBlocks is receive for blocks.
func (s *frameStream) receiveBlocks(l *Link, in *inlet) {
	var turn Turn
	var pkts []ether.Packet
	r := blockReader{buf: make([]byte, streamQuiet)}
	for {
		n, err := s.door.Read(r.room())
		now := time.Now()
		turn.At(now)
		r.end += n
		var parting *bye
		var bad error
		pkts, parting, bad = r.collect(l, now, pkts[:0])
		l.hand(in, pkts)
		clear(pkts)
		r.fit(n, now)
		if l.streamOver(parting, bad, err) {
			return
		}
	}
}

// streamRecords parses the whole records at the start of b and says how much of b they were.
func (l *Link) streamRecords(b []byte, pkts []ether.Packet) (_ []ether.Packet, used int, parting *bye, err error) {
	now := time.Now()
	for parting == nil {
		size := recordSize(b[used:])
		if size == 0 || size > len(b)-used {
			break
		}
		rec, _, err := parseRecord(b[used : used+size])
		if err != nil || rec.flags&recPiece != 0 || rec.flags == recPadding {
			return pkts, used, nil, errRecord
		}
		used += size
		l.datagramsIn.Add(1)
		l.heard.Store(int64(l.clock(now)))
		if rec.flags&recHouse != 0 {
			parting = l.houseMessage(rec.bytes, now, nil)
			continue
		}
		if p, ok := l.take(rec); ok {
			p.Frame = slices.Clip(p.Frame)
			pkts = append(pkts, p)
		}
	}
	return pkts, used, parting, nil
}
