package simnet

import (
	"net/netip"
	"time"
)

// The sizes and times of the byte streams.
const (
	tcpHeader     = 20       // bytes, without options
	sendBuffer    = 64 << 10 // bytes written and not yet in the network
	receiveWindow = 1 << 20  // bytes in the network or not yet read: 80 ms at 100 Mbit/s
	// leastRetry is the shortest time after which a lost segment is sent again; otherwise it is a round
	// trip, which is when a real sender would know.
	leastRetry = 10 * time.Millisecond
)

// stream is one direction of a TCP connection: what its sender wrote, what is in the network, what its
// receiver has not read. It keeps order, repeats what the path loses, and waits while a direction is cut.
// Acknowledgements take no time of their own. The network's lock guards it.
type stream struct {
	net      *Net
	from, to netip.Addr
	out      []byte    // written, not in the network
	flying   int       // bytes in the network
	in       []byte    // arrived, not read
	waiting  bool      // a later pump is planned
	last     time.Time // arrival of the last segment, to keep order on paths that do not

	fin    bool  // the sender ended: eof follows out
	ended  bool  // the end was sent
	eof    bool  // the end has arrived
	gone   bool  // the network does nothing more for it
	reader *conn // gets in; closed when nobody reads
	writer *conn
}

// pump sends what may be sent now. It is called when that may have changed.
func (s *stream) pump() {
	forth, back := s.net.wire(s.from, s.to), s.net.wire(s.to, s.from)
	for !s.waiting && !s.gone && (len(s.out) > 0 || s.fin && !s.ended) {
		if forth.cut || back.cut || s.flying+len(s.in) >= receiveWindow {
			return // Heal and Read pump again
		}
		now := time.Now()
		path := forth.pipe.Path()
		// A polite sender: it fills half of the queue at most and leaves the rest to datagrams.
		if ahead := forth.pipe.Backlog(now) - path.Depth()/2; ahead > 0 {
			s.again(now.Add(ahead))
			return
		}
		over := headers(s.to, tcpHeader)
		n := len(s.out)
		if path.MTU > 0 {
			n = min(n, max(1, path.MTU-over))
		}
		at, ok := forth.offer(now, n+over)
		if !ok {
			s.again(now.Add(max(leastRetry, path.Delay+back.pipe.Path().Delay)))
			return
		}
		if at.Before(s.last) {
			at = s.last
		}
		s.last = at
		data := s.out[:n:n]
		s.out = s.out[n:]
		s.flying += n
		end := s.fin && len(s.out) == 0
		s.ended = s.ended || end
		s.net.plan(at, func() { s.arrive(forth, data, end, n+over) })
		s.writer.changed.Broadcast()
	}
	s.writer.retire()
}

// again plans a pump.
func (s *stream) again(at time.Time) {
	s.waiting = true
	s.net.plan(at, func() {
		s.waiting = false
		s.pump()
	})
}

// arrive is a segment at its receiver.
func (s *stream) arrive(w *wire, data []byte, end bool, size int) {
	s.flying -= len(data)
	switch {
	case s.gone:
		w.count.NoSocket++
		return
	case s.reader.closed && len(data) > 0: // nobody will read this: the sender is told, a path later
		w.count.NoSocket++
		s.net.answer(s.to, s.from, s.writer.reset)
	default:
		w.delivered(size)
		s.in = append(s.in, data...)
	}
	s.eof = s.eof || end
	s.reader.changed.Broadcast()
}

// read moves what has arrived into b.
func (s *stream) read(b []byte) int {
	n := copy(b, s.in)
	s.in = s.in[n:]
	if len(s.in) == 0 {
		s.in = nil
	}
	s.pump()
	return n
}

// write takes as much of b as the send buffer has room for.
func (s *stream) write(b []byte) int {
	n := min(len(b), sendBuffer-len(s.out))
	if n > 0 {
		s.out = append(s.out, b[:n]...) // behind the bytes that are in the network, which pump cut off in front
		s.pump()
	}
	return max(n, 0)
}

// answer carries a header-only segment and does something when it arrives; losing it loses that.
func (n *Net) answer(from, to netip.Addr, do func()) bool {
	w := n.wire(from, to)
	size := headers(to, tcpHeader)
	at, ok := w.offer(time.Now(), size)
	if ok {
		n.plan(at, func() {
			w.delivered(size)
			do()
		})
	}
	return ok
}
