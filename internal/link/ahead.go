package link

import (
	"net/netip"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// ahead is how many bytes in front of a piece's payload a datagram that is opened ahead may lie over: the record's head and
// the piece's own headers.
const ahead = pieceRoom + 128

// openAhead opens a datagram where its payload belongs if it carries the next piece of the super-frame that is being joined,
// so that no byte of it has to be moved. The headers in front lie over the end of the piece before, which is put back as soon
// as they have been compared. It returns false, and has done nothing, where there is nothing to join with.
func (r *receiver) openAhead(l *Link, d []byte, h *header, from netip.AddrPort) bool {
	grown, headers, payload := r.pkts.Open()
	room := pieceRoom + headers
	if len(d) > headerLen+room+payload+padUpTo+tagLen { // several records
		return false
	}
	if len(grown) < room || room > ahead || !l.rx.keys.Load().slides() || !ether.Behind(grown, d) {
		return false
	}
	if k := l.rx.keys.Load().key(h.epoch); k != nil && k.bare != nil && r.expects(d, headers, payload) {
		if _, ok := l.open(grown[len(grown):cap(grown)], d, room, h, from, &r.mem); ok {
			r.note(l, h.lane, from)
			r.grown++
			r.pkts.GrowExpected()
		}
		return true
	}
	dst := grown[len(grown)-room : cap(grown)]
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

// expects reports whether a datagram in clear text carries nothing but the next piece, which is none of the last.
func (r *receiver) expects(d []byte, headers, payload int) bool {
	if len(d) != headerLen+pieceRoom+headers+payload+tagLen {
		return false
	}
	marks, frame, hops, ok := pieceOf(d[headerLen : len(d)-tagLen])
	return ok && len(frame) == headers+payload && hops <= maxHops && r.pkts.Expects(marks, frame[:headers], payload, hops)
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
