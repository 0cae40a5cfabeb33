package link

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

const (
	readBufs = 8       // buffers one read may fill: 8 × 64 KiB a socket
	readSize = 1 << 16 // bytes: the largest thing UDP_GRO hands over

	// joinedMax is how many rejoined frames wait for delivery at most: they lie in memory of their own, unlike the others.
	joinedMax = 64
)

// inlet is one receive lane: what arrives by one socket, and by the tcp carriers that share the lane with it. The lock is
// taken once a batch, so that whoever runs Config.Receive owns the lane meanwhile.
type inlet struct {
	mu   sync.Mutex
	lane int
}

// receiver reads one socket and carries what it brings to its end. Owned by its goroutine.
type receiver struct {
	e     *Endpoint
	inlet *inlet
	sock  Socket

	bufs  [][]byte
	sizes []int
	segs  []int
	from  []netip.AddrPort

	mem     scratch
	head    header // of the datagram that is being opened
	now     time.Time
	cur     *Link           // whose datagrams are being opened
	lane    *rxLane         // of cur; its lock is held
	pkts    ether.Coalescer // opened for cur, not delivered yet
	joined  []*partial      // memory behind some of them
	parting *bye            // cur's peer said bye in this run
	opened  uint64          // datagrams for cur, not accounted yet
	grown   uint64          // frames in them that grew a super-frame
	alive   bool            // they are a sign of life
	covered [ahead]byte     // what a datagram that is opened ahead lies over
}

func newReceiver(e *Endpoint, in *inlet, sock Socket) *receiver {
	r := &receiver{e: e, inlet: in, sock: sock}
	memory := make([]byte, readBufs*readSize)
	for i := range readBufs { // with all memory behind it as capacity, where pieces are joined
		r.bufs = append(r.bufs, memory[i*readSize:(i+1)*readSize])
	}
	r.sizes, r.segs, r.from = make([]int, readBufs), make([]int, readBufs), make([]netip.AddrPort, readBufs)
	return r
}

// run reads until the socket is closed.
func (r *receiver) run() error {
	var turn Turn
	for {
		n, err := r.sock.ReadBatch(r.bufs, r.sizes, r.segs, r.from)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		r.now = time.Now()
		turn.At(r.now)
		for i := range n {
			rest, seg := r.bufs[i][:r.sizes[i]], r.segs[i]
			if seg <= 0 {
				seg = len(rest)
			}
			for len(rest) > 0 {
				d := rest[:min(seg, len(rest))]
				rest = rest[len(d):]
				r.datagram(d, r.from[i])
			}
		}
		r.deliver()
	}
}

// datagram sorts by the first byte: QUIC's go to its transport, ours are opened.
func (r *receiver) datagram(d []byte, from netip.AddrPort) {
	if d[0] >= dgramLimit {
		r.e.quicConn.push(d, from)
		return
	}
	h := &r.head
	if !h.read(d) {
		r.e.strays.Add(1)
		return
	}
	l := r.cur
	if l == nil || l.mine != h.link {
		r.deliver()
		if l = r.e.byID(h.link); l == nil {
			r.e.strays.Add(1)
			return
		}
		r.cur, r.pkts.UDP = l, r.e.joinUDP.Load()
	}
	if lane := &l.rx.lanes[laneIndex(h.lane)]; lane != r.lane {
		r.enter(lane)
	}
	if h.kind == dgramRecords && r.openAhead(l, d, h, from) {
		return
	}
	body, ok := l.open(d[headerLen:], d, 0, h, from, &r.mem)
	if !ok {
		return
	}
	r.note(l, h.lane, from)
	if h.kind == dgramHouse {
		r.account(l)
		if h.lane != houseLane {
			l.portAsked(body, h.lane, from)
			return
		}
		l.arrived(body, from)
		r.parting = l.houseMessage(body, r.now, r.parting)
		return
	}
	r.records(l, h.lane, body)
	if len(r.joined) >= joinedMax {
		r.deliver()
	}
}

// note takes note of an opened datagram. What a peer that sends from several ports sends from the others is no sign of life:
// all but frames goes by the first, and a link of which that is dead is.
func (r *receiver) note(l *Link, lane uint16, from netip.AddrPort) {
	r.opened++
	r.alive = r.alive || lane == houseLane || !l.rx.spread.Load() || from == *l.remote.Load()
}

// enter goes on with another lane; nil is none.
func (r *receiver) enter(lane *rxLane) {
	if r.lane != nil {
		r.lane.mu.Unlock()
	}
	if r.lane = lane; lane != nil {
		lane.mu.Lock()
	}
}

// account adds to the link's counters what has been opened since the last time.
func (r *receiver) account(l *Link) {
	if r.opened == 0 {
		return
	}
	l.datagramsIn.Add(r.opened)
	l.received.Add(r.grown)
	if r.alive {
		l.heard.Store(int64(l.clock(r.now)))
	}
	r.opened, r.grown, r.alive = 0, 0, false
}

// open authenticates a datagram, decrypts it to dst, but for its lead, as openTo has it, and takes note of it: replay window,
// epoch, address. Its lane's lock is held.
func (l *Link) open(dst, d []byte, lead int, h *header, from netip.AddrPort, mem *scratch) ([]byte, bool) {
	lane, keys := &l.rx.lanes[laneIndex(h.lane)], l.rx.keys.Load()
	w := lane.window
	if w != nil && !w.fresh(h.counter) {
		l.duplicates.Add(1)
		return nil, false
	}
	key := keys.key(h.epoch)
	if key == nil {
		l.authFailed.Add(1)
		return nil, false
	}
	body, ok := key.openTo(dst, d, lead, h, mem)
	if !ok {
		l.authFailed.Add(1)
		return nil, false
	}
	if w == nil {
		w = new(replay)
		lane.window = w
	}
	newest := h.counter > w.top
	w.accept(h.counter)
	if key == keys.next {
		if err := l.advance(key); err != nil {
			l.end(err, false)
			return nil, false
		}
	}
	if newest && from != *l.remote.Load() && l.leads(h.lane) {
		l.moved(from, time.Now())
	}
	return body, true
}

// records collects the frames of an opened datagram.
func (r *receiver) records(l *Link, lane uint16, body []byte) {
	for len(body) > 0 {
		rec, rest, err := parseRecord(body)
		if err != nil || rec.flags&recHouse != 0 {
			l.drop(DropMalformed, 1)
			return
		}
		body = rest
		if rec.flags == recPadding {
			return
		}
		if rec.piece.count != 0 {
			p, whole := l.rejoin(r.now, lane, rec)
			if !whole {
				continue
			}
			r.joined = append(r.joined, p)
			rec = p.head
			rec.bytes = p.buf
		}
		if p, ok := l.take(rec); ok {
			r.pkts.Add(p)
		}
	}
}

// rejoin takes one piece of a frame and returns the whole one when it was the last that was missing.
func (l *Link) rejoin(now time.Time, lane uint16, rec record) (*partial, bool) {
	j := &l.rx.joiner
	j.mu.Lock()
	defer j.mu.Unlock()
	lost := j.lost
	p, whole := j.add(now, lane, rec)
	l.peers.broken.Add(j.lost - lost)
	return p, whole
}

// take counts a whole frame that arrived; false when it has come too far.
func (l *Link) take(rec record) (ether.Packet, bool) {
	p := ether.Packet{Frame: rec.bytes, Offload: rec.offload, Hops: rec.hops}
	frames := uint64(1)
	if p.Offload.Segmented() {
		frames = uint64(p.Frames())
	}
	l.received.Add(frames)
	if rec.hops > maxHops {
		l.drop(DropHopLimit, frames)
		return p, false
	}
	return p, true
}

// deliver gives the collected run to the node and lets go of the link. Pieces of one super-frame that came in one batch go
// as one again: the node decides, and a guest's stack is called, once for them all. What travels on is cut again.
func (r *receiver) deliver() {
	l := r.cur
	if l == nil {
		return
	}
	r.cur = nil
	r.account(l)
	r.enter(nil)
	pkts := r.pkts.Take()
	l.hand(r.inlet, pkts)
	clear(pkts)
	if len(r.joined) > 0 {
		l.rx.joiner.mu.Lock()
		for i, p := range r.joined {
			l.rx.joiner.recycle(p)
			r.joined[i] = nil
		}
		l.rx.joiner.mu.Unlock()
		r.joined = r.joined[:0]
	}
	if r.parting != nil {
		l.farewell(*r.parting)
		r.parting = nil
	}
}

// hand gives arrived frames to the owner, in the lane of the goroutine that brought them.
func (l *Link) hand(in *inlet, pkts []ether.Packet) {
	switch {
	case len(pkts) == 0:
	case l.shut.Load():
		l.drop(DropClosed, framesOf(pkts))
	case l.owner.Load() == nil:
		l.drop(DropNotStarted, framesOf(pkts))
	default:
		in.mu.Lock()
		l.e.cfg.Receive(in.lane, l, pkts)
		in.mu.Unlock()
	}
}

// houseMessage obeys one message of the peer's link. A bye is returned, to be obeyed when the frames before it have been
// delivered. Malformed ones, of a later version perhaps, are left alone.
func (l *Link) houseMessage(b []byte, now time.Time, parting *bye) *bye {
	if len(b) == 0 {
		return parting
	}
	switch b[0] {
	case houseBeat:
		if m, err := parseBeat(b); err == nil {
			l.told(m, now)
		}
	case houseProbe:
		if m, err := parseProbe(b); err == nil {
			m.answer, m.started = true, l.owner.Load() != nil
			l.sendProbe(m)
		}
	case houseAnswer:
		m, err := parseProbe(b)
		if err != nil {
			return parting
		}
		if m.id == upkeepID {
			l.unanswered.Store(0)
			return parting
		}
		select {
		case l.answers <- m:
		default: // nobody proves any more
		}
	case houseBye:
		if m, err := parseBye(b); err == nil {
			return &m
		}
	}
	return parting
}

// told takes what a heartbeat says, and answers it. One overtaken by a newer, or by the peer's last words, is ignored.
func (l *Link) told(m beat, now time.Time) {
	p := &l.peers
	if int64(m.sent) <= p.sent.Load() || p.final.Load() {
		return
	}
	clock := l.clock(now)
	p.sent.Store(int64(m.sent))
	p.at.Store(int64(clock))
	p.silence.Store(int64(m.silence))
	p.frames.Store(m.frames)
	p.lost.Store(less(m.frames, l.received.Load()))
	p.epoch.Store(m.epoch)
	if rtt := clock - m.echo - m.held; m.echo > 0 && rtt > 0 {
		smooth := time.Duration(p.rtt.Load())
		if smooth == 0 {
			smooth = rtt
		}
		p.rtt.Store(int64(smooth + (rtt-smooth)/rttWeight))
	}
	if !l.dialled {
		l.beat(now, (*life).Answer)
	}
}

// rttWeight is how many heartbeats the smoothed round trip remembers, as TCP's does (RFC 6298 §2).
const rttWeight = 8

// farewell ends the link on the peer's word, with the last account of what it sent. It comes several times, and on two ways.
func (l *Link) farewell(m bye) {
	for was := l.peers.frames.Load(); m.frames > was && !l.peers.frames.CompareAndSwap(was, m.frames); was = l.peers.frames.Load() {
	}
	l.peers.final.Store(true)
	l.end(&closedError{byPeer: true, reason: m.reason}, true)
}

// less is a - b, 0 when b is larger.
func less(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}
