// Package simnet is a network made of memory: hosts with UDP and TCP sockets, and paths between them that
// obey wan.
//
// It is for tests inside a testing/synctest bubble, where it makes time exact: everything in it blocks on
// sync.Cond and timers only. It does not imitate TCP's congestion control, fragmentation or routing, and
// opens no socket of the machine.
package simnet

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// DefaultMTU is what a path without an MTU carries, in bytes of an IP packet: Ethernet's.
const DefaultMTU = 1500

// Net is the network. Create it inside the bubble that uses it. One lock guards everything in the package:
// the fields here, the hosts and all their sockets.
type Net struct {
	seed uint64

	mu      sync.Mutex
	agenda  agenda // what happens next
	initial wan.Path
	hosts   map[netip.Addr]*Host
	wires   map[direction]*wire
	conns   map[*conn]bool // open TCP connections, to go on after a heal
	tap     Tap            // nil: nobody looks
}

// Tap sees a datagram as it reaches its socket. It is called under the network's lock, so it neither blocks nor calls the network,
// and it keeps nothing of data.
type Tap func(at time.Time, from, to netip.AddrPort, data []byte)

type direction struct{ from, to netip.Addr }

// wire is one direction between two addresses.
type wire struct {
	pipe  *wan.Pipe
	dice  *rand.Rand // its own, so that what other directions do changes nothing here
	cut   bool
	count Counters
}

// Counters tell the fate of the packets of one direction, TCP segments included. Offered is the sum of all
// others and what is still under way.
type Counters struct {
	Offered, Delivered      uint64
	OfferedBytes            uint64 // IP and transport headers included, as DeliveredBytes
	DeliveredBytes          uint64
	Lost, QueueFull, TooBig uint64 // what the path did
	Cut                     uint64 // offered while the direction was cut
	NoSocket                uint64 // nobody listens there
	ReceiverFull            uint64 // the receiving socket's queue was full
}

// New returns an empty network whose paths are perfect until they are set. The same seed and the same
// offers give the same losses.
func New(seed uint64) *Net {
	return &Net{seed: seed, hosts: map[netip.Addr]*Host{}, wires: map[direction]*wire{}, conns: map[*conn]bool{}}
}

// Host returns the host with an address, made on first use.
func (n *Net) Host(addr netip.Addr) *Host {
	n.mu.Lock()
	defer n.unlock()
	h := n.hosts[addr]
	if h == nil {
		h = newHost(n, addr)
		n.hosts[addr] = h
	}
	return h
}

// SetDefault is the path of every direction that is used from now on and was not set.
func (n *Net) SetDefault(p wan.Path) {
	n.mu.Lock()
	defer n.unlock()
	n.initial = p
}

// SetPath makes one direction obey a path from now on. An MTU of 0 means DefaultMTU.
func (n *Net) SetPath(from, to netip.Addr, p wan.Path) {
	n.mu.Lock()
	defer n.unlock()
	n.wire(from, to).pipe.SetPath(withMTU(p))
}

// SetPathBoth is SetPath for both directions.
func (n *Net) SetPathBoth(a, b netip.Addr, p wan.Path) {
	n.SetPath(a, b, p)
	n.SetPath(b, a, p)
}

// SetTap has every datagram looked at from now on; nil ends it.
func (n *Net) SetTap(t Tap) {
	n.mu.Lock()
	defer n.unlock()
	n.tap = t
}

// Cut stops both directions between two addresses: datagrams are dropped, TCP stalls. What is under way
// still arrives.
func (n *Net) Cut(a, b netip.Addr) {
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// CutOneWay stops one direction. TCP stalls in both, because it needs its acknowledgements.
func (n *Net) CutOneWay(from, to netip.Addr) {
	n.mu.Lock()
	defer n.unlock()
	n.wire(from, to).cut = true
}

// Heal undoes cuts in both directions, and TCP goes on at once.
func (n *Net) Heal(a, b netip.Addr) {
	n.mu.Lock()
	defer n.unlock()
	n.wire(a, b).cut, n.wire(b, a).cut = false, false
	for c := range n.conns {
		c.out.pump()
	}
}

// Counters returns what one direction did so far.
func (n *Net) Counters(from, to netip.Addr) Counters {
	n.mu.Lock()
	defer n.unlock()
	return n.wire(from, to).count
}

// wire returns one direction, made on first use.
func (n *Net) wire(from, to netip.Addr) *wire {
	d := direction{from, to}
	w := n.wires[d]
	if w == nil {
		path := withMTU(n.initial)
		if from == to { // within a host
			path = wan.Path{}
		}
		w = &wire{pipe: wan.New(path), dice: rand.New(rand.NewPCG(n.seed, d.hash()))}
		n.wires[d] = w
	}
	return w
}

// withMTU applies the default MTU.
func withMTU(p wan.Path) wan.Path {
	if p.MTU == 0 {
		p.MTU = DefaultMTU
	}
	return p
}

func (d direction) hash() uint64 {
	h := fnv.New64a()
	from, to := d.from.As16(), d.to.As16()
	h.Write(from[:])
	h.Write(to[:])
	return h.Sum64()
}

// hashOf spreads flows over the sockets of a port by their source.
func hashOf(from netip.AddrPort) uint64 {
	h := fnv.New64a()
	addr := from.Addr().As16()
	h.Write(addr[:])
	h.Write(binary.BigEndian.AppendUint16(nil, from.Port()))
	return h.Sum64()
}

// offer hands a packet of size bytes, headers included, to the wire and counts its fate so far.
func (w *wire) offer(now time.Time, size int) (deliver time.Time, ok bool) {
	w.count.Offered++
	w.count.OfferedBytes += uint64(size)
	if w.cut {
		w.count.Cut++
		return time.Time{}, false
	}
	deliver, ok, why := w.pipe.Offer(now, size, w.dice)
	switch why {
	case wan.Lost:
		w.count.Lost++
	case wan.Full:
		w.count.QueueFull++
	case wan.TooBig:
		w.count.TooBig++
	}
	return deliver, ok
}

// delivered counts a packet that reached its socket.
func (w *wire) delivered(size int) {
	w.count.Delivered++
	w.count.DeliveredBytes += uint64(size)
}
