package simnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

// The limits of a datagram socket.
const (
	udpHeader   = 8     // bytes
	maxDatagram = 65507 // bytes of payload: what an IPv4 packet has room for
	maxSegments = 64    // datagrams in one WriteSegments or one buffer of ReadBatch, UDP_MAX_SEGMENTS of Linux
	udpQueue    = 4096  // datagrams waiting in a socket: some MB, what a tuned receive buffer holds
)

// UDPSocket is one socket of a port's group. The network's lock guards it.
type UDPSocket struct {
	host   *Host
	at     netip.AddrPort
	group  *portGroup
	queue  []datagram
	ready  *sync.Cond
	closed bool
}

// portGroup are the sockets that share a port, as SO_REUSEPORT makes them.
type portGroup struct{ sockets []*UDPSocket }

type datagram struct {
	from netip.AddrPort
	data []byte
}

// ListenUDP opens n sockets on one port. A flow, known by its source, always meets the same of them.
func (h *Host) ListenUDP(at netip.AddrPort, n int) ([]*UDPSocket, error) {
	if n < 1 {
		return nil, errors.New("cannot open fewer than 1 socket")
	}
	h.net.mu.Lock()
	defer h.net.unlock()
	at, err := h.bind(at, func(p uint16) bool { return h.udp[p] != nil })
	if err != nil {
		return nil, err
	}
	group := &portGroup{}
	for range n {
		group.sockets = append(group.sockets, &UDPSocket{host: h, at: at, group: group, ready: sync.NewCond(&h.net.mu)})
	}
	h.udp[at.Port()] = group
	return slices.Clone(group.sockets), nil
}

// LocalAddr is where the socket listens.
func (s *UDPSocket) LocalAddr() netip.AddrPort { return s.at }

// Close makes every call return net.ErrClosed; the others of the group take over its flows.
func (s *UDPSocket) Close() error {
	s.host.net.mu.Lock()
	defer s.host.net.unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.shut()
	s.group.sockets = slices.DeleteFunc(s.group.sockets, func(o *UDPSocket) bool { return o == s })
	if len(s.group.sockets) == 0 && s.host.udp[s.at.Port()] == s.group {
		delete(s.host.udp, s.at.Port())
	}
	return nil
}

func (s *UDPSocket) shut() {
	s.closed, s.queue = true, nil
	s.ready.Broadcast()
}

// ReadBatch waits for a datagram and then takes all that wait, up to one for each buffer; the other slices
// are at least as long as bufs. As UDP_GRO does, it joins consecutive datagrams of one size from one source
// (the last may be shorter) in a buffer that has room: segs[i] is their size, or 0 when bufs[i] holds one
// datagram. A datagram larger than its buffer is cut off.
func (s *UDPSocket) ReadBatch(bufs [][]byte, sizes, segs []int, from []netip.AddrPort) (int, error) {
	n := s.host.net
	n.mu.Lock()
	defer n.unlock()
	for len(s.queue) == 0 && !s.closed {
		s.ready.Wait()
	}
	if s.closed {
		return 0, fmt.Errorf("cannot read from %s: %w", s.at, net.ErrClosed)
	}
	i := 0
	for ; i < len(bufs) && len(s.queue) > 0; i++ {
		from[i] = s.queue[0].from
		sizes[i], segs[i] = s.take(bufs[i])
	}
	if len(s.queue) == 0 {
		s.queue = nil
	}
	return i, nil
}

// take moves the first datagram, and those that can be joined to it, into a buffer.
func (s *UDPSocket) take(buf []byte) (size, seg int) {
	first := s.queue[0]
	size = copy(buf, first.data)
	taken := 1
	for ; taken < min(len(s.queue), maxSegments); taken++ {
		next := s.queue[taken]
		if next.from != first.from || len(next.data) > len(first.data) || len(next.data) == 0 || size+len(next.data) > len(buf) {
			break
		}
		size += copy(buf[size:], next.data)
		seg = len(first.data)
		if len(next.data) < len(first.data) {
			taken++
			break
		}
	}
	s.queue = s.queue[taken:]
	return size, seg
}

// WriteSegments sends buf, cut into datagrams of seg bytes (the last may be shorter), or whole when seg is
// 0. It never waits. As on a wire, success says nothing about arrival.
func (s *UDPSocket) WriteSegments(to netip.AddrPort, buf []byte, seg int) error {
	if seg <= 0 || seg > len(buf) {
		seg = len(buf)
	}
	if len(buf) > maxDatagram || len(buf) > seg*maxSegments {
		return fmt.Errorf("cannot send %d bytes in segments of %d to %s: %w", len(buf), seg, to, syscall.EMSGSIZE)
	}
	n := s.host.net
	n.mu.Lock()
	defer n.unlock()
	if s.closed {
		return fmt.Errorf("cannot send from %s: %w", s.at, net.ErrClosed)
	}
	data := slices.Clone(buf) // in flight while the caller goes on
	n.sendDatagram(s.at, to, data[:seg:seg])
	for data = data[seg:]; len(data) > 0; {
		part := min(seg, len(data))
		n.sendDatagram(s.at, to, data[:part:part])
		data = data[part:]
	}
	return nil
}

// sendDatagram offers a datagram to the wire and plans its arrival.
func (n *Net) sendDatagram(from, to netip.AddrPort, data []byte) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	w := n.wire(from.Addr(), to.Addr())
	size := headers(to.Addr(), udpHeader) + len(data)
	at, ok := w.offer(time.Now(), size)
	if !ok {
		return
	}
	n.plan(at, func() {
		s := n.socketFor(from, to)
		switch {
		case s == nil:
			w.count.NoSocket++
		case len(s.queue) >= udpQueue:
			w.count.ReceiverFull++
		default:
			w.delivered(size)
			if n.tap != nil {
				n.tap(time.Now(), from, to, data)
			}
			s.queue = append(s.queue, datagram{from, data})
			s.ready.Signal()
		}
	})
}

// socketFor finds the socket a datagram goes to, nil if there is none.
func (n *Net) socketFor(from, to netip.AddrPort) *UDPSocket {
	h := n.hosts[to.Addr()]
	if h == nil || h.udp[to.Port()] == nil {
		return nil
	}
	sockets := h.udp[to.Port()].sockets
	return sockets[hashOf(from)%uint64(len(sockets))]
}
