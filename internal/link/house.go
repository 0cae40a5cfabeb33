package link

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// House messages are the link's own talk, inside a dgramHouse datagram or a recHouse record.
const (
	houseBeat   = 1 // heartbeat
	houseProbe  = 2 // asks for an answer of the same size
	houseAnswer = 3
	houseBye    = 4 // the sender closes the link
	houseTurn   = 5 // in the last record of a block: the blocks that follow are sealed with the next epoch's key
)

var errHouse = errors.New("house message is malformed")

// beat is a heartbeat: "I hear you" as the time since I last did, an echo for the round trip, and totals for the account
// of what the wire lost. Times are the sender's own clock since the link began, only ever sent back to it.
type beat struct {
	sent     time.Duration // when this was sent, by its sender's clock
	echo     time.Duration // sent of the newest heartbeat heard from the peer; 0 before the first
	held     time.Duration // how long ago that one was heard
	silence  time.Duration // since anything was heard from the peer
	frames   uint64        // sent in this session
	received uint64        // frames received in this session
	epoch    uint64        // newest epoch heard from the peer
}

const beatLen = 1 + 7*8

func (m beat) put(b []byte) int {
	b[0] = houseBeat
	words := [...]uint64{uint64(m.sent), uint64(m.echo), uint64(m.held), uint64(m.silence), m.frames, m.received, m.epoch}
	for i, w := range words {
		binary.BigEndian.PutUint64(b[1+8*i:], w)
	}
	return beatLen
}

func parseBeat(b []byte) (beat, error) {
	if len(b) < beatLen || b[0] != houseBeat {
		return beat{}, errHouse
	}
	word := func(i int) uint64 { return binary.BigEndian.Uint64(b[1+8*i:]) }
	m := beat{frames: word(4), received: word(5), epoch: word(6)}
	for i, d := range []*time.Duration{&m.sent, &m.echo, &m.held, &m.silence} {
		if word(i) > math.MaxInt64 {
			return beat{}, errHouse
		}
		*d = time.Duration(word(i))
	}
	return m, nil
}

// probe asks whether a datagram of its size gets through both ways. An answer repeats id and size.
type probe struct {
	answer  bool
	started bool   // the answering end delivers frames already
	id      uint32 // of the question
	size    uint16 // bytes of the whole datagram
}

const probeLen = 8

func (m probe) put(b []byte) int {
	b[0], b[1] = houseProbe, 0
	if m.answer {
		b[0] = houseAnswer
	}
	if m.started {
		b[1] = 1
	}
	binary.BigEndian.PutUint32(b[2:], m.id)
	binary.BigEndian.PutUint16(b[6:], m.size)
	return probeLen
}

func parseProbe(b []byte) (probe, error) {
	if len(b) < probeLen || b[0] != houseProbe && b[0] != houseAnswer {
		return probe{}, errHouse
	}
	return probe{
		answer: b[0] == houseAnswer, started: b[1]&1 != 0,
		id: binary.BigEndian.Uint32(b[2:]), size: binary.BigEndian.Uint16(b[6:]),
	}, nil
}

// bye closes a link, with the total its receiver needs to know what the wire lost.
type bye struct {
	frames uint64
	reason string
}

const (
	byeHead   = 11  // bytes: kind 1, frames 8, length 2
	reasonMax = 512 // bytes of a reason on the wire; people read it
)

func (m bye) put(b []byte) int {
	reason := m.reason[:min(len(m.reason), reasonMax)]
	b[0] = houseBye
	binary.BigEndian.PutUint64(b[1:], m.frames)
	binary.BigEndian.PutUint16(b[9:], uint16(len(reason)))
	return byeHead + copy(b[byeHead:], reason)
}

func parseBye(b []byte) (bye, error) {
	if len(b) < byeHead || b[0] != houseBye {
		return bye{}, errHouse
	}
	n := int(binary.BigEndian.Uint16(b[9:]))
	if n > reasonMax || byeHead+n > len(b) {
		return bye{}, errHouse
	}
	return bye{frames: binary.BigEndian.Uint64(b[1:]), reason: string(b[byeHead : byeHead+n])}, nil
}

// houseMax is the longest house message that is not a padded probe.
const houseMax = byeHead + reasonMax
