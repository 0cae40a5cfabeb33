package ether

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// syn is a TCP segment with options, over IPv4 or IPv6, and a complete checksum that is off by wrong.
func syn(v6 bool, tags int, flags byte, options []byte, wrong uint16) Packet {
	for len(options)%4 != 0 {
		options = append(options, optionNone)
	}
	f := make(Frame, 12)
	for range tags {
		f = append(f, 0x81, 0x00, 0, 7)
	}
	var pseudo uint32
	size := tcpHeaderLen + len(options)
	if v6 {
		ip := make([]byte, 40)
		ip[0], ip[6] = 0x60, protoTCP
		binary.BigEndian.PutUint16(ip[4:], uint16(size))
		ip[8], ip[24] = 0xfd, 0xfd
		f = append(append(f, 0x86, 0xdd), ip...)
		pseudo = wordSum(ip[8:40])
	} else {
		ip := make([]byte, 20)
		ip[0], ip[9] = 0x45, protoTCP
		binary.BigEndian.PutUint16(ip[2:], uint16(20+size))
		copy(ip[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
		f = append(append(f, 0x08, 0x00), ip...)
		pseudo = wordSum(ip[12:20])
	}
	l4 := len(f)
	tcp := make([]byte, tcpHeaderLen)
	tcp[1], tcp[3], tcp[12], tcp[13] = 80, 81, byte(size/4)<<4, flags
	f = append(append(f, tcp...), options...)
	binary.BigEndian.PutUint16(f[l4+16:], ^foldSum(pseudo+protoTCP32+uint32(size)+wordSum(f[l4:]))+wrong)
	return Packet{Frame: f}
}

const protoTCP32 = uint32(protoTCP)

func wordSum(b []byte) (sum uint32) {
	for i, c := range b {
		if i%2 == 0 {
			sum += uint32(c) << 8
		} else {
			sum += uint32(c)
		}
	}
	return sum
}

func foldSum(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// right says by how much the checksum is off, over whole words from the start.
func right(v6 bool, p Packet) uint16 {
	h, _ := p.Frame.headers()
	tcp := p.Frame[h.l4:]
	pseudo := protoTCP32 + uint32(len(tcp))
	if v6 {
		pseudo += wordSum(p.Frame[h.l3+8 : h.l3+40])
	} else {
		pseudo += wordSum(p.Frame[h.l3+12 : h.l3+20])
	}
	return ^foldSum(pseudo + wordSum(tcp))
}

func TestClampMSS(t *testing.T) {
	mss := func(n uint16) []byte { return []byte{2, 4, byte(n >> 8), byte(n)} }
	usual := append(append(mss(1460), 4, 2, 8, 10), make([]byte, 8)...)
	for _, row := range []struct {
		name    string
		flags   byte
		options []byte
		most    uint16
		want    uint16 // what it says then; 0: nothing was changed
	}{
		{"a SYN", tcpSYN, usual, 1382, 1382},
		{"its answer", tcpSYN | tcpACK, usual, 1382, 1382},
		{"no SYN", tcpACK, usual, 1382, 0},
		{"small enough", tcpSYN, mss(1300), 1382, 0},
		{"just so", tcpSYN, mss(1382), 1382, 0},
		{"jumbo", tcpSYN, mss(8960), 1382, 1382},
		{"behind others", tcpSYN, append([]byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, mss(1460)...), 1382, 1382},
		{"at an odd place", tcpSYN, append([]byte{1}, mss(1460)...), 1382, 1382},
		{"at another", tcpSYN, append([]byte{3, 3, 7, 1, 1}, mss(9000)...), 1400, 1400},
		{"no options", tcpSYN, nil, 1382, 0},
		{"behind the end", tcpSYN, append([]byte{0}, mss(1460)...), 1382, 0},
		{"of no length", tcpSYN, append([]byte{9, 0}, mss(1460)...), 1382, 0},
		{"of length 1", tcpSYN, append([]byte{9, 1}, mss(1460)...), 1382, 0},
		{"longer than the header", tcpSYN, append([]byte{9, 40}, mss(1460)...), 1382, 0},
		{"of the wrong length", tcpSYN, []byte{2, 3, 5, 1}, 1382, 0},
		{"cut short", tcpSYN, []byte{1, 1, 1, 2}, 1382, 0},
	} {
		for _, v6 := range []bool{false, true} {
			for tags := range 3 {
				for _, wrong := range []uint16{0, 1, 0x1234} {
					p := syn(v6, tags, row.flags, bytes.Clone(row.options), wrong)
					before, off := bytes.Clone(p.Frame), right(v6, p)
					changed := p.ClampMSS(row.most)
					if changed != (row.want != 0) || !changed && !bytes.Equal(p.Frame, before) {
						t.Fatalf("%s: changed: %v", row.name, changed)
					}
					if after := right(v6, p); after != off && after^off != 0xffff { // 0 and 0xffff are the same sum
						t.Errorf("%s, IPv6 %v, %d tags: the checksum was off by %#x, now by %#x", row.name, v6, tags, off, after)
					}
					if at := bytes.Index(p.Frame, []byte{2, 4, byte(row.want >> 8), byte(row.want)}); changed && at < 0 {
						t.Errorf("%s: % x", row.name, p.Frame)
					}
					partial := Packet{Frame: before, Offload: Offload{Flags: NeedsChecksum}}
					h, _ := partial.Frame.headers()
					sum := binary.BigEndian.Uint16(before[h.l4+16:])
					if partial.ClampMSS(row.most); binary.BigEndian.Uint16(before[h.l4+16:]) != sum {
						t.Errorf("%s: a partial checksum was changed", row.name)
					}
				}
			}
		}
	}
}

func FuzzClampMSS(f *testing.F) {
	f.Add([]byte(syn(false, 0, tcpSYN, []byte{2, 4, 5, 180}, 0).Frame), uint16(1382))
	f.Add([]byte(syn(true, 1, tcpSYN, []byte{1, 2, 4, 5, 180}, 0).Frame), uint16(536))
	f.Fuzz(func(t *testing.T, raw []byte, most uint16) {
		p := Packet{Frame: bytes.Clone(raw)}
		if changed := p.ClampMSS(most); changed && p.ClampMSS(most) {
			t.Error("twice changes more than once")
		}
		if len(p.Frame) != len(raw) {
			t.Error("another length")
		}
	})
}
