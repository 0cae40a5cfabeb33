package link

import (
	"net/netip"
	"sync"
	"time"
)

// moveAgain is how often a new address is asked, while datagrams come from there and it has not answered.
const moveAgain = 100 * time.Millisecond

// moveBit marks the ids of the questions that an address is asked: those of other probes count up from 1.
const moveBit = 1 << 31

// move is an address from which the peer's newest datagrams come and which has not proved yet that the peer is there.
type move struct {
	mu sync.Mutex // guards the following
	to netip.AddrPort
	id uint32 // of the question; the peer alone can read it
	at time.Time
}

// leads tells whether the newest datagram of a lane may show that the peer has moved. Once it sends from several ports only
// what its house says can: that leaves by the first, every quarter of a second.
func (l *Link) leads(lane uint16) bool {
	return lane == houseLane || lane < maxLanes && !l.rx.spread.Load()
}

// moved hears that the peer's newest datagram came from another address. Only the peer can have sealed it, but anybody on
// the way may have sent it on from elsewhere, to have our frames go there. So the address is asked first; frames go the old
// way until it has answered.
func (l *Link) moved(from netip.AddrPort, now time.Time) {
	m := &l.rx.move
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.to == from && now.Sub(m.at) < moveAgain {
		return
	}
	m.to, m.at, m.id = from, now, l.e.nextProbe.Add(1)|moveBit
	l.sendHouseTo(from, 0, probe{id: m.id, size: houseHead}.put)
}

// houseHead is the size of the shortest probe's datagram: this one asks for the way, not for its width.
const houseHead = headerLen + probeLen + tagLen

// arrived takes the answer of an address: the peer is there, and so do frames go from now on.
func (l *Link) arrived(body []byte, from netip.AddrPort) {
	m := &l.rx.move
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.id == 0 || from != m.to {
		return
	}
	if a, err := parseProbe(body); err == nil && a.answer && a.id == m.id {
		to := m.to
		m.to, m.id, m.at = netip.AddrPort{}, 0, time.Time{}
		l.remote.Store(&to)
	}
}
