package node

import (
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/forward"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

const (
	// flowCacheSize is the number of flows a worker remembers verdicts for: a
	// few times the conversations of a busy host, and 64 KiB of memory.
	flowCacheSize = 4096
	// talkers is how many (source, destination) pairs a worker counts apart.
	talkers = 4096
)

// worker carries frames from where they arrive to where they go, a batch at a
// time, in the goroutine that read them. Nothing of it is shared but counts
// and tally, which others may read.
type worker struct {
	lane  int
	node  *Node
	seen  *snapshot // the snapshot that ports and links below are sized for
	cache *forward.Cache
	known knownSources

	ports   [][]ether.Packet // waiting for a port, by index of its side
	links   [][]ether.Packet // waiting for a link, by index of its side
	touched []forward.Side   // the sides that have something waiting
	now     time.Duration    // since the node started, of the batch under way; 0 until somebody asks

	tally  *vttif.Counter // nil when traffic is not counted
	counts counts
	sealer sealer
}

func newWorker(n *Node, lane int) *worker {
	w := &worker{lane: lane, node: n, cache: forward.NewCache(flowCacheSize)}
	w.sealer.w = w
	if !n.cfg.Uncounted {
		w.tally = vttif.NewCounter(talkers)
	}
	return w
}

// run forwards one batch that arrived at a side. The packets are not used
// after it returns.
func (w *worker) run(arrival forward.Side, pkts []ether.Packet) {
	s := w.node.snapshot.Load()
	if s != w.seen {
		w.adopt(s)
	}
	w.node.rouse()
	w.now = 0
	if w.tally != nil {
		w.tally.At(w.node.ms())
	}
	frames, bytes := w.counts.edgeIn.value(), w.counts.edgeInBytes.value()
	for i := range pkts {
		w.one(s, arrival, &pkts[i])
	}
	if !arrival.IsLink() {
		s.ports[arrival.Index()].in.add(w.counts.edgeIn.value()-frames, w.counts.edgeInBytes.value()-bytes)
	}
	w.flush(s)
}

func (w *worker) adopt(s *snapshot) {
	if w.seen == nil || w.seen.learn != s.learn {
		w.known = knownSources{}
	}
	for len(w.ports) < len(s.ports) {
		w.ports = append(w.ports, nil)
	}
	for len(w.links) < len(s.slots) {
		w.links = append(w.links, nil)
	}
	w.seen = s
}

func (w *worker) one(s *snapshot, arrival forward.Side, p *ether.Packet) {
	frames := uint64(p.Frames())
	if arrival.IsLink() {
		w.counts.linkIn.add(frames)
	} else {
		w.counts.edgeIn.add(frames)
		w.counts.edgeInBytes.add(uint64(p.WireBytes()))
	}
	if !p.Frame.Valid() {
		w.counts.drops[DropRunt].add(frames)
		return
	}
	if arrival.IsLink() && p.Offload != (ether.Offload{}) {
		if err := p.Check(); err != nil { // a peer's marks are hints, not facts
			w.counts.drops[DropBadOffload].add(frames)
			return
		}
	}
	src, dst := p.Frame.Src(), p.Frame.Dst()
	if !arrival.IsLink() && !s.ports[arrival.Index()].gate.rule.Load().lets(src) {
		w.refuse(s.ports[arrival.Index()], DropForeign, frames)
		return
	}
	v := w.cache.Decide(s.table, arrival, src, dst)
	if isTrace(s, p.Frame) {
		w.trace(s, arrival, p, v)
		return
	}
	if s.seal != nil && arrival.IsLink() && !w.sealer.open(s, p, v, frames) {
		return
	}
	if most := w.node.cfg.ClampMSS; most > 0 && !(arrival.IsLink() && v.Out.IsLink()) {
		p.ClampMSS(most)
	}
	if arrival.IsLink() {
		if v.Action == forward.FloodTree && s.proxy && !s.slots[arrival.Index()].storm.take(w.clock(), int(frames), linkStorm, linkStorm) {
			w.counts.drops[DropStorm].add(frames)
			return
		}
	} else if !w.admit(s, s.ports[arrival.Index()], p, v.Action, frames) {
		return
	}
	switch v.Action {
	case forward.Forward:
		w.put(v.Out, p)
	case forward.FloodTree:
		w.flood(s, v.Outs, p, frames)
	default:
		if up, ok := w.straggler(s, arrival, v.Reason, p); ok {
			w.put(up, p)
			return
		}
		w.counts.reasons[v.Reason].add(frames)
	}
}

// admit judges a frame from a local port before it is forwarded as action says:
// it counts the application's traffic, learns the sender, and keeps loops
// through the LAN out.
func (w *worker) admit(s *snapshot, at *localPort, p *ether.Packet, action forward.Action, frames uint64) bool {
	src, dst := p.Frame.Src(), p.Frame.Dst()
	if at.lan {
		if drop, ok := w.node.fromLAN(at, p, action); ok {
			w.counts.drops[drop].add(frames)
			return false
		}
	}
	speaks := neighbourly(p.Frame)
	spoofed := speaks && w.node.spoofed(at, p.Frame)
	switch {
	case spoofed:
		if at.gate.sights.take(w.clock(), 1, sightsASecond, sightsBurst) {
			w.node.sight(at, p.Frame, speaks) // to be noticed
		}
		w.refuse(at, DropSpoof, frames)
		return false
	case action == forward.FloodTree && !w.floods(at, frames):
		w.refuse(at, DropStorm, frames)
		return false
	}
	if w.tally != nil {
		w.tally.Offered(src, dst, uint64(p.WireBytes()), frames, p.Frame.Bare())
	}
	if src.IsGroup() {
		return true // no station sends from a group address; nothing to learn
	}
	if (speaks || !w.known.has(src, at.index)) && at.gate.sights.take(w.clock(), 1, sightsASecond, sightsBurst) {
		if w.node.sight(at, p.Frame, speaks) {
			w.known.add(src, at.index)
		}
	}
	if s.answer && speaks && dst.IsGroup() && at.gate.asks.take(w.clock(), 1, asksASecond, asksBurst) {
		w.node.ask(at, p.Frame)
	}
	return true
}

// refuse counts frames that a port does not let in.
func (w *worker) refuse(at *localPort, why Drop, frames uint64) {
	w.counts.drops[why].add(frames)
	at.gate.refuse(why, frames)
}

func (w *worker) flood(s *snapshot, outs []forward.Side, p *ether.Packet, frames uint64) {
	if len(outs) == 0 {
		w.counts.drops[DropNoPorts].add(frames)
		return
	}
	w.counts.copies.add(frames * uint64(len(outs)-1))
	for _, out := range outs { // ports and links leave the bytes as they were
		if !out.IsLink() && s.ports[out.Index()].lan {
			s.ports[out.Index()].guard.sent(p)
		}
		w.put(out, p)
	}
}

func (w *worker) put(out forward.Side, p *ether.Packet) {
	queues := w.ports
	if out.IsLink() {
		queues = w.links
	}
	i := out.Index()
	if len(queues[i]) == 0 {
		w.touched = append(w.touched, out)
	}
	queues[i] = append(queues[i], *p)
}

func (w *worker) flush(s *snapshot) {
	for _, out := range w.touched {
		if out.IsLink() {
			w.sendLink(s, s.slots[out.Index()], w.links[out.Index()])
			w.links[out.Index()] = w.links[out.Index()][:0]
		} else {
			w.writePort(s.ports[out.Index()], w.ports[out.Index()])
			w.ports[out.Index()] = w.ports[out.Index()][:0]
		}
	}
	w.touched = w.touched[:0]
	w.sealer.opened = false
}

func (w *worker) sendLink(s *snapshot, to *slot, pkts []ether.Packet) {
	var frames uint64
	for i := range pkts {
		frames += uint64(pkts[i].Frames())
	}
	l := to.current.Load()
	if l == nil {
		w.counts.drops[DropLinkDown].add(frames)
		return
	}
	if s.seal != nil {
		w.sealer.send(s, l, pkts)
		return
	}
	w.counts.linkOut.add(frames)
	l.Send(w.lane, pkts)
}

func (w *worker) writePort(to *localPort, pkts []ether.Packet) {
	if w.sealer.opened { // pieces of one super-frame, which nobody could join while they were sealed
		pkts = w.sealer.join.Join(pkts)
	}
	written, _ := to.port.Write(w.lane%to.port.Queues(), pkts)
	var out, outBytes uint64
	for i := range pkts {
		p := &pkts[i]
		frames := uint64(p.Frames())
		if i >= written { // which of them were dropped the port does not say; their number is right
			w.counts.drops[DropPortFull].add(frames)
			continue
		}
		out += frames
		outBytes += uint64(p.WireBytes())
		if w.tally != nil {
			w.tally.Delivered(p.Frame.Src(), p.Frame.Dst(), uint64(p.WireBytes()), frames)
		}
	}
	w.counts.edgeOut.add(out)
	w.counts.edgeOutBytes.add(outBytes)
	to.out.add(out, outBytes)
}
