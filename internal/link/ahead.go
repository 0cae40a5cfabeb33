package link

import (
	"encoding/binary"
	"net/netip"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// ahead is how many bytes in front of a piece's payload a datagram that is opened ahead may lie over: the record's head and
// the piece's own headers.
const ahead = pieceRoom + 128

// openAhead opens a datagram where its payload belongs if it carries the next piece of the super-frame that is being joined,
// so that no byte of it has to be moved. Where the key can open a text in two parts the headers in front go elsewhere; else they
// lie over the end of the piece before, which is put back as soon as they have been compared. It returns false, and has done nothing, where there is nothing to join with.
func (r *receiver) openAhead(l *Link, d []byte, h *header, from netip.AddrPort) bool {
	grown, headers, payload := r.pkts.Open()
	room := pieceRoom + headers
	if len(d) > headerLen+room+payload+padUpTo+tagLen { // several records
		return false
	}
	if len(grown) < room || room > ahead || !l.rx.keys.Load().slides() || !ether.Behind(grown, d) {
		return false
	}
	dst := grown[len(grown)-room : cap(grown)]
	if len(d) == headerLen+room+payload+tagLen {
		k := l.rx.keys.Load().key(h.epoch)
		if k != nil && k.apart(room, payload) && (k.bare == nil || r.expects(d[headerLen:][:room], payload)) {
			r.openApart(l, d, dst, room, k.bare != nil, from)
			return true
		}
	}
	covered := r.covered[:copy(r.covered[:room], dst)]
	body, ok := l.open(dst, d, 0, h, from, &r.mem)
	switch {
	case !ok:
		copy(dst, covered)
	case r.follows(body, headers):
		r.note(l, h.lane, from)
		copy(dst, covered)
	default: // it is something else: to where it would have been opened otherwise
		r.note(l, h.lane, from)
		body = d[headerLen:][:copy(d[headerLen:], body)]
		copy(dst, covered)
		r.records(l, h.lane, body)
	}
	return true
}

// openApart opens a datagram with as many bytes as the next piece to where its payload belongs, but for the headers in front,
// room bytes, which lie over nothing: those of one that is readable are known to be expected.
func (r *receiver) openApart(l *Link, d, dst []byte, room int, readable bool, from netip.AddrPort) {
	h := &r.head
	body, ok := l.open(dst, d, room, h, from, &r.mem)
	if !ok {
		return
	}
	r.note(l, h.lane, from)
	if readable || r.expects(r.mem.lead[:room], len(body)-room) {
		r.grown++
		r.pkts.GrowExpected()
		return
	}
	copy(d[headerLen+room:], body[room:]) // it is something else: to where it would have been opened otherwise
	copy(d[headerLen:], r.mem.lead[:room])
	r.records(l, h.lane, d[headerLen:][:len(body)])
}

// expects reports whether a datagram that begins so and has so many bytes of payload carries nothing but the next piece, which is
// none of the last.
func (r *receiver) expects(lead []byte, payload int) bool {
	size := len(lead) - pieceRoom + payload
	return lead[0] == recOffload && int(binary.BigEndian.Uint16(lead[2:])) == size && lead[1] <= maxHops &&
		r.pkts.Expects(lead[recordHead:pieceRoom], lead[pieceRoom:], payload, lead[1])
}

// follows takes an opened datagram that carries nothing but the next piece, whose payload lies in its place.
func (r *receiver) follows(body []byte, headers int) bool {
	marks, frame, hops, ok := pieceOf(body)
	if !ok || len(frame) <= headers || hops > maxHops || !r.pkts.Grow(marks, frame, hops) {
		return false
	}
	r.grown++
	return true
}
