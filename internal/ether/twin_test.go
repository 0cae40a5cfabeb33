package ether

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// shape is a super-frame said in words, from which both the super-frame and its pieces are built the slow way.
type shape struct {
	tags    []uint16 // tag types, outermost first
	v6, udp bool
	options int  // bytes of IPv4 options, or of one IPv6 destination options header
	tcpOpts int  // bytes
	flags   byte // TCP
	id      int  // IPv4
	seq     uint32
	payload []byte
	gso     int
	hops    uint8
}

func drawShape(t *rapid.T) shape {
	s := shape{
		tags:    rapid.SliceOfN(rapid.SampledFrom([]uint16{TypeVLAN, TypeQinQ}), 0, 2).Draw(t, "tags"),
		v6:      rapid.Bool().Draw(t, "v6"),
		udp:     rapid.Bool().Draw(t, "udp"),
		options: 8 * rapid.IntRange(0, 4).Draw(t, "options"),
		tcpOpts: 4 * rapid.IntRange(0, 10).Draw(t, "tcp options"),
		flags:   rapid.Byte().Draw(t, "flags"),
		id:      rapid.IntRange(0, 65535).Draw(t, "id"),
		seq:     rapid.Uint32().Draw(t, "seq"),
		gso:     rapid.IntRange(1, 1500).Draw(t, "gso"),
		hops:    rapid.Byte().Draw(t, "hops"),
	}
	n := rapid.IntRange(0, min(20*s.gso, 60000)).Draw(t, "payload length")
	s.payload = make([]byte, n)
	for i := range s.payload {
		s.payload[i] = byte(i*7 + i>>8 + int(s.seq))
	}
	return s
}

func (s shape) headerLen() int {
	n := 14 + 4*len(s.tags) + s.options
	if s.v6 {
		n += 40
	} else {
		n += 20
	}
	if s.udp {
		return n + 8
	}
	return n + 20 + s.tcpOpts
}

// build writes one frame with the given share of the payload and a checksum that is partial.
func (s shape) build(payload []byte, id int, seq uint32, flags byte) Packet {
	be := binary.BigEndian
	f := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	for i, tag := range s.tags {
		f = be.AppendUint16(f, tag)
		f = be.AppendUint16(f, uint16(100+i))
	}
	proto := protoTCP
	l4 := make([]byte, 20+s.tcpOpts)
	be.PutUint16(l4[0:], 5001)
	be.PutUint16(l4[2:], 5002)
	if s.udp {
		proto, l4 = protoUDP, l4[:8]
		be.PutUint16(l4[4:], uint16(8+len(payload)))
	} else {
		be.PutUint32(l4[4:], seq)
		l4[12] = byte(len(l4)/4) << 4
		l4[13] = flags
		for i := 20; i < len(l4); i++ {
			l4[i] = byte(i)
		}
	}
	var pseudo uint64
	if s.v6 {
		f = s.appendIPv6(f, proto, len(l4)+len(payload))
		pseudo = slowSum(f[len(f)-s.options-32 : len(f)-s.options])
	} else {
		f = s.appendIPv4(f, proto, len(l4)+len(payload), id)
		pseudo = slowSum(f[len(f)-s.options-8 : len(f)-s.options])
	}
	pseudo += uint64(proto) + uint64(len(l4)+len(payload))
	o := Offload{Flags: NeedsChecksum, CsumStart: uint16(len(f)), CsumOffset: 16}
	if s.udp {
		o.CsumOffset = 6
	}
	be.PutUint16(l4[o.CsumOffset:], slowFold(pseudo))
	f = append(f, l4...)
	o.HdrLen = uint16(len(f))
	return Packet{Frame: append(f, payload...), Offload: o, Hops: s.hops}
}

func (s shape) appendIPv4(f []byte, proto uint8, length, id int) []byte {
	f = binary.BigEndian.AppendUint16(f, TypeIPv4)
	ip := make([]byte, 20+s.options)
	ip[0] = 0x40 | byte(len(ip)/4)
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+length))
	binary.BigEndian.PutUint16(ip[4:], uint16(id))
	ip[6] = 0x40
	ip[8], ip[9] = 64, proto
	copy(ip[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	for i := 20; i < len(ip); i++ {
		ip[i] = 1
	}
	binary.BigEndian.PutUint16(ip[10:], ^slowFold(slowSum(ip)))
	return append(f, ip...)
}

func (s shape) appendIPv6(f []byte, proto uint8, length int) []byte {
	f = binary.BigEndian.AppendUint16(f, TypeIPv6)
	ip := make([]byte, 40+s.options)
	ip[0] = 0x60
	binary.BigEndian.PutUint16(ip[4:], uint16(s.options+length))
	ip[6], ip[7] = proto, 64
	ip[8], ip[23], ip[24], ip[39] = 0xfd, 1, 0xfd, 2
	if s.options > 0 {
		ip[6] = 60
		ip[40], ip[41] = proto, byte(s.options/8-1)
	}
	return append(f, ip...)
}

// super returns the whole super-frame.
func (s shape) super() Packet {
	p := s.build(s.payload, s.id, s.seq, s.flags)
	p.Offload.GSOSize = uint16(s.gso)
	switch {
	case s.udp:
		p.Offload.GSOType = GSOUDP
	case s.v6:
		p.Offload.GSOType = GSOTCPv6
	default:
		p.Offload.GSOType = GSOTCPv4
	}
	if s.flags&tcpCWR != 0 && !s.udp {
		p.Offload.GSOType |= gsoECN
	}
	return p
}

// pieces is the slow twin of Segment: each frame is built from nothing.
func (s shape) pieces(maxFrame int) []Packet {
	size := s.gso
	if !s.udp && maxFrame > 0 {
		size = min(size, maxFrame-s.headerLen())
	}
	var out []Packet
	for at := 0; at < len(s.payload) || at == 0; at += size {
		end := min(at+size, len(s.payload))
		flags := s.flags
		if at > 0 {
			flags &^= 0x80
		}
		if end < len(s.payload) {
			flags &^= 0x09
		}
		out = append(out, s.build(s.payload[at:end], s.id+len(out), s.seq+uint32(at), flags))
	}
	return out
}

func slowSum(b []byte) uint64 {
	var sum uint64
	for i, v := range b {
		if i%2 == 0 {
			sum += uint64(v) << 8
		} else {
			sum += uint64(v)
		}
	}
	return sum
}

func slowFold(sum uint64) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// verify says whether the finished frame has correct checksums, as a receiver would.
func (s shape) verify(f Frame) error {
	l3 := 14 + 4*len(s.tags)
	l4, proto, addresses := l3+40+s.options, uint64(protoTCP), f[l3+8:]
	if s.v6 {
		addresses = addresses[:32]
	} else {
		l4, addresses = l3+20+s.options, f[l3+12:l3+20]
		if got := slowFold(slowSum(f[l3:l4])); got != 0xffff {
			return fmt.Errorf("IPv4 header sums to %#x", got)
		}
	}
	if s.udp {
		proto = uint64(protoUDP)
		if f[l4+6] == 0 && f[l4+7] == 0 {
			return fmt.Errorf("UDP checksum is 0, which means none")
		}
	}
	if got := slowFold(slowSum(addresses) + proto + uint64(len(f)-l4) + slowSum(f[l4:])); got != 0xffff {
		return fmt.Errorf("transport sums to %#x", got)
	}
	return nil
}

// wholeFrames compares frames at once; byte by byte takes seconds.
func wholeFrames() cmp.Option {
	return cmp.Comparer(func(a, b Frame) bool { return bytes.Equal(a, b) })
}
