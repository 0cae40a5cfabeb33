package link

import "time"

// Drop is a reason for which a link let a frame go.
type Drop uint8

const (
	DropFull       Drop = iota // the socket's queue, or the tcp carrier's buffer, was full
	DropHopLimit               // it had crossed maxHops links: a loop, so a bug
	DropTooLarge               // more than maxPieces would be needed, or the path shrank
	DropBadOffload             // a super-frame whose marks do not agree with its bytes
	DropNotStarted             // it arrived before the link had an owner
	DropClosed                 // the link was closed already
	DropSend                   // the socket refused it
	DropMalformed              // an authenticated datagram held no proper record: a bug at the peer
	dropReasons
)

func (d Drop) String() string {
	return [...]string{"full", "hop limit", "too large", "bad offload", "not started", "closed", "send error", "malformed"}[d]
}

// Stats is a link's account at one moment. Frames are those of ether.Packet.Frames, as they crossed the wire, so a
// super-frame is counted as the frames it was cut into.
type Stats struct {
	RTT               time.Duration // smoothed; 0 before the first heartbeat was answered
	FramesSent        uint64
	FramesReceived    uint64 // including those dropped on arrival
	DatagramsSent     uint64 // stream carriers count records
	DatagramsReceived uint64
	PeerFramesSent    uint64 // as the peer last said
	WireLost          uint64 // of them, those that had not arrived when it said so
	Duplicates        uint64 // replays refused
	AuthFailures      uint64 // datagrams for this link that nobody with its keys sealed
	Cuts              uint64 // frames made by cutting super-frames finer than their marks said
	PiecesLost        uint64 // frames given up because a piece was missing
	Drops             map[Drop]uint64
	MTU               int    // bytes of a datagram
	Epoch             uint64 // of our sending key
	PeerEpoch         uint64
	LastHeard         time.Time
}

// Stats adds the link's counters up. It may be called from anywhere.
func (l *Link) Stats() Stats {
	s := Stats{
		RTT: time.Duration(l.peers.rtt.Load()), FramesSent: l.framesSent(), FramesReceived: l.received.Load(),
		DatagramsSent: l.datagramsSent(), DatagramsReceived: l.datagramsIn.Load(),
		PeerFramesSent: l.peers.frames.Load(), WireLost: l.peers.lost.Load(),
		Duplicates: l.duplicates.Load(), AuthFailures: l.authFailed.Load(), PiecesLost: l.peers.broken.Load(), Cuts: l.cuts.Load(),
		Drops: make(map[Drop]uint64), MTU: l.MTU(), PeerEpoch: l.peers.inEpoch.Load(),
		LastHeard: l.since.Add(time.Duration(l.heard.Load())),
	}
	if l.peers.final.Load() { // stragglers may have come since
		s.WireLost = less(s.PeerFramesSent, s.FramesReceived)
	}
	if k := l.tx.Load(); k != nil {
		s.Epoch = k.epoch
	}
	for d := range l.drops {
		if n := l.drops[d].Load(); n > 0 {
			s.Drops[Drop(d)] = n
		}
	}
	return s
}

func (l *Link) framesSent() (n uint64) {
	for i := range l.lanes {
		n += l.lanes[i].frames.Load()
	}
	return n
}

func (l *Link) datagramsSent() (n uint64) {
	for i := range l.lanes {
		n += l.lanes[i].datagrams.Load()
	}
	return n
}
