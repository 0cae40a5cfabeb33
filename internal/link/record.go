package link

import (
	"encoding/binary"
	"errors"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// A record carries one frame, one super-frame or one piece of a frame: flags 1, hops 1, length 2 of what follows the
// optional parts, then 10 bytes of offload marks and 4 bytes of piece header where the flags say so, then the bytes.
const (
	recOffload = 1 << 0 // the sender's offload marks follow
	recPiece   = 1 << 1 // a piece header follows: the bytes are part of a larger frame
	recHouse   = 1 << 2 // on a stream carrier only: a house message, not a frame
	recApart   = 1 << 3 // in a block only: the bytes fill the blocks that follow
	recPadding = 1 << 7 // the rest of the datagram is padding; nothing else may be set

	recFlags = recOffload | recPiece | recHouse

	recordHead = 4     // bytes
	pieceHead  = 4     // bytes: piece id 2, index 1, count 1
	recordMax  = 65535 // bytes of frame one record can name

	// recordExtra is the most a record adds to the bytes it carries.
	recordExtra = recordHead + ether.OffloadLen + pieceHead

	// maxHops is the number of links a frame may cross. Forwarding has no loops, so reaching it is a bug, and is counted.
	maxHops = 16
)

var (
	errShort  = errors.New("record is cut short")
	errRecord = errors.New("record has flags this version does not know")
)

// piece says which part of a split frame a record holds; count 0 means the record holds a whole frame.
type piece struct {
	id           uint16 // of the frame, within the sender's lane
	index, count uint8
}

// record is one parsed record; bytes points into the buffer it was parsed from.
type record struct {
	flags   uint8
	hops    uint8
	offload ether.Offload
	piece   piece
	bytes   []byte
}

// recordLen is the space a whole frame needs as a record.
func recordLen(p *ether.Packet) int {
	if p.Offload == (ether.Offload{}) {
		return recordHead + len(p.Frame)
	}
	return recordHead + ether.OffloadLen + len(p.Frame)
}

// putRecord writes r to the start of b, which must have the room, and returns its length. Flags follow from the contents.
func putRecord(b []byte, r record) int {
	n := putHead(b, r, len(r.bytes))
	return n + copy(b[n:], r.bytes)
}

// putHead writes all of a record but its bytes, of which there are size, and returns its length.
func putHead(b []byte, r record, size int) int {
	flags, n := r.flags&recHouse, recordHead
	if r.offload != (ether.Offload{}) {
		flags |= recOffload
		r.offload.Put(b[n:])
		n += ether.OffloadLen
	}
	if r.piece.count != 0 {
		flags |= recPiece
		binary.BigEndian.PutUint16(b[n:], r.piece.id)
		b[n+2], b[n+3] = r.piece.index, r.piece.count
		n += pieceHead
	}
	b[0], b[1] = flags, r.hops
	binary.BigEndian.PutUint16(b[2:], uint16(size))
	return n
}

// putPieceHead is putHead for a piece of a super-frame, which has marks and nothing else.
func putPieceHead(b []byte, hops uint8, marks *ether.Offload, size int) {
	b[0], b[1] = recOffload, hops
	binary.BigEndian.PutUint16(b[2:], uint16(size))
	marks.Put(b[recordHead:])
}

// pieceOf reads the record of a piece of a super-frame that is alone in its datagram but for padding; false where there is
// something else.
func pieceOf(b []byte) (marks, frame []byte, hops uint8, ok bool) {
	if len(b) < pieceRoom || b[0] != recOffload {
		return nil, nil, 0, false
	}
	end := pieceRoom + int(binary.BigEndian.Uint16(b[2:]))
	if end > len(b) || end < len(b) && b[end] != recPadding {
		return nil, nil, 0, false
	}
	return b[recordHead:pieceRoom:pieceRoom], b[pieceRoom:end], b[1], true
}

// recordSize is the length of the record at the start of b, once enough of b has arrived to say so (else 0).
func recordSize(b []byte) int {
	if len(b) < recordHead {
		return 0
	}
	n := recordHead + int(binary.BigEndian.Uint16(b[2:]))
	if b[0]&recOffload != 0 {
		n += ether.OffloadLen
	}
	if b[0]&recPiece != 0 {
		n += pieceHead
	}
	return n
}

// parseRecord reads the record at the start of b and returns what follows it; r.bytes keeps b's capacity. Padding ends a datagram: rest is nil and
// r.flags is recPadding.
func parseRecord(b []byte) (r record, rest []byte, err error) {
	if len(b) > 0 && b[0] == recPadding {
		return record{flags: recPadding}, nil, nil
	}
	if len(b) < recordHead || recordSize(b) > len(b) {
		return record{}, nil, errShort
	}
	if b[0]&^recFlags != 0 {
		return record{}, nil, errRecord
	}
	r.flags, r.hops = b[0], b[1]
	size, n := recordSize(b), recordHead
	if r.flags&recOffload != 0 {
		if r.offload, err = ether.ParseOffload(b[n:]); err != nil {
			return record{}, nil, err
		}
		n += ether.OffloadLen
	}
	if r.flags&recPiece != 0 {
		r.piece = piece{id: binary.BigEndian.Uint16(b[n:]), index: b[n+2], count: b[n+3]}
		if r.piece.count == 0 || r.piece.index >= r.piece.count || r.piece.count > maxPieces {
			return record{}, nil, errRecord
		}
		n += pieceHead
	}
	r.bytes = b[n:size]
	return r, b[size:], nil
}

// parseApart reads a record that is all of b and whose bytes, size of them, are apart.
func parseApart(b []byte) (r record, size int, err error) {
	if len(b) < recordHead || recordSize(b)-int(binary.BigEndian.Uint16(b[2:])) != len(b) || b[0]&^(recApart|recOffload) != 0 {
		return record{}, 0, errRecord
	}
	r.hops, size = b[1], int(binary.BigEndian.Uint16(b[2:]))
	if b[0]&recOffload != 0 {
		r.flags = recOffload
		r.offload, err = ether.ParseOffload(b[recordHead:])
	}
	if size == 0 {
		err = errRecord
	}
	return r, size, err
}
