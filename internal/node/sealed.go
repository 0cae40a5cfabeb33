package node

import (
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/forward"
	"github.com/virtuoso-vnet/virtuoso/internal/seal"
)

const (
	// sealMemory is what a worker seals into before it sends: four super-frames' worth, in bytes.
	sealMemory = 256 << 10
	// sealRoom is how long frames are cut for a link that does not say (over tcp): what the smallest path carries whole.
	sealRoom = 1400
)

// outlet is what a sealer needs of a link.
type outlet interface {
	MTU() int
	Send(lane int, pkts []ether.Packet)
}

// sealer is a worker's memory for sealing and opening. What it holds is used up when send returns.
type sealer struct {
	w       *worker
	scratch seal.Scratch
	cut     ether.Segmenter
	join    ether.Coalescer
	memory  []byte // allocated when first needed
	used    int
	out     []ether.Packet
	opened  bool // a frame of the present batch was opened
	put     func(*ether.Packet)

	// of the current call
	l      outlet
	tx     *seal.Sender
	made   uint64 // frames sealed of the current packet
	failed uint64
}

// send is Send for a node that seals: what starts here and is for a guest of a host with which we seal goes sealed.
func (z *sealer) send(s *snapshot, l outlet, pkts []ether.Packet) {
	if z.memory == nil {
		z.memory = make([]byte, sealMemory)
		z.put = z.one
	}
	z.l = l
	room := sealRoom
	if size := l.MTU(); size > 0 {
		room = min(room, size)
	}
	for i := range pkts {
		p := &pkts[i]
		frames := uint64(p.Frames())
		tx, drop, ok := s.seal.judge(s, p)
		switch {
		case !ok:
			z.w.counts.drops[drop].add(frames)
		case tx == nil:
			z.out = append(z.out, *p)
		default:
			z.tx, z.made, z.failed = tx, 0, 0
			if err := z.cut.Segment(p, room-seal.Overhead, z.put); err != nil {
				z.w.counts.drops[DropBadOffload].add(frames)
				continue
			}
			z.w.counts.drops[DropNoKey].add(z.failed)
			z.w.counts.copies.add(z.made + z.failed - frames) // cut finer than its marks say; never coarser
		}
	}
	z.flush()
	z.l, z.tx = nil, nil
}

// judge says what a frame that leaves by a link is sealed with; nil for what goes as it is: what others sent, what is for
// everybody, and what is for a guest of nobody we seal with.
func (g *sealing) judge(s *snapshot, p *ether.Packet) (tx *seal.Sender, why Drop, ok bool) {
	if p.Hops > 0 {
		return nil, 0, true
	}
	dst := p.Frame.Dst()
	if dst.IsGroup() || isTrace(s, p.Frame) {
		return nil, 0, true
	}
	way := g.macs[dst]
	switch {
	case way == nil:
		return nil, DropUnsealed, !g.strict
	case way.tx == nil:
		return nil, DropNoKey, way.open && !g.strict
	}
	return way.tx, 0, true
}

// one seals one frame into memory.
func (z *sealer) one(p *ether.Packet) {
	need := seal.SealedLen(p)
	if z.used+need > len(z.memory) {
		z.flush()
	}
	if need > len(z.memory) {
		z.failed++
		return
	}
	f := z.memory[z.used : z.used+need : z.used+need]
	if !z.tx.Seal(f, p, z.w.lane, &z.scratch) {
		z.failed++
		return
	}
	z.made++
	z.used += need
	z.out = append(z.out, ether.Packet{Frame: f})
}

func (z *sealer) flush() {
	var frames uint64
	for i := range z.out {
		frames += uint64(z.out[i].Frames())
	}
	if frames > 0 {
		z.w.counts.linkOut.add(frames)
		z.l.Send(z.w.lane, z.out)
	}
	clear(z.out)
	z.out, z.used = z.out[:0], 0
}

// open judges a frame that came over a link and ends here, and opens it if it is sealed; false says that it was dropped. What
// only passes through is left as it is.
func (z *sealer) open(s *snapshot, p *ether.Packet, v forward.Verdict, frames uint64) bool {
	if v.Action != forward.FloodTree && (v.Action != forward.Forward || v.Out.IsLink()) {
		return true
	}
	if seal.Is(p.Frame) {
		r := s.seal.in[seal.IDOf(p.Frame)]
		if r == nil || !r.Open(p, &z.scratch) {
			z.w.counts.drops[DropUnopened].add(frames)
			return false
		}
		z.opened = true
		return true
	}
	if p.Frame.Dst().IsGroup() {
		return true
	}
	if way := s.seal.macs[p.Frame.Src()]; s.seal.strict || way != nil && !way.lenient {
		z.w.counts.drops[DropUnsealed].add(frames)
		return false
	}
	return true
}
