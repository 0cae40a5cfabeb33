package link

import "encoding/binary"

// dgramType is the first byte of every datagram of ours. QUIC sets 0x40 or 0x80 in its first byte, so everything below
// 0x40 on the shared socket is ours.
type dgramType uint8

const (
	dgramRecords dgramType = 0x01 // sealed records: frames and pieces of frames
	dgramHouse   dgramType = 0x02 // one sealed house message: heartbeat, probe, bye

	dgramLimit = 0x40 // first bytes from here on belong to QUIC
)

const (
	headerLen = 16 // bytes: type 1, epoch 1, lane 2, link id 4, counter 8; authenticated, not encrypted
	tagLen    = 16 // bytes of either AEAD's tag

	maxLanes  = 64     // worker lanes of one node: bounds the memory a peer can make us hold for replay windows
	houseLane = 0xffff // the lane of heartbeats and probes, whose sender is no worker

	// rxLanes is how many lanes of a peer are told apart: its workers', its house's, and those of probes of its extra ports.
	rxLanes = maxLanes + 1 + MaxExtraPorts
)

// MaxExtraPorts is how many source ports a link may have beside the first.
const MaxExtraPorts = 7

// portLane is the lane in which an extra port, counted from 0, is asked about. Who knows of no extra ports drops it unread.
func portLane(k int) uint16 { return houseLane - 1 - uint16(k) }

// LinkID names a session at its receiver, who chose it at random.
type LinkID uint32

// header is what can be read of a datagram before it is authenticated.
type header struct {
	kind    dgramType
	epoch   uint8 // low byte of the sender's epoch
	lane    uint16
	link    LinkID
	counter uint64 // position in the sender's lane, from 1, never reused in a session
}

func (h header) put(b []byte) { h.write(b) }

// first is the first half of the header, all but the counter.
func (h *header) first() uint64 {
	return uint64(h.kind)<<56 | uint64(h.epoch)<<48 | uint64(h.lane)<<32 | uint64(h.link)
}

// write is put for where each ns counts: processors wait when bytes are copied that were written in other pieces just before, so
// such a header stays where it is.
func (h *header) write(b []byte) {
	_ = b[headerLen-1]
	binary.BigEndian.PutUint64(b, h.first())
	binary.BigEndian.PutUint64(b[8:], h.counter)
}

// parseHeader reads the header of a whole datagram; ok is false when it cannot be one of ours.
func parseHeader(d []byte) (h header, ok bool) {
	ok = h.read(d)
	return h, ok
}

// read is parseHeader for where each ns counts.
func (h *header) read(d []byte) (ok bool) {
	if len(d) < headerLen+tagLen || len(d) > sizeLargest { // nobody sends longer ones: it bounds what pieces of frames take up
		return false
	}
	first := binary.BigEndian.Uint64(d)
	h.kind, h.epoch, h.lane, h.link = dgramType(first>>56), uint8(first>>48), uint16(first>>32), LinkID(first)
	h.counter = binary.BigEndian.Uint64(d[8:])
	known := h.kind == dgramRecords && h.lane < maxLanes || h.kind == dgramHouse && h.lane >= houseLane-MaxExtraPorts
	return known && h.counter != 0
}

// laneIndex is where a lane's state is kept: workers first, then the house, then the extra ports.
func laneIndex(lane uint16) int {
	if lane >= houseLane-MaxExtraPorts {
		return maxLanes + int(houseLane-lane)
	}
	return int(lane)
}
