package node

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

const (
	// echoAnywhere is how long a frame that went into one LAN is taken for its
	// echo when it comes in from another port's LAN: long for any chain of
	// bridges, and shorter than the second after which a machine asks the same
	// again by ARP (RFC 1122 §2.3.2.1).
	echoAnywhere = 250 * time.Millisecond
	// minWire is the shortest Ethernet frame without its checksum, in bytes.
	minWire = 60

	protoTCP, protoUDP = 6, 17 // IANA protocol numbers
)

// echoes remember the flooded frames that we gave to a LAN, so that they do not
// come back through it. Two ports of a node may stand on the same one, so all
// ports share what was sent anywhere. Any worker may use them.
type echoes struct {
	seed     maphash.Seed
	here     *control.Reflections // sent into this port's LAN
	anywhere *control.Reflections // sent into any
}

// newEchoes makes the memory of one more port.
func (e echoes) newEchoes() *echoes {
	e.here = control.NewReflections(0)
	return &e
}

func sharedEchoes() echoes {
	return echoes{seed: maphash.MakeSeed(), anywhere: control.NewReflections(0)}
}

func (e *echoes) sent(now time.Time, f ether.Frame) {
	hash := e.hash(f)
	e.here.Sent(now, hash)
	e.anywhere.Sent(now, hash)
}

// heard says whether a frame that came in is one of ours that came back.
func (e *echoes) heard(now time.Time, f ether.Frame) bool {
	hash := e.hash(f)
	return e.here.Seen(now, hash) || e.anywhere.SeenWithin(now, hash, echoAnywhere)
}

// hash identifies a frame by what does not change on its way through a LAN.
func (e *echoes) hash(f ether.Frame) uint64 {
	head, tail := steady(f)
	return bits.RotateLeft64(maphash.Bytes(e.seed, head), 1) ^ maphash.Bytes(e.seed, tail)
}

// steady are the bytes of a frame that a LAN leaves as they are: what pads a
// short frame may be gone or new, and a port finishes the checksum of TCP and UDP.
func steady(f ether.Frame) (head, tail []byte) {
	at := f.L3()
	if at >= len(f) {
		return f, nil
	}
	b := f[at:]
	switch kind := f.EtherType(); {
	case kind == typeARP:
		return f[:min(len(f), at+28)], nil
	case kind == typeIPv4 && len(b) >= 20:
		header := int(b[0]&15) * 4
		end := min(len(b), max(header, int(binary.BigEndian.Uint16(b[2:]))))
		hole := -1
		if binary.BigEndian.Uint16(b[6:])&0x1fff == 0 { // later fragments carry no transport header
			hole = checksumAt(b[9], header)
		}
		return around(f, at+end, at+hole, hole)
	case kind == typeIPv6 && len(b) >= 40:
		end := min(len(b), 40+int(binary.BigEndian.Uint16(b[4:])))
		hole := checksumAt(b[6], 40)
		return around(f, at+end, at+hole, hole)
	case len(f) <= minWire:
		return bytes.TrimRight(f, "\x00"), nil
	}
	return f, nil
}

// checksumAt is where the transport header behind an IP header of that length has its checksum; -1 if none is left open.
func checksumAt(protocol byte, header int) int {
	switch protocol {
	case protoTCP:
		return header + 16
	case protoUDP:
		return header + 6
	}
	return -1
}

// around splits the bytes before end at the two of a checksum.
func around(f []byte, end, at, hole int) (head, tail []byte) {
	if hole < 0 || at+2 > end {
		return f[:end], nil
	}
	return f[:at], f[at+2 : end]
}
