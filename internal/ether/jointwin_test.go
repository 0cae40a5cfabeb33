package ether

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The slow twin of Coalescer: it tries to put neighbours together in the most obvious way, cuts the result in the most obvious
// way, and believes only what comes out as it went in.

// slowJoin joins each packet with as many of those behind it as can be.
func slowJoin(pkts []Packet) []Packet {
	var out []Packet
	for len(pkts) > 0 {
		n := 1
		for n < len(pkts) && slowlyOne(pkts[:n+1]) {
			n++
		}
		if n == 1 {
			out = append(out, pkts[0])
		} else {
			out = append(out, slowSuper(pkts[:n]))
		}
		pkts = pkts[n:]
	}
	return out
}

// slowlyOne tells whether packets may be handed on as one super-frame.
func slowlyOne(pkts []Packet) bool {
	datagrams := 0
	for i := range pkts {
		p := &pkts[i]
		h, ok := slowHeaders(p.Frame)
		n := 1
		if ok && p.Offload.GSOType == GSOUDP && h.udp && p.Offload.GSOSize > 0 {
			n = (len(p.Frame) - h.payload + int(p.Offload.GSOSize) - 1) / int(p.Offload.GSOSize)
		}
		datagrams += n
		if !ok || p.Offload.Segmented() && n < 2 || !p.Offload.Partial() || p.Hops != pkts[0].Hops || h.payload >= len(p.Frame) || h.payload > maxHeader {
			return false
		}
		if int(p.Offload.CsumStart) != h.l4 || int(p.Offload.CsumOffset) != h.check-h.l4 || h.end != len(p.Frame) {
			return false
		}
		if !h.v6 && slowFold(slowSum(p.Frame[h.l3:h.l4])) != 0xffff {
			return false
		}
		if h.udp && (int(binary.BigEndian.Uint16(p.Frame[h.l4+4:])) != len(p.Frame)-h.l4 || datagrams > 64) {
			return false
		}
		if !h.udp && p.Frame[h.l4+13]&0x26 != 0 { // SYN, RST and URG stay alone
			return false
		}
	}
	super := slowSuper(pkts)
	h, _ := slowHeaders(pkts[0].Frame)
	if len(super.Frame)-h.l3 > 65535 {
		return false
	}
	pieces := slowCut(super)
	var want [][]byte
	for _, p := range pkts {
		if p.Offload.Segmented() {
			want = append(want, slowCut(p)...)
		} else {
			want = append(want, p.Frame)
		}
	}
	return slices.EqualFunc(pieces, want, func(a, b []byte) bool { return cmp.Equal(Frame(a), Frame(b), sameButZero()) })
}

// slowSuper is the super-frame that packets would be, if they are one.
func slowSuper(pkts []Packet) Packet {
	first := pkts[0]
	h, _ := slowHeaders(first.Frame)
	f := bytes.Clone(first.Frame)
	for _, p := range pkts[1:] {
		f = append(f, p.Frame[min(h.payload, len(p.Frame)):]...)
	}
	last := pkts[len(pkts)-1].Frame
	be := binary.BigEndian
	if h.udp {
		be.PutUint16(f[h.l4+4:], uint16(len(f)-h.l4))
	} else {
		f[h.l4+13] |= last[min(h.l4+13, len(last)-1)] & 0x09
	}
	check := be.Uint16(f[h.check:])
	be.PutUint16(f[h.check:], slowFold(uint64(check)+uint64(^uint16(len(first.Frame)-h.l4))+uint64(len(f)-h.l4)))
	size := uint16(len(first.Frame) - h.payload)
	if first.Offload.Segmented() {
		size = first.Offload.GSOSize
	}
	o := Offload{Flags: 1, GSOType: GSOTCPv4, HdrLen: uint16(h.payload), GSOSize: size, CsumStart: uint16(h.l4), CsumOffset: uint16(h.check - h.l4)}
	if h.v6 {
		o.GSOType = GSOTCPv6
		be.PutUint16(f[h.l3+4:], uint16(len(f)-h.l3-40))
	} else {
		be.PutUint16(f[h.l3+2:], uint16(len(f)-h.l3))
		slowIPChecksum(f[h.l3:h.l4])
	}
	if h.udp {
		o.GSOType = GSOUDP
	} else if first.Frame[h.l4+13]&0x80 != 0 {
		o.GSOType |= gsoECN
	}
	return Packet{Frame: f, Offload: o, Hops: first.Hops}
}

// slowCut cuts a super-frame, each piece made from nothing but the super-frame.
func slowCut(p Packet) [][]byte {
	be := binary.BigEndian
	h, _ := slowHeaders(p.Frame)
	payload := p.Frame[h.payload:]
	size := int(p.Offload.GSOSize)
	var out [][]byte
	for at := 0; at < len(payload); at += size {
		end := min(at+size, len(payload))
		f := append(bytes.Clone(p.Frame[:h.payload]), payload[at:end]...)
		if h.v6 {
			be.PutUint16(f[h.l3+4:], uint16(len(f)-h.l3-40))
		} else {
			be.PutUint16(f[h.l3+2:], uint16(len(f)-h.l3))
			be.PutUint16(f[h.l3+4:], be.Uint16(f[h.l3+4:])+uint16(len(out)))
			slowIPChecksum(f[h.l3:h.l4])
		}
		if h.udp {
			be.PutUint16(f[h.l4+4:], uint16(len(f)-h.l4))
		} else {
			be.PutUint32(f[h.l4+4:], be.Uint32(f[h.l4+4:])+uint32(at))
			if at > 0 {
				f[h.l4+13] &= 0x7f
			}
			if end < len(payload) {
				f[h.l4+13] &= 0xf6
			}
		}
		check := be.Uint16(f[h.check:])
		be.PutUint16(f[h.check:], slowFold(uint64(check)+uint64(^uint16(len(p.Frame)-h.l4))+uint64(len(f)-h.l4)))
		out = append(out, f)
	}
	return out
}

func slowIPChecksum(ip []byte) {
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], ^slowFold(slowSum(ip)))
}

// slowLayout is where the headers of a TCP segment or UDP datagram are, read as the RFCs write it.
type slowLayout struct {
	l3, l4, check, payload, end int
	v6, udp                     bool
}

func slowHeaders(f []byte) (h slowLayout, ok bool) {
	be := binary.BigEndian
	if len(f) < 14 {
		return h, false
	}
	kind := be.Uint16(f[12:])
	for h.l3 = 14; (kind == 0x8100 || kind == 0x88a8) && len(f) >= h.l3+4 && h.l3 < 14+8*4; h.l3 += 4 {
		kind = be.Uint16(f[h.l3+2:])
	}
	ip := f[h.l3:]
	next := byte(0)
	switch {
	case kind == 0x0800 && len(ip) >= 20 && ip[0]>>4 == 4 && ip[0]&15 >= 5:
		if be.Uint16(ip[6:])&0x3fff != 0 {
			return h, false
		}
		h.l4, next, h.end = h.l3+4*int(ip[0]&15), ip[9], h.l3+int(be.Uint16(ip[2:]))
	case kind == 0x86dd && len(ip) >= 40 && ip[0]>>4 == 6:
		h.v6 = true
		h.l4, next, h.end = h.l3+40, ip[6], h.l3+40+int(be.Uint16(ip[4:]))
		for n := 0; n < 7 && (next == 0 || next == 43 || next == 60) && len(f) >= h.l4+8; n++ {
			next, h.l4 = f[h.l4], h.l4+8*(1+int(f[h.l4+1]))
		}
	default:
		return h, false
	}
	if next == 17 && len(f) >= h.l4+8 {
		h.udp, h.check, h.payload = true, h.l4+6, h.l4+8
		return h, true
	}
	if next != 6 || len(f) < h.l4+20 || f[h.l4+12]>>4 < 5 {
		return h, false
	}
	h.check, h.payload = h.l4+16, h.l4+4*int(f[h.l4+12]>>4)
	return h, h.payload <= len(f)
}

// drawFlow makes the pieces of some super-frames of one sender, one behind the other.
func drawFlow(t *rapid.T) (pkts []Packet) {
	s := drawJoinable(t)
	if rapid.IntRange(0, 7).Draw(t, "odd flags") == 0 {
		s.flags = rapid.Byte().Draw(t, "flags")
	}
	longest := 6 * s.gso
	if rapid.IntRange(0, 15).Draw(t, "long") == 0 { // longer than one packet may be
		s.gso, longest = 1448, 50*1448
		s.payload = make([]byte, longest)
	}
	for range rapid.IntRange(1, 3).Draw(t, "super-frames") {
		one := s
		one.payload = s.payload[:rapid.IntRange(0, min(len(s.payload), longest)).Draw(t, "length")]
		one.gso = max(1, s.gso+rapid.IntRange(-1, 1).Draw(t, "finer or coarser"))
		if rapid.Bool().Draw(t, "goes on") {
			one.flags &^= lastFlags | tcpCWR
		}
		pieces := one.pieces(0)
		s.id += len(pieces)
		if s.udp && longest < 30000 && rapid.Bool().Draw(t, "in groups") {
			whole, cut := one.super(), Segmenter{Groups: true}
			pieces = nil
			room := one.headerLen() + rapid.IntRange(1, 4).Draw(t, "datagrams in each")*one.gso
			if err := cut.Segment(&whole, room, func(p *Packet) { pieces = append(pieces, clone(p)) }); err != nil {
				t.Fatal(err)
			}
		}
		pkts = append(pkts, pieces...)
		s.seq += uint32(len(one.payload))
	}
	return pkts
}

// disturb does to a batch what a path does, and what no sender should.
func disturb(t *rapid.T, pkts []Packet) []Packet {
	for range rapid.IntRange(0, 3).Draw(t, "disturbances") {
		i := rapid.IntRange(0, len(pkts)-1).Draw(t, "at")
		switch rapid.SampledFrom([]string{"lost", "twice", "swapped", "spoilt", "spoilt", "a stranger"}).Draw(t, "how") {
		case "lost":
			if len(pkts) > 1 {
				pkts = append(pkts[:i:i], pkts[i+1:]...)
			}
		case "twice":
			pkts = append(pkts[:i+1:i+1], append([]Packet{clone(&pkts[i])}, pkts[i+1:]...)...)
		case "swapped":
			j := rapid.IntRange(0, len(pkts)-1).Draw(t, "with")
			pkts[i], pkts[j] = pkts[j], pkts[i]
		case "spoilt":
			spoil(t, pkts)
		case "a stranger":
			s := drawShape(t)
			s.payload = s.payload[:min(len(s.payload), 1400)]
			pkts = append(pkts, s.build(s.payload, s.id, s.seq, s.flags))
		}
	}
	return pkts
}

// joinIsItsTwin is the property; tests and the fuzzer hand it dice.
func joinIsItsTwin(t *rapid.T) {
	var pkts []Packet
	for range rapid.IntRange(1, 3).Draw(t, "flows") {
		pkts = append(pkts, drawFlow(t)...)
	}
	pkts = disturb(t, pkts)
	want := slowJoin(pkts)
	c := Coalescer{UDP: true}
	var got []Packet
	if rapid.Bool().Draw(t, "in one memory") {
		ahead := rapid.Bool().Draw(t, "what is expected goes ahead")
		for _, p := range inOneMemory(pkts, rapid.IntRange(0, 50).Draw(t, "gap")) {
			if !ahead || !goesAhead(&c, p) {
				c.Add(p)
			}
		}
		got = c.Take()
	} else {
		got = c.Join(pkts)
	}
	for _, list := range [][]Packet{want, got} { // a hint of how long the headers are comes from whoever wrote it
		for i := range list {
			if h, ok := slowHeaders(list[i].Frame); ok && list[i].Offload.Segmented() {
				list[i].Offload.HdrLen = uint16(h.payload)
			}
		}
	}
	if diff := cmp.Diff(want, got, sameButZero()); diff != "" {
		t.Fatalf("(-twin +got):\n%s", diff)
	}
}

// goesAhead puts the payload of a packet where it belongs if it is expected there.
func goesAhead(c *Coalescer, p Packet) bool {
	grown, headers, payload := c.Open()
	if grown == nil || len(p.Frame) != headers+payload || !Behind(grown, p.Frame) {
		return false
	}
	var marks [OffloadLen]byte
	p.Offload.Put(marks[:])
	if !c.Expects(marks[:], p.Frame[:headers], payload, p.Hops) {
		return false
	}
	copy(grown[len(grown):cap(grown)], p.Frame[headers:])
	c.GrowExpected()
	return true
}

// TestWhatIsExpected: of a super-frame's pieces all between the first and the last, whatever its headers.
func TestWhatIsExpected(t *testing.T) {
	for _, s := range []shape{{tcpOpts: 12}, {}, {v6: true, tcpOpts: 12}, {tags: []uint16{TypeVLAN}}, {udp: true}, {udp: true, v6: true}, {options: 4}, {id: 65_530, seq: 1<<32 - 3000}} {
		s.payload, s.gso = make([]byte, 10_100), 1000
		c, n := Coalescer{UDP: true}, 0
		for _, p := range inOneMemory(s.pieces(0), 20) {
			if goesAhead(&c, p) {
				n++
			} else {
				c.Add(p)
			}
		}
		if n != 9 || len(c.Take()) != 1 {
			t.Errorf("%+v: %d of 11 pieces were expected, want 9", s, n)
		}
	}
}

// TestNothingElseIsExpected: not with any bit of its headers or marks another, nor its length or hops.
func TestNothingElseIsExpected(t *testing.T) {
	for _, s := range []shape{{tcpOpts: 12}, {}, {v6: true, tcpOpts: 4}, {tags: []uint16{TypeVLAN}}, {udp: true}, {udp: true, v6: true}, {options: 4, tcpOpts: 20}} {
		s.payload, s.gso = make([]byte, 10_000), 1000
		pieces, c := s.pieces(0), Coalescer{UDP: true}
		c.Add(pieces[0])
		var marks [OffloadLen]byte
		next, header := pieces[1], s.headerLen()
		next.Offload.Put(marks[:])
		expects := func() bool { return c.Expects(marks[:], next.Frame[:header], 1000, next.Hops) }
		if !expects() {
			t.Errorf("%+v: its second piece is not expected", s)
		}
		for _, part := range [][]byte{marks[:], next.Frame[:header]} {
			for i := range 8 * len(part) {
				if part[i/8] ^= 1 << (i % 8); expects() {
					t.Errorf("%+v: expected with bit %d of %d other", s, i, 8*len(part))
				}
				part[i/8] ^= 1 << (i % 8)
			}
		}
		if c.Expects(marks[:], next.Frame[:header], 999, next.Hops) || c.Expects(marks[:], next.Frame[:header-4], 1000, next.Hops) ||
			c.Expects(marks[:], next.Frame[:header], 1000, next.Hops+1) {
			t.Errorf("%+v: expected with another length or other hops", s)
		}
	}
}

// sameButZero compares frames, and takes the two zeros of ones' complement in an unfinished TCP checksum for one: whoever
// finishes it gets the same.
func sameButZero() cmp.Option {
	return cmp.Comparer(func(a, b Frame) bool {
		h, ok := slowHeaders(a)
		if !ok || len(a) != len(b) || bytes.Equal(a, b) {
			return bytes.Equal(a, b)
		}
		at := h.check
		one := func(f Frame) uint16 { return binary.BigEndian.Uint16(f[at:]) % 0xffff }
		return bytes.Equal(a[:at], b[:at]) && bytes.Equal(a[at+2:], b[at+2:]) && one(a) == one(b)
	})
}

func TestJoinIsItsSlowTwin(t *testing.T) { rapid.Check(t, joinIsItsTwin) }

func FuzzJoinIsItsSlowTwin(f *testing.F) { f.Fuzz(rapid.MakeFuzz(joinIsItsTwin)) }
