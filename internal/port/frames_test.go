package port

import (
	"bytes"
	"encoding/binary"

	"github.com/google/go-cmp/cmp"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

var (
	macA = ether.MAC{2, 0xaa, 0, 0, 0, 1}
	macB = ether.MAC{2, 0xaa, 0, 0, 0, 2}
)

// recipe says which frame to make.
type recipe struct {
	tags    []uint16
	v6, udp bool
	dstPort uint16
	payload int
	gso     uint16 // 0 = no super-frame
	partial bool   // leave the checksum unfinished
}

// packet makes a frame from macA to macB. The kernel does not look at who it is for: nobody.
func (r recipe) packet() ether.Packet {
	be := binary.BigEndian
	f := append(append([]byte{}, macB[:]...), macA[:]...)
	for i, tag := range r.tags {
		f = be.AppendUint16(be.AppendUint16(f, tag), uint16(7+i))
	}
	l4 := make([]byte, 20)
	proto := byte(protoTCP)
	if r.udp {
		proto, l4 = protoUDP, l4[:8]
		be.PutUint16(l4[4:], uint16(8+r.payload))
	} else {
		be.PutUint32(l4[4:], 0xfffffff0)
		l4[12], l4[13] = 5<<4, 0x18
	}
	be.PutUint16(l4[0:], 999)
	be.PutUint16(l4[2:], r.dstPort)
	length := len(l4) + r.payload
	var addresses []byte
	if r.v6 {
		f = be.AppendUint16(f, ether.TypeIPv6)
		ip := make([]byte, 40)
		ip[0], ip[6], ip[7] = 0x60, proto, 64
		be.PutUint16(ip[4:], uint16(length))
		ip[8], ip[23], ip[24], ip[39] = 0xfd, 1, 0xfd, 2
		f, addresses = append(f, ip...), ip[8:]
	} else {
		f = be.AppendUint16(f, ether.TypeIPv4)
		ip := make([]byte, 20)
		ip[0], ip[8], ip[9] = 0x45, 64, proto
		be.PutUint16(ip[2:], uint16(20+length))
		be.PutUint16(ip[4:], 0xfffe)
		copy(ip[12:], []byte{10, 9, 0, 1, 10, 9, 0, 2})
		be.PutUint16(ip[10:], ^sum16(ip))
		f, addresses = append(f, ip...), ip[12:]
	}
	o := ether.Offload{Flags: ether.NeedsChecksum, CsumStart: uint16(len(f)), CsumOffset: 16}
	if r.udp {
		o.CsumOffset = 6
	}
	be.PutUint16(l4[o.CsumOffset:], sum16(addresses, []byte{0, proto, byte(length >> 8), byte(length)}))
	f = append(f, l4...)
	o.HdrLen = uint16(len(f))
	for i := range r.payload {
		f = append(f, byte(i*3+i>>8))
	}
	p := ether.Packet{Frame: f, Offload: o}
	if r.gso > 0 {
		p.Offload.GSOSize, p.Offload.GSOType = r.gso, r.gsoType()
	} else if !r.partial {
		if err := ether.Complete(&p); err != nil {
			panic(err)
		}
	}
	return p
}

func (r recipe) gsoType() uint8 {
	switch {
	case r.udp:
		return ether.GSOUDP
	case r.v6:
		return ether.GSOTCPv6
	}
	return ether.GSOTCPv4
}

// sum16 is the ones' complement sum of RFC 1071; every part but the last has an even length.
func sum16(parts ...[]byte) uint16 {
	var sum uint32
	for i, v := range bytes.Join(parts, nil) {
		sum += uint32(v) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func clonePacket(p *ether.Packet) ether.Packet {
	c := *p
	c.Frame = bytes.Clone(p.Frame)
	return c
}

// finished returns the frames a packet stands for, with complete checksums.
func finished(p ether.Packet) []ether.Packet {
	var s ether.Segmenter
	var out []ether.Packet
	err := s.Segment(&p, 0, func(piece *ether.Packet) {
		c := clonePacket(piece)
		if err := ether.Complete(&c); err != nil {
			panic(err)
		}
		out = append(out, c)
	})
	if err != nil {
		panic(err)
	}
	return out
}

// wholeFrames compares frames at once; byte by byte takes seconds.
func wholeFrames() cmp.Option {
	return cmp.Comparer(func(a, b ether.Frame) bool { return bytes.Equal(a, b) })
}
