//go:build linux

package port

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// The kernel is the judge of how frames are cut: a super-frame that is sent into a TAP without offloads is cut and completed
// by Linux before it is read again. What we cut and complete, and what we joined before, must be the same bytes.

// drawn is a frame or a super-frame as dice make it.
type drawn struct {
	tags    []uint16
	v6, udp bool
	options int     // bytes of IPv4 options
	headers []uint8 // IPv6 extension headers in their order
	tos     byte    // with ECN
	df      bool    // IPv4
	flags   byte    // TCP
	tcp     int     // bytes of TCP options
	id      uint16  // IPv4
	seq     uint32  // TCP
	ports   uint32  // both
	payload []byte  //
	size    int     // of the pieces
	wrong   uint16  // added to the unfinished checksum: it must stay wrong by as much
}

func drawFrame(t *rapid.T) drawn {
	d := drawn{
		tags:    [][]uint16{nil, nil, {ether.TypeVLAN}, {ether.TypeQinQ, ether.TypeVLAN}}[rapid.IntRange(0, 3).Draw(t, "tags")],
		v6:      rapid.Bool().Draw(t, "v6"),
		udp:     rapid.IntRange(0, 3).Draw(t, "udp") == 0,
		options: 4 * rapid.IntRange(0, 10).Draw(t, "options"),
		headers: rapid.SliceOfNDistinct(rapid.SampledFrom([]uint8{0, 43, 60}), 0, 3, rapid.ID).Draw(t, "extension headers"),
		tos:     rapid.Byte().Draw(t, "tos"),
		df:      rapid.Bool().Draw(t, "df"),
		flags:   rapid.Byte().Draw(t, "flags"),
		tcp:     4 * rapid.IntRange(0, 10).Draw(t, "tcp options"),
		id:      rapid.Uint16().Draw(t, "id"),
		seq:     rapid.Uint32().Draw(t, "seq"),
		ports:   rapid.Uint32().Draw(t, "ports"),
		size:    rapid.IntRange(8, 1300).Draw(t, "size"),
	}
	slices.Sort(d.headers) // hop-by-hop only in front (RFC 8200 §4.1)
	if rapid.IntRange(0, 3).Draw(t, "wrong checksum") == 0 {
		d.wrong = rapid.Uint16().Draw(t, "wrong by")
	}
	d.payload = make([]byte, rapid.IntRange(1, min(40*d.size, 40000)).Draw(t, "payload"))
	fill(d.payload, d.seq)
	if d.udp && d.ports&0xffff == 67 || d.ports>>16 == 68 {
		d.ports++ // DHCP is completed at delivery
	}
	return d
}

// fill writes bytes that differ everywhere, and among them runs of ones and zeros, which ones' complement likes least.
func fill(b []byte, seed uint32) {
	x := seed | 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
		if x>>28 == 0 {
			b[i] = 0xff * byte(x>>27&1)
		}
	}
}

// packet is the super-frame, or the frame where one piece is enough.
func (d drawn) packet() ether.Packet {
	be := binary.BigEndian
	f := append(append([]byte{}, macB[:]...), macA[:]...)
	for i, tag := range d.tags {
		f = be.AppendUint16(be.AppendUint16(f, tag), uint16(0x6005+i))
	}
	l4 := d.transport()
	proto := byte(protoTCP)
	if d.udp {
		proto = protoUDP
	}
	length := len(l4) + len(d.payload)
	var addresses []byte
	if d.v6 {
		f, addresses = d.appendIPv6(f, proto, length)
	} else {
		f, addresses = d.appendIPv4(f, proto, length)
	}
	o := ether.Offload{Flags: ether.NeedsChecksum, CsumStart: uint16(len(f)), CsumOffset: 16}
	if d.udp {
		o.CsumOffset = 6
	}
	sum := sum16(addresses, []byte{0, proto, byte(length >> 8), byte(length)}, []byte{byte(d.wrong >> 8), byte(d.wrong)})
	be.PutUint16(l4[o.CsumOffset:], sum)
	f = append(f, l4...)
	o.HdrLen = uint16(len(f))
	p := ether.Packet{Frame: append(f, d.payload...), Offload: o}
	if len(d.payload) > d.size {
		p.Offload.GSOSize = uint16(d.size)
		p.Offload.GSOType = recipe{v6: d.v6, udp: d.udp}.gsoType()
		if d.flags&0x80 != 0 && !d.udp {
			p.Offload.GSOType |= 0x80 // VIRTIO_NET_HDR_GSO_ECN
		}
	}
	return p
}

func (d drawn) transport() []byte {
	be := binary.BigEndian
	l4 := make([]byte, 20+d.tcp)
	if d.udp {
		l4 = l4[:8]
		be.PutUint16(l4[4:], uint16(8+len(d.payload)))
	} else {
		be.PutUint32(l4[4:], d.seq)
		be.PutUint32(l4[8:], ^d.seq)
		l4[12], l4[13] = byte(len(l4)/4)<<4, d.flags
		be.PutUint16(l4[14:], uint16(d.ports))
		be.PutUint16(l4[18:], uint16(d.seq))
		fill(l4[20:], d.ports)
	}
	be.PutUint32(l4, d.ports)
	return l4
}

func (d drawn) appendIPv4(f []byte, proto byte, length int) (frame, addresses []byte) {
	be := binary.BigEndian
	f = be.AppendUint16(f, ether.TypeIPv4)
	ip := make([]byte, 20+d.options)
	ip[0], ip[1], ip[8], ip[9] = byte(0x40|len(ip)/4), d.tos, 61, proto
	be.PutUint16(ip[2:], uint16(len(ip)+length))
	be.PutUint16(ip[4:], d.id)
	if d.df {
		ip[6] = 0x40
	}
	copy(ip[12:], []byte{10, 9, 0, 1, 10, 9, 0, 2})
	for i := 20; i < len(ip); i++ {
		ip[i] = 1 // no operation
	}
	be.PutUint16(ip[10:], ^sum16(ip))
	return append(f, ip...), ip[12:20]
}

func (d drawn) appendIPv6(f []byte, proto byte, length int) (frame, addresses []byte) {
	be := binary.BigEndian
	f = be.AppendUint16(f, ether.TypeIPv6)
	ip := make([]byte, 40)
	be.PutUint32(ip, 6<<28|uint32(d.tos)<<20|d.seq&0xfffff)
	ip[6], ip[7] = proto, 61
	ip[8], ip[23], ip[24], ip[39] = 0xfd, 1, 0xfd, 2
	next := &ip[6]
	for i, kind := range d.headers {
		*next = kind
		header := make([]byte, 8*(1+i))
		header[0], header[1] = proto, byte(i)
		if kind == 43 {
			header[2], header[3] = 253, 0 // an experimental type with no segment left: ignored (RFC 8200 §4.4)
		} else {
			header[2], header[3] = 1, byte(len(header)-4) // PadN
		}
		ip = append(ip, header...)
		next = &ip[len(ip)-len(header)]
	}
	be.PutUint16(ip[4:], uint16(len(ip)-40+length))
	return append(f, ip...), ip[8:40]
}

// knife is a TAP without offloads, and an AF_PACKET port that sends into it.
type knife struct{ tap, lan Port }

func newKnife(tb testing.TB) knife {
	name := fmt.Sprintf("knife%d", os.Getpid()) // fuzzing workers are processes in one namespace
	tap := openTestTAP(tb, TAPConfig{Name: name, NoOffload: true, TxQueue: 2000})
	return knife{tap, openTestLAN(tb, name)}
}

// cut returns the frames that the kernel makes of packets, in order.
func (k knife) cut(t *rapid.T, pkts []ether.Packet, n int) [][]byte {
	for i := range pkts { // past our own cutter, which would cut what the kernel refuses
		if err := k.lan.(*LAN).put(0, &pkts[i]); err != nil {
			t.Fatalf("the kernel does not take %+v: %v", pkts[i].Offload, err)
		}
	}
	alarm := time.AfterFunc(patience, func() { _ = k.tap.Close() })
	defer alarm.Stop()
	var frames [][]byte
	for b := NewBatch(64); len(frames) < n; {
		if err := k.tap.Read(0, b); err != nil {
			t.Fatalf("after %d frames of %d: %v", len(frames), n, err)
		}
		for i := range b.Packets {
			p := &b.Packets[i]
			if p.Frame.Src() != macA {
				continue // the kernel's own chatter
			}
			if p.Offload.Partial() || p.Offload.Segmented() {
				t.Fatalf("the kernel left something undone: %+v", p.Offload)
			}
			frames = append(frames, bytes.Clone(p.Frame))
		}
	}
	return frames
}

// ours returns the frames that we make of a packet.
func ours(t *rapid.T, p ether.Packet, maxFrame int) (frames [][]byte, pieces []ether.Packet) {
	var s ether.Segmenter
	err := s.Segment(&p, maxFrame, func(piece *ether.Packet) {
		pieces = append(pieces, clonePacket(piece))
		c := clonePacket(piece)
		if err := ether.Complete(&c); err != nil {
			t.Fatal(err)
		}
		frames = append(frames, c.Frame)
	})
	if err != nil {
		t.Fatal(err)
	}
	return frames, pieces
}

// kernelCutsAlike is the property; tests and the fuzzer hand it dice.
func (k knife) kernelCutsAlike(t *rapid.T) {
	d := drawFrame(t)
	whole := d.packet()
	p := clonePacket(&whole)
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	maxFrame := 0
	if !d.udp && p.Offload.Segmented() && rapid.Bool().Draw(t, "finer than the sender said") {
		finer := rapid.IntRange(1, d.size).Draw(t, "size")
		maxFrame = int(p.Offload.HdrLen) + finer
		whole.Offload.GSOSize = uint16(finer)
	}
	if len(d.payload) > 64*int(max(whole.Offload.GSOSize, 1)) && p.Offload.Segmented() {
		return // more pieces than a datagram socket may ask for, and than the TAP's queue should hold
	}
	want, pieces := ours(t, p, maxFrame)
	alike(t, "cut", want, k.cut(t, []ether.Packet{whole}, len(want)))
	c := ether.Coalescer{UDP: true}
	for _, p := range pieces {
		c.Add(p)
	}
	joined := slices.Clone(c.Take())
	alike(t, "joined and cut", want, k.cut(t, joined, len(want)))
}

// alike compares frames. A TCP checksum that comes out as zero is left so by Linux's segmenter and is ones where the
// kernel, or we, complete a single frame: receivers take both.
func alike(t *rapid.T, what string, want, got [][]byte) {
	if len(want) != len(got) {
		t.Fatalf("%s: we make %d frames, the kernel %d", what, len(want), len(got))
	}
	for i := range want {
		if bytes.Equal(want[i], got[i]) || bytes.Equal(oneZero(want[i]), oneZero(got[i])) {
			continue
		}
		at := 0
		for at < min(len(want[i]), len(got[i])) && want[i][at] == got[i][at] {
			at++
		}
		t.Fatalf("%s: frame %d of %d differs at byte %d:\nours   %x\nkernel %x", what, i, len(want), at, want[i], got[i])
	}
}

// oneZero is the frame with a TCP checksum of zero written as ones.
func oneZero(f []byte) []byte {
	at, ok := tcpChecksumAt(f)
	if !ok || f[at] != 0 || f[at+1] != 0 {
		return f
	}
	f = bytes.Clone(f)
	f[at], f[at+1] = 0xff, 0xff
	return f
}

func tcpChecksumAt(f []byte) (at int, ok bool) {
	l3 := ether.Frame(f).L3()
	at, next := l3+4*int(f[l3]&15), f[l3+9]
	if f[l3]>>4 == 6 {
		at, next = l3+40, f[l3+6]
		for next == 0 || next == 43 || next == 60 {
			next, at = f[at], at+8*(1+int(f[at+1]))
		}
	}
	return at + 16, next == protoTCP
}

// TestKernelCutsAlike is the short form of FuzzKernelCutsAlike.
func TestKernelCutsAlike(t *testing.T) {
	k := newKnife(t)
	t.Run("recipes", func(t *testing.T) {
		for name, r := range recipes {
			t.Run(name, func(t *testing.T) {
				want := finished(r.packet())
				send(t, k.lan, r.packet())
				same(t, want, expect(t, k.tap, len(want)))
			})
		}
	})
	t.Run("drawn", func(t *testing.T) { rapid.Check(t, k.kernelCutsAlike) })
}

func FuzzKernelCutsAlike(f *testing.F) {
	k := newKnife(f)
	f.Fuzz(rapid.MakeFuzz(k.kernelCutsAlike))
}
