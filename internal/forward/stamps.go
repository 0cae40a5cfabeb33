package forward

import (
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// stampShards is how finely flows are told apart when a rule changes: a flow keeps its cached verdict unless one of its
// addresses shares a shard, one in a thousand, with the rule's. 8 KiB each, which a change copies.
const stampShards = 1 << stampBits

const stampBits = 10

// stamps say when what concerns a flow last changed. A stamp is drawn once from the line of the table and never again, so a flow whose
// newest stamp is the same in two tables of one line has the same verdict in both. Immutable.
type stamps struct {
	all  uint64               // changes that concern every flow
	src  *[stampShards]uint64 // of rules that name the source alone
	dst  *[stampShards]uint64 // of rules that name the destination alone
	pair *[stampShards]uint64 // of rules that name both
}

func newStamps() stamps {
	return stamps{src: new([stampShards]uint64), dst: new([stampShards]uint64), pair: new([stampShards]uint64)}
}

// of is the newest stamp of a flow.
func (s *stamps) of(src, dst, seed uint64) uint64 {
	a, b := stampHash(src, seed), stampHash(dst, seed)
	return max(s.all, s.src[a], s.dst[b], s.pair[a^b>>1])
}

// stampHash is the shard of an address; in a pair, one is shifted so that both directions differ.
func stampHash(mac, seed uint64) uint64 { return (mac ^ seed) * mixA >> (64 - stampBits) }

// stampEdit marks a copy; arrays are copied when first touched.
type stampEdit struct {
	stamps
	now  uint64
	mine [3]bool // src, dst, pair are copies
}

func (s stamps) edit(now uint64) *stampEdit { return &stampEdit{stamps: s, now: now} }

// rule marks the flows that r may concern.
func (e *stampEdit) rule(r *Rule, seed uint64) {
	a, b := stampHash(word(r.Src.MAC), seed), stampHash(word(r.Dst.MAC), seed)
	bySrc, byDst := r.Src.Kind == overlay.Exact, r.Dst.Kind == overlay.Exact
	switch {
	case bySrc && byDst:
		e.mark(2, &e.pair, a^b>>1)
	case bySrc:
		e.mark(0, &e.src, a)
	case byDst:
		e.mark(1, &e.dst, b)
	default:
		e.everything()
	}
}

func (e *stampEdit) everything() { e.stamps.all = e.now }

func (e *stampEdit) mark(which int, array **[stampShards]uint64, i uint64) {
	if !e.mine[which] {
		c := **array
		*array, e.mine[which] = &c, true
	}
	(*array)[i] = e.now
}

// word is the address as a number.
func word(m ether.MAC) uint64 {
	return uint64(m[0])<<40 | uint64(m[1])<<32 | uint64(m[2])<<24 | uint64(m[3])<<16 | uint64(m[4])<<8 | uint64(m[5])
}
