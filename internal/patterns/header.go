package patterns

import (
	"encoding/binary"
	"fmt"
	"math"
)

// headerLen is the length of the header in front of every message, in bytes.
const headerLen = 40

// magic starts every header: "PAT1", so that a stranger on the port is told apart at once.
const magic = 0x50415431

// unknown stands for "no end agreed yet" in header.Until.
const unknown = math.MaxUint64

// kind says what a message is.
type kind uint8

const (
	kindHello  kind = iota + 1 // first of each side of a connection; Iteration carries the fingerprint of the options
	kindRefuse                 // answer to a hello that does not fit; Iteration carries the own fingerprint
	kindGo                     // the dialler confirms the answer: from here on both count on the connection
	kindData                   // an exchange of the schedule, Length bytes of content follow
	kindTick                   // an empty message where the schedule has none in this direction: "I have your iteration"
	kindBye                    // nothing follows
)

// Flags of a header.
const (
	flagFinal = 1 << iota // the turn that ends with Until is the last one
	flagStop              // the sender knows of a rank that was asked to stop
)

// header precedes every message, big endian. Besides the message it carries what the sender knows of the
// agreed end, so that the agreement needs no connections of its own.
type header struct {
	Kind      kind
	Flags     uint8
	Phase     uint16
	From, To  uint16
	Turn      uint32 // how many changes of pattern came before
	Iteration uint64
	Length    uint64 // bytes of content that follow
	Until     uint64 // last iteration of this turn, or unknown
}

func (h header) put(b []byte) {
	be := binary.BigEndian
	be.PutUint32(b[0:], magic)
	b[4], b[5] = byte(h.Kind), h.Flags
	be.PutUint16(b[6:], h.Phase)
	be.PutUint16(b[8:], h.From)
	be.PutUint16(b[10:], h.To)
	be.PutUint32(b[12:], h.Turn)
	be.PutUint64(b[16:], h.Iteration)
	be.PutUint64(b[24:], h.Length)
	be.PutUint64(b[32:], h.Until)
}

// parseHeader reads a header; b holds at least headerLen bytes.
func parseHeader(b []byte) (header, error) {
	be := binary.BigEndian
	if be.Uint32(b) != magic {
		return header{}, fmt.Errorf("the other side does not speak the protocol of patterns: it sent % x", b[:4])
	}
	h := header{
		Kind: kind(b[4]), Flags: b[5], Phase: be.Uint16(b[6:]), From: be.Uint16(b[8:]), To: be.Uint16(b[10:]),
		Turn: be.Uint32(b[12:]), Iteration: be.Uint64(b[16:]), Length: be.Uint64(b[24:]), Until: be.Uint64(b[32:]),
	}
	if h.Kind < kindHello || h.Kind > kindBye || h.Flags&^(flagFinal|flagStop) != 0 {
		return header{}, fmt.Errorf("unknown message kind %d with flags %#x", h.Kind, h.Flags)
	}
	if h.Kind != kindData && h.Length != 0 {
		return header{}, fmt.Errorf("message kind %d announces %d bytes of content", h.Kind, h.Length)
	}
	return h, nil
}
