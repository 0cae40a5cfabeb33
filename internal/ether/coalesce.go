package ether

import (
	"encoding/binary"
	"slices"
)

// Coalescer joins the pieces of super-frames that arrive one behind the other, in the memory in which they lie. It belongs
// to one worker; its zero value is ready.
type Coalescer struct {
	// UDP has datagrams joined too. It pays where somebody takes the super-frame whole.
	UDP bool

	out   []Packet // the last one is the open row's first piece, until the row is closed
	row   run
	grown Frame // the open row's super-frame so far, with all capacity behind it; nil when no row is open
	apart bool  // it lies in spare

	spare [][]byte // for rows whose pieces do not lie one behind the other
	used  int      // of spare, since Take
}

// Add takes the next packet. The memory behind its frame, up to its capacity, is the Coalescer's until its next Add after
// Take, but for frames that are added later.
//
// It is joined with what was added before it where both could be pieces of one super-frame: whole TCP segments with the same
// headers, following each other in sequence, or whole UDP datagrams of one flow, single or in super-frames themselves; equally
// long but for the last, with IPv4 identifications that count up, with true checksums of their IP headers and partial checksums
// of their payload. Nothing else is touched, and cutting what Take returns gives back exactly the frames that were added.
//
// A complete checksum is never joined: the joined packet would vouch for bytes that nobody has verified.
func (c *Coalescer) Add(p Packet) {
	if c.grown != nil && c.row.add(&p) {
		if !c.apart && !Behind(c.grown, p.Frame) {
			c.moveAway()
		}
		c.grown = append(c.grown, p.Frame[c.row.payload:]...)
		return
	}
	c.close()
	memory := p.Frame
	p.Frame = slices.Clip(p.Frame)
	c.out = append(c.out, p)
	if c.row.start(p, c.UDP) {
		c.grown, c.apart = memory, false
	}
}

// Open returns the super-frame of the open row as far as it has grown, and how many bytes of headers and of payload the next
// piece has if it is none of the last; nil when no piece could follow.
func (c *Coalescer) Open() (grown Frame, headers, payload int) {
	if c.grown == nil || c.row.ended {
		return nil, 0, 0
	}
	return c.grown, c.row.payload, c.row.size
}

// Grow is Add for a frame with these marks (OffloadLen bytes), whose payload lies at the end of what Open returned, which
// makes it a place for its headers that the caller has borrowed and must put right afterwards. It reports false, and does
// nothing, where the packet does not follow, or is a super-frame itself.
func (c *Coalescer) Grow(marks []byte, f Frame, hops uint8) bool {
	if c.grown == nil {
		return false
	}
	if !c.row.next(marks, f, hops) {
		if o, err := ParseOffload(marks); err != nil || o.Segmented() || !c.row.add(&Packet{Frame: f, Offload: o, Hops: hops}) {
			return false
		}
	}
	c.grown = c.grown[:len(c.grown)+len(f)-c.row.payload]
	return true
}

// Expects reports whether what Open returned is followed by a frame with these marks (OffloadLen bytes), these headers and so
// many bytes of payload: it says at once what Grow would find, but for the last piece.
func (c *Coalescer) Expects(marks, headers []byte, payload int, hops uint8) bool {
	return c.grown != nil && c.row.expects(marks, headers, payload, hops)
}

// GrowExpected is Grow for a frame that the Coalescer Expects.
func (c *Coalescer) GrowExpected() {
	c.row.proceed()
	c.grown = c.grown[:len(c.grown)+c.row.size]
}

// Take returns all packets since the last Take. They are valid until the next Add, and as long as what was added.
func (c *Coalescer) Take() []Packet {
	c.close()
	out := c.out
	c.out, c.used = c.out[:0], 0
	return out
}

// Join returns the packets joined, in memory of its own where they are, whatever lies between them. What it returns is valid
// until the next call, and as long as the packets it was given.
func (c *Coalescer) Join(pkts []Packet) []Packet {
	for _, p := range pkts {
		p.Frame = slices.Clip(p.Frame)
		c.Add(p)
	}
	return c.Take()
}

// close ends the open row.
func (c *Coalescer) close() {
	if c.grown == nil {
		return
	}
	if c.row.joined {
		c.out[len(c.out)-1] = c.row.super(slices.Clip(c.grown))
	}
	c.grown = nil
}

// moveAway gives the open row memory of its own.
func (c *Coalescer) moveAway() {
	if c.used == len(c.spare) {
		c.spare = append(c.spare, make([]byte, HeaderLen+maxTags*TagLen+maxIP))
	}
	c.grown, c.apart = append(c.spare[c.used][:0], c.grown...), true
	c.used++
}

// Behind reports whether b lies in the memory behind a, where that goes on up to a's capacity, and b's capacity up to the
// same end.
func Behind(a, b []byte) bool {
	rest := a[len(a):cap(a)]
	return cap(b) > 0 && cap(b) <= len(rest) && &rest[len(rest)-1] == &b[:cap(b)][cap(b)-1]
}

// maxJoined is how many datagrams are joined: what every kernel takes as one (UDP_MAX_SEGMENTS before Linux 6.9).
const maxJoined = 64

const (
	tcpACK    = 0x10
	tcpECE    = 0x40
	joinFlags = tcpACK | tcpECE | tcpCWR | lastFlags // with any other flag a segment stays alone
)

// run is a row of segments that belong together, n of them so far.
type run struct {
	headers
	first  Packet
	n      int
	joined bool   // something has been added to the first packet
	group  bool   // the first packet is a super-frame of datagrams itself
	size   int    // bytes of payload in each but the last
	total  int    // bytes of payload so far
	id     uint16 // IPv4 identification of the first
	seq    uint32 // TCP sequence number of the first
	flags  byte   // TCP flags of the first
	last   byte   // those of lastFlags that the last piece has
	pseudo uint16 // pseudo-header's sum of the first, and the length that is in it
	length uint16
	ended  bool // the last added can only be a last piece

	ipFixed uint64           // the IPv4 header's sum without length, identification and checksum
	same    [maxHeader]byte  // ones where the headers of all pieces are the same; as long as words needs
	words   int              // of 8 bytes, in the headers
	expect  [maxHeader]byte  // the headers that the next piece has if it is none of the last
	count   counting         // in expect
	marks   [OffloadLen]byte // those of the first
}

// start reads the first segment of a row; false where it stays alone.
func (r *run) start(p Packet, udp bool) bool {
	r.first, r.n, r.joined, r.group, r.ended, r.last = p, 1, false, false, false, 0
	if !p.Offload.Partial() || p.Offload.Segmented() && p.Offload.GSOType != GSOUDP {
		return false
	}
	h, ok := p.Frame.headers()
	if !ok || h.payload > maxHeader || h.payload == len(p.Frame) || h.proto == protoUDP && !udp {
		return false
	}
	f := p.Frame
	r.headers = h
	r.total = len(f) - h.payload
	r.size = r.total
	if p.Offload.Segmented() {
		r.group, r.size = true, int(p.Offload.GSOSize)
		if h.proto != protoUDP || r.size == 0 || r.size >= r.total {
			return false
		}
		r.n = (r.total + r.size - 1) / r.size
		r.ended = r.total%r.size != 0
	}
	r.seq, r.flags = 0, 0
	if h.proto == protoTCP {
		r.seq = binary.BigEndian.Uint32(f[h.l4+4:])
		r.flags = f[h.l4+13]
	}
	r.pseudo = binary.BigEndian.Uint16(f[h.l4+h.checksumOffset():])
	r.length = uint16(len(f) - h.l4)
	r.mask()
	if h.v6 {
		r.ipFixed = 0
	} else {
		r.id = binary.BigEndian.Uint16(f[h.l3+4:])
		sum := sumBytes(0, f[h.l3:h.l3+2])
		sum = sumBytes(sum, f[h.l3+6:h.l3+10])
		r.ipFixed = uint64(fold(sumBytes(sum, f[h.l3+12:h.l4])))
	}
	if r.flags&^joinFlags != 0 || r.flags&lastFlags != 0 || !r.whole(&r.first) {
		return false
	}
	p.Offload.Put(r.marks[:])
	copy(r.expect[:], f[:h.payload])
	binary.BigEndian.PutUint16(r.expect[h.l4+h.checksumOffset():], replace16(r.pseudo, r.length, r.length))
	if h.proto == protoTCP {
		r.expect[h.l4+13] &^= tcpCWR
	}
	r.count = h.countingOf(r.expect[:], r.ipFixed)
	r.expectNext()
	return true
}

// expectNext puts into expect what differs from piece to piece.
func (r *run) expectNext() { r.count.write(r.expect[:], r.id+uint16(r.n), r.seq+uint32(r.total)) }

// mask marks all that is the same in every piece of a super-frame.
func (r *run) mask() {
	r.words = (r.payload + 7) / 8
	same := r.same[:8*r.words]
	clear(same)
	for i := range r.payload {
		same[i] = 0xff
	}
	if r.v6 {
		clear(same[r.l3+4 : r.l3+6]) // length
	} else {
		clear(same[r.l3+2 : r.l3+6])   // length, identification
		clear(same[r.l3+10 : r.l3+12]) // checksum
	}
	clear(same[r.l4+4 : r.l4+8]) // TCP: sequence number; UDP: length, checksum
	if r.proto == protoTCP {
		clear(same[r.l4+13:][:1]) // flags
		clear(same[r.l4+16 : r.l4+18])
	}
}

// whole reports whether a segment with the layout of this row, or a super-frame, has true marks, lengths and IP checksum.
func (r *run) whole(p *Packet) bool {
	f := p.Frame
	if !p.Offload.Partial() || int(p.Offload.CsumStart) != r.l4 ||
		int(p.Offload.CsumOffset) != r.checksumOffset() || f.ipEnd(r.headers) != len(f) {
		return false
	}
	if r.proto == protoUDP && int(binary.BigEndian.Uint16(f[r.l4+4:])) != len(f)-r.l4 {
		return false
	}
	if r.v6 {
		return true
	}
	varies := uint64(binary.BigEndian.Uint32(f[r.l3+2:])) + uint64(binary.BigEndian.Uint16(f[r.l3+10:]))
	return fold(r.ipFixed+varies) == 0xffff
}

// add takes the next segment into the row, or reports false and leaves the row as it was.
func (r *run) add(p *Packet) bool {
	var marks [OffloadLen]byte
	p.Offload.Put(marks[:])
	if r.next(marks[:], p.Frame, p.Hops) {
		return true
	}
	f := p.Frame
	size := len(f) - r.payload
	pieces := r.pieces(p.Offload, size)
	if r.ended || pieces == 0 || r.payload+r.total+size-r.l3 > maxIP || p.Hops != r.first.Hops {
		return false
	}
	if !r.sameHeaders(f) || !r.whole(p) {
		return false
	}
	flags, proceeds := r.follows(f, pieces)
	if !proceeds {
		return false
	}
	if !r.v6 && binary.BigEndian.Uint16(f[r.l3+4:]) != r.id+uint16(r.n) {
		return false
	}
	length := uint16(len(f) - r.l4)
	if binary.BigEndian.Uint16(f[r.l4+r.checksumOffset():]) != replace16(r.pseudo, r.length, length) {
		return false
	}
	r.n += pieces
	r.joined = true
	r.last = flags & lastFlags
	r.total += size
	r.ended = size%r.size != 0 || flags&lastFlags != 0
	r.expectNext()
	return true
}

// pieces is how many frames of this row a packet with so many bytes of payload stands for; 0 where its length does not suit.
func (r *run) pieces(o Offload, size int) int {
	switch {
	case size <= 0:
		return 0
	case !o.Segmented():
		if size > r.size {
			return 0
		}
		return 1
	case r.proto != protoUDP || o.GSOType != GSOUDP || int(o.GSOSize) != r.size || size <= r.size:
		return 0
	}
	return (size + r.size - 1) / r.size
}

// next is add for a segment that is just what is expected: most are.
func (r *run) next(marks []byte, f Frame, hops uint8) bool {
	if len(f) < r.payload || !r.expects(marks, f[:r.payload], len(f)-r.payload, hops) {
		return false
	}
	r.proceed()
	return true
}

// expects reports whether a segment with these headers is just what is expected.
func (r *run) expects(marks, headers []byte, payload int, hops uint8) bool {
	return !r.ended && !r.group && payload == r.size && r.n < maxJoined && hops == r.first.Hops &&
		r.payload+r.total+r.size-r.l3 <= maxIP && string(marks) == string(r.marks[:]) &&
		sameWords(headers, r.expect[:r.payload], r.l3)
}

// proceed takes in a segment that was expected.
func (r *run) proceed() {
	r.n++
	r.joined = true
	r.total += r.size
	r.expectNext()
}

// follows reports whether a segment, or so many datagrams, come right behind the row's last, and its TCP flags.
func (r *run) follows(f Frame, pieces int) (flags byte, ok bool) {
	if r.proto == protoUDP {
		return 0, r.n+pieces <= maxJoined
	}
	flags = f[r.l4+13]
	return flags, flags&^lastFlags == r.flags&^tcpCWR && binary.BigEndian.Uint32(f[r.l4+4:]) == r.seq+uint32(r.total)
}

// sameHeaders compares all that is the same in every piece of a super-frame, a word at a time: what a word takes of the
// payload the mask leaves out.
func (r *run) sameHeaders(f Frame) bool {
	n, g := 8*r.words, r.first.Frame
	if len(f) < n || len(g) < n { // a tiny payload: byte by byte
		for i := range r.payload {
			if (f[i]^g[i])&r.same[i] != 0 {
				return false
			}
		}
		return true
	}
	var differ uint64
	for i := 0; i < n; i += 8 {
		differ |= (binary.NativeEndian.Uint64(f[i:]) ^ binary.NativeEndian.Uint64(g[i:])) & binary.NativeEndian.Uint64(r.same[i:])
	}
	return differ == 0
}

// super makes the frame, the first piece with the payload of all, the super-frame of the row.
func (r *run) super(f Frame) Packet {
	if r.proto == protoUDP {
		binary.BigEndian.PutUint16(f[r.l4+4:], uint16(len(f)-r.l4))
	} else {
		f[r.l4+13] |= r.last
	}
	binary.BigEndian.PutUint16(f[r.l4+r.checksumOffset():], replace16(r.pseudo, r.length, uint16(len(f)-r.l4)))
	p := Packet{Frame: f, Hops: r.first.Hops, Offload: Offload{
		Flags:      NeedsChecksum,
		GSOType:    GSOTCPv4,
		HdrLen:     uint16(r.payload),
		GSOSize:    uint16(r.size),
		CsumStart:  uint16(r.l4),
		CsumOffset: uint16(r.checksumOffset()),
	}}
	if r.proto == protoUDP {
		p.Offload.GSOType = GSOUDP
	} else if r.v6 {
		p.Offload.GSOType = GSOTCPv6
	}
	if r.v6 {
		binary.BigEndian.PutUint16(f[r.l3+4:], uint16(len(f)-r.l3-ipv6HeaderLen))
	} else {
		binary.BigEndian.PutUint16(f[r.l3+2:], uint16(len(f)-r.l3))
		binary.BigEndian.PutUint16(f[r.l3+10:], 0)
		binary.BigEndian.PutUint16(f[r.l3+10:], ^fold(sumBytes(0, f[r.l3:r.l4])))
	}
	if r.flags&tcpCWR != 0 {
		p.Offload.GSOType |= gsoECN
	}
	return p
}
