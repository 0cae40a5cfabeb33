package link

import (
	"errors"
	"net"
	"syscall"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

const (
	// sendBytes is the most one UDP_SEGMENT call carries: 44 full datagrams, below the 65,487 bytes IPv6 allows.
	sendBytes = 44 * sizeLargest

	// padUpTo is how many bytes of padding are worth a datagram that is as long as its neighbours and so travels in the
	// same call: a call costs 3 µs, 256 bytes of cipher 0.1 µs.
	padUpTo = 256
)

// outbox is one lane's memory for sending: datagrams of one call, back to back. It belongs to the lane's worker and serves
// all links in turn; nothing stays in it between two calls of send.
type outbox struct {
	lane  uint16
	sock  Socket
	buf   []byte
	seg   ether.Segmenter
	put   func(*ether.Packet) // o.segment, made once
	whole func(*ether.Packet) // o.streamRecord, made once
	mem   scratch
	piece uint16 // id of the last split frame

	// of the current call
	link *Link
	tx   *txLane
	key  *epochKey
	head header // of the newest datagram
	size int    // bytes of a full datagram
	hops uint8  // of the current packet, this link included
	made uint64 // frames put into records, ever

	at, n   int    // the open datagram is buf[at:n]; n == at when none is open
	records int    // in the open datagram
	open    uint64 // frames in the open datagram
	each    int    // bytes of every closed datagram but the last
	count   int    // closed datagrams
	frames  uint64 // in them
}

func newOutbox(lane int, sock Socket) *outbox {
	o := &outbox{lane: uint16(lane), sock: sock, buf: make([]byte, sendBytes)}
	o.seg.Headroom, o.seg.Groups = pieceRoom, true
	o.put, o.whole = o.segment, o.streamRecord
	return o
}

// send seals the packets into as few datagrams and calls as they fit.
func (o *outbox) send(l *Link, pkts []ether.Packet) {
	o.link, o.tx, o.key, o.size = l, &l.lanes[o.lane], l.tx.Load(), int(l.size.Load())
	o.head = header{kind: dgramRecords, lane: o.lane, link: l.theirs}
	o.seg.Apart = o.key.bare != nil || o.key.wide != nil
	room := o.size - headerLen - tagLen
	for i := range pkts {
		p := &pkts[i]
		if p.Hops >= maxHops {
			l.drop(DropHopLimit, uint64(p.Frames()))
			continue
		}
		o.hops = p.Hops + 1
		if recordLen(p) <= room || !p.Offload.Segmented() {
			o.record(p)
			continue
		}
		before := o.made
		if err := o.seg.Segment(p, room-recordHead-ether.OffloadLen, o.put); err != nil {
			l.drop(DropBadOffload, uint64(p.Frames()))
			continue
		}
		l.cuts.Add(o.made - before - uint64(p.Frames())) // never negative: a cut is never coarser than its marks
	}
	o.flush()
	o.link, o.key = nil, nil
}

// pieceRoom is what a record puts in front of a piece of a super-frame.
const pieceRoom = recordHead + ether.OffloadLen

// segment takes one piece of a super-frame. One that nearly fills a datagram is sealed from where it lies: the record's head
// is written in front of it, over its neighbour's payload, which the segmenter puts back.
func (o *outbox) segment(p *ether.Packet) {
	if parts := o.seg.Parts(); parts.Lead != nil {
		o.apart(p, parts)
		return
	}
	text := o.seg.Roomy()
	length := headerLen + len(text) + tagLen
	if text == nil || length > o.size || length < o.size-padUpTo {
		o.record(p)
		return
	}
	frames := uint64(1)
	if p.Offload.Segmented() {
		frames = uint64(p.Frames())
	}
	o.made += frames
	putPieceHead(text, o.hops, &p.Offload, len(p.Frame))
	o.key.sealFrom(o.next(length), text, &o.head, &o.mem)
	o.open = frames
	o.closed(length)
}

// apart takes one piece of a super-frame from two places.
func (o *outbox) apart(p *ether.Packet, parts *ether.Parts) {
	frames := uint64(1)
	if p.Offload.Segmented() {
		frames = uint64((len(parts.Text)-len(parts.Lead)-1)/int(p.Offload.GSOSize) + 1)
	}
	o.made += frames
	need := len(parts.Text)
	if !parts.Again {
		putPieceHead(parts.Lead, o.hops, &p.Offload, need-pieceRoom)
	}
	length := headerLen + need + tagLen
	if length < o.size-padUpTo {
		o.reserve(need)
		o.n += copy(o.buf[o.n:], parts.Lead)
		o.n += copy(o.buf[o.n:], parts.Text[len(parts.Lead):])
		o.records++
		o.open += frames
		return
	}
	o.key.sealApart(o.next(length), parts.Lead, parts.Text, &o.head, &o.mem)
	o.open = frames
	o.closed(length)
}

// next makes room for a datagram of its own, of so many bytes, and its header.
func (o *outbox) next(length int) []byte {
	if o.n > o.at {
		o.closeDatagram(true)
	}
	if o.count == maxSegments || o.at+length > len(o.buf) || o.count > 0 && length > o.each {
		o.write()
	}
	o.tx.counter++
	o.head.counter = o.tx.counter
	return o.buf[o.at : o.at+length]
}

// record adds one frame to the open datagram, or opens another, or splits the frame over several.
func (o *outbox) record(p *ether.Packet) {
	o.made += uint64(p.Frames())
	need, room := recordLen(p), o.size-headerLen-tagLen
	if need > room {
		o.split(p, room-recordExtra)
		return
	}
	o.reserve(need)
	o.n += putRecord(o.buf[o.n:], record{hops: o.hops, offload: p.Offload, bytes: p.Frame})
	o.records++
	o.open += uint64(p.Frames())
}

func (o *outbox) split(p *ether.Packet, room int) {
	count, size, ok := cutPieces(len(p.Frame), room)
	if !ok {
		o.link.drop(DropTooLarge, uint64(p.Frames()))
		return
	}
	o.piece++
	rest := []byte(p.Frame)
	for i := range count {
		n := min(size, len(rest))
		r := record{hops: o.hops, piece: piece{id: o.piece, index: uint8(i), count: uint8(count)}, bytes: rest[:n]}
		if i == 0 {
			r.offload = p.Offload
		}
		o.reserve(n + recordExtra)
		o.n += putRecord(o.buf[o.n:], r)
		o.records++
		rest = rest[n:]
	}
	o.open += uint64(p.Frames()) // with its last piece
}

// reserve makes room for need bytes in the open datagram, closing it and opening the next where they do not fit.
func (o *outbox) reserve(need int) {
	if o.n > o.at && o.n-o.at+need > o.size-tagLen {
		o.closeDatagram(true)
	}
	if o.n > o.at {
		return
	}
	if o.count == maxSegments || o.at+o.size > len(o.buf) {
		o.write()
	}
	o.n = o.at + headerLen
}

// closeDatagram seals the open datagram and takes it into the call. more says that others follow, for which it is made as
// long as its neighbours where that costs little.
func (o *outbox) closeDatagram(more bool) {
	length, want := o.n-o.at+tagLen, 0
	switch {
	case more && o.count == 0 && o.records > 1:
		want = o.size
	case more && o.count > 0:
		want = o.each
	}
	if pad := want - length; pad > 0 && pad <= padUpTo {
		clear(o.buf[o.n : o.n+pad])
		o.buf[o.n] = recPadding
		o.n += pad
	}
	o.tx.counter++
	o.head.counter = o.tx.counter
	d := o.buf[o.at : o.n+tagLen]
	o.key.sealFrom(d, d[headerLen:len(d)-tagLen], &o.head, &o.mem)
	if o.count > 0 && len(d) > o.each { // only the last of a call may be shorter, none longer
		frames := o.open
		o.open = 0
		at := o.at
		o.write()
		copy(o.buf, o.buf[at:at+len(d)])
		o.open = frames
	}
	o.closed(len(d))
}

// closed takes a sealed datagram into the call.
func (o *outbox) closed(length int) {
	if o.count == 0 {
		o.each = length
	}
	o.at += length
	o.n = o.at
	o.count++
	o.frames += o.open
	o.open, o.records = 0, 0
	if length < o.each {
		o.write()
	}
}

// flush sends all that is left.
func (o *outbox) flush() {
	if o.n > o.at {
		o.closeDatagram(false)
	}
	if o.count > 0 {
		o.write()
	}
}

// write makes the call for the closed datagrams and forgets them.
func (o *outbox) write() {
	if o.count > 0 {
		l := o.link
		sock := o.sock
		if p := o.tx.via.Load(); p != nil {
			sock = p.sock
		}
		switch err := sock.WriteSegments(*l.remote.Load(), o.buf[:o.at], o.each); {
		case err == nil:
			o.tx.frames.Add(o.frames)
			o.tx.datagrams.Add(uint64(o.count))
		case errors.Is(err, ErrFull):
			l.drop(DropFull, o.frames)
		case errors.Is(err, syscall.EMSGSIZE):
			l.drop(DropTooLarge, o.frames)
		case errors.Is(err, net.ErrClosed):
			l.drop(DropClosed, o.frames)
		default:
			l.drop(DropSend, o.frames)
		}
	}
	o.at, o.n, o.count, o.each, o.frames = 0, 0, 0, 0, 0
}
