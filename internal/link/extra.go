package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

const (
	extraReads = 4    // buffers one read of an extra port may fill
	extraSize  = 2048 // bytes of each: what comes in is answers, of one datagram
)

// extraPort is a UDP port of the endpoint's beside the one it listens on. Links send from it, to have the peer's kernel
// spread what they send over the peer's sockets. All that comes in by it is answers to probes.
type extraPort struct {
	k    int // counted from 0, for all links the same
	sock Socket
}

// extra opens the endpoint's extra port k, and those before it, where they are not open yet.
func (e *Endpoint) extra(k int) (*extraPort, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.extras) <= k {
		if e.closed {
			return nil, errStopping
		}
		group, err := e.cfg.Net.ListenUDP(netip.AddrPortFrom(e.Addr().Addr(), 0), 1)
		if err != nil {
			return nil, fmt.Errorf("cannot open an extra port: %w", err)
		}
		p := &extraPort{k: len(e.extras), sock: group[0]}
		if s, ok := p.sock.(offloading); ok {
			on, _ := e.allHave(offloading.GSO)
			s.SetGSO(on)
			s.SetGRO(false)
		}
		e.extras = append(e.extras, p)
		e.tasks.Go(func() { e.hearAnswers(p) })
	}
	return e.extras[k], nil
}

// ExtraPorts are the addresses of the extra ports that links have asked for so far. Their datagrams are this node's own.
func (e *Endpoint) ExtraPorts() (at []netip.AddrPort) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.extras {
		at = append(at, p.sock.LocalAddr())
	}
	return at
}

// hearAnswers reads an extra port until it is closed.
func (e *Endpoint) hearAnswers(p *extraPort) {
	var (
		bufs  [][]byte
		sizes = make([]int, extraReads)
		segs  = make([]int, extraReads)
		from  = make([]netip.AddrPort, extraReads)
		mem   scratch
	)
	for range extraReads {
		bufs = append(bufs, make([]byte, extraSize))
	}
	for {
		n, err := p.sock.ReadBatch(bufs, sizes, segs, from)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // nobody answers by it any more, so that links go without it
			e.cfg.Log.Warn("cannot read from an extra port", "port", p.sock.LocalAddr(), "error", err)
			return
		}
		now := time.Now()
		for i := range n {
			for rest := bufs[i][:sizes[i]]; len(rest) > 0; {
				size := len(rest)
				if segs[i] > 0 {
					size = min(segs[i], size)
				}
				if !e.answer(p, rest[:size], from[i], now, &mem) {
					e.strays.Add(1)
				}
				rest = rest[size:]
			}
		}
	}
}

// answer takes the answer to a probe from an extra port; false when the datagram is for no link of ours, or anything else.
func (e *Endpoint) answer(p *extraPort, d []byte, from netip.AddrPort, now time.Time, mem *scratch) bool {
	h, ok := parseHeader(d)
	if !ok || h.lane != portLane(p.k) {
		return false
	}
	l := e.byID(h.link)
	if l == nil {
		return false
	}
	lane := &l.rx.lanes[laneIndex(h.lane)]
	lane.mu.Lock()
	defer lane.mu.Unlock()
	body, ok := l.open(d[headerLen:], d, 0, &h, from, mem)
	if !ok {
		return true // it is counted
	}
	l.datagramsIn.Add(1)
	if m, err := parseProbe(body); err == nil && m.answer {
		l.spread.answered(p.k, m, l.clock(now), l.MTU())
	}
	return true
}

// portAsked answers a probe from one of the peer's extra ports, to where it came from. Nothing else is done with that address:
// whoever sends a probe on from elsewhere moves nothing.
func (l *Link) portAsked(body []byte, lane uint16, from netip.AddrPort) {
	m, err := parseProbe(body)
	if err != nil || m.answer {
		return
	}
	l.rx.spread.Store(true)
	m.answer, m.started = true, l.owner.Load() != nil
	l.sendHouseBy(l.e.sockets[0], lane, from, int(m.size), m.put)
}
