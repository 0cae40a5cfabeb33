package link

import (
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

	streamRead = 256 << 10 // bytes read at once: several super-frames
	// streamWrite is how many bytes of records are sealed before they are written: what TLS makes of them takes as much again.
	streamWrite = 128 << 10
)

// frameStream is the frames connection of the tcp carrier. Workers append records, and write them as far as the socket takes
// them at once; what is left one goroutine writes.
type frameStream struct {
	conn  net.Conn
	batch *batchConn // under it; nil in tests without TLS

	mu      sync.Mutex
	pending []byte    // records waiting
	oldest  time.Time // when the first of them came
	limit   int       // bytes that may wait
	busy    bool      // the writer goroutine seals and writes; else whoever holds the lock may
	last    bool      // nothing more will be appended; the writer ends when pending is out

	wake    chan struct{} // room for one: there is something to do
	written chan struct{} // closed when the writer has ended
	read    chan struct{} // closed when the reader has ended
}

func newFrameStream(conn net.Conn) *frameStream {
	s := &frameStream{conn: conn, batch: batchUnder(conn), limit: streamFirst, wake: make(chan struct{}, 1), written: make(chan struct{}), read: make(chan struct{})}
	if s.batch != nil {
		s.batch.batch()
	}
	return s
}

// sendStream appends the packets as records, super-frames whole. Too much waiting, or for too long, is a drop.
func (o *outbox) sendStream(l *Link, pkts []ether.Packet) {
	s := l.stream
	o.link, o.tx = l, &l.lanes[o.lane]
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
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
	s.push(now)
	o.link = nil
}

// streamRecord appends one packet; the stream's lock is held.
func (o *outbox) streamRecord(p *ether.Packet) {
	s, n := o.link.stream, recordLen(p)
	at := len(s.pending)
	if at > 0 && at+n > s.limit {
		o.link.drop(DropFull, uint64(p.Frames()))
		return
	}
	s.pending = extend(s.pending, n)
	putRecord(s.pending[at:], record{hops: o.hops, offload: p.Offload, bytes: p.Frame})
	o.tx.frames.Add(uint64(p.Frames()))
	o.tx.datagrams.Add(1)
}

// house appends a message of the link itself, past the bounds: it is short, and the link's life depends on it.
func (s *frameStream) house(put func([]byte) int) {
	var b [houseMax]byte
	n := put(b[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last {
		return
	}
	at := len(s.pending)
	s.pending = extend(s.pending, recordHead+n)
	putRecord(s.pending[at:], record{flags: recHouse, bytes: b[:n]})
	s.push(time.Now())
}

// push seals and writes what waits, without waiting; what the socket does not take at once is left to the writer goroutine. The
// lock is held.
func (s *frameStream) push(now time.Time) {
	if s.busy || s.last || s.batch == nil || s.batch.raw == nil {
		s.poke(now)
		return
	}
	_, err := s.conn.Write(s.pending) // into the batch: it waits for nothing
	s.pending = s.pending[:0]
	if err != nil || !s.batch.try() {
		s.busy = true
		s.poke(now)
	}
}

// extend lengthens b by n bytes of any content.
func extend(b []byte, n int) []byte {
	if cap(b)-len(b) < n {
		grown := make([]byte, len(b), max(2*cap(b), len(b)+n, 64<<10))
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
	var spare []byte
	for range s.wake {
		for more := true; more; {
			s.mu.Lock()
			out, last := s.pending, s.last
			s.pending, s.oldest, s.busy = spare[:0], time.Time{}, true
			s.mu.Unlock()
			begin := time.Now()
			n, err := s.put(out)
			if err != nil {
				l.streamEnded(err)
				return
			}
			took := time.Since(begin)
			s.mu.Lock()
			s.limit = nextLimit(s.limit, n, took)
			if s.batch != nil {
				s.batch.bound(s.limit)
			}
			more = len(s.pending) > 0
			s.busy = more
			s.mu.Unlock()
			if spare = out; last && !more {
				return
			}
		}
	}
}

// put writes what the batch has kept, and then records, many TLS records a system call. It returns how many bytes.
func (s *frameStream) put(out []byte) (n int, err error) {
	if s.batch == nil {
		return s.conn.Write(out)
	}
	n = len(s.batch.out) + len(out)
	err = s.batch.flush()
	for len(out) > 0 && err == nil {
		part := out[:min(len(out), streamWrite)]
		out = out[len(part):]
		if _, err = s.conn.Write(part); err == nil {
			err = s.batch.flush()
		}
	}
	return n, err
}

// nextLimit is how much may wait, after n bytes took so long to be written: what the path carries in streamQueue, approached by
// halving, since one write that took long may have found the processor busy. A write that took no time has not met the
// path's end, and doubles it.
func nextLimit(limit, n int, took time.Duration) int {
	switch {
	case n == 0:
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
	abort(s.conn)
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

// receive is the reader goroutine: it carries all records that have arrived to the owner in one batch.
func (s *frameStream) receive(l *Link, in *inlet) {
	defer close(s.read)
	buf, have := make([]byte, streamRead), 0
	if s.batch != nil {
		s.batch.readAhead()
	}
	var pkts []ether.Packet
	for {
		n, err := s.conn.Read(buf[have:])
		have += n
		var parting *bye
		used, bad := 0, error(nil)
		pkts, used, parting, bad = l.streamRecords(buf[:have], pkts[:0])
		l.hand(in, pkts)
		clear(pkts)
		if used > 0 {
			have = copy(buf, buf[used:have])
		}
		switch {
		case parting != nil:
			l.farewell(*parting)
			return
		case bad != nil:
			l.end(bad, false)
			return
		case err != nil:
			l.streamEnded(err)
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
