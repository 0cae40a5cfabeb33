package ether

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCheckFindsLies(t *testing.T) {
	tcp := shape{payload: make([]byte, 5000), gso: 1000}
	rows := []struct {
		name string
		lie  func(p *Packet)
		want error
	}{
		{"the truth", func(*Packet) {}, nil},
		{"hdr_len", func(p *Packet) { p.Offload.HdrLen = 9 }, nil},
		{"length left to whoever cuts", func(p *Packet) { p.Frame[16], p.Frame[17] = 0, 0 }, nil},
		{"UFO", func(p *Packet) { p.Offload.GSOType = 3 }, errNotIP},
		{"wrong family", func(p *Packet) { p.Offload.GSOType = GSOTCPv6 }, errNotIP},
		{"wrong protocol", func(p *Packet) { p.Offload.GSOType = GSOUDP }, errNotIP},
		{"not IP", func(p *Packet) { p.Frame[12] = 0x88 }, errNotIP},
		{"fragment", func(p *Packet) { p.Frame[20] = 0x20 }, errNotIP},
		{"data offset behind the end", func(p *Packet) { p.Frame = p.Frame[:60]; p.Frame[46] = 0xf0 }, errNotIP},
		{"data offset too small", func(p *Packet) { p.Frame[46] = 0x40 }, errNotIP},
		{"no size", func(p *Packet) { p.Offload.GSOSize = 0 }, errGSOSize},
		{"IP length", func(p *Packet) { p.Frame[17]++ }, errLength},
		{"complete checksum", func(p *Packet) { p.Offload.Flags = 0 }, errGSOCsum},
		{"checksum elsewhere", func(p *Packet) { p.Offload.CsumStart += 2 }, errGSOCsum},
		{"no frame", func(p *Packet) { p.Frame = p.Frame[:13] }, errNotFrame},
		{"checksum outside", func(p *Packet) { p.Offload = Offload{Flags: 1, CsumStart: 5052, CsumOffset: 1} }, errChecksumRange},
		{"checksum over the addresses", func(p *Packet) { p.Offload = Offload{Flags: 1, CsumStart: 6} }, errChecksumRange},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := tcp.super()
			row.lie(&p)
			if err := p.Check(); err != row.want {
				t.Fatalf("got %v, want %v", err, row.want)
			}
			p.Frames()
			p.WireBytes()
		})
	}
}

func TestCheckClearsWhatNobodyMayVouchFor(t *testing.T) {
	p := Packet{Frame: make(Frame, 60), Offload: Offload{Flags: DataValid, HdrLen: 7, CsumStart: 3}}
	if err := p.Check(); err != nil || p.Offload != (Offload{}) {
		t.Fatalf("err %v, marks %+v", err, p.Offload)
	}
}

func TestHeadersBoundTheScratch(t *testing.T) {
	s := shape{v6: true, options: 240, payload: make([]byte, 5000), gso: 1000}
	p := s.super()
	if err := p.Check(); err != errHeader {
		t.Fatalf("got %v, want %v", err, errHeader)
	}
}

func TestSumIsItsSlowTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x7f, 0xfe, 0xff}), 0, 300).Draw(t, "b")
		if got, want := fold(sumBytes(0, b)), slowFold(slowSum(b)); got != want {
			t.Fatalf("got %#x, want %#x", got, want)
		}
	})
}

func TestUDPChecksumIsNeverZero(t *testing.T) {
	s := shape{udp: true, payload: []byte{0, 0}}
	p := s.build(s.payload, 0, 0, 0)
	start := int(p.Offload.CsumStart)
	sum := slowFold(slowSum(p.Frame[start:]))
	binary.BigEndian.PutUint16(p.Frame[len(p.Frame)-2:], ^sum) // now all sums to ffff
	if err := Complete(&p); err != nil {
		t.Fatal(err)
	}
	if got := binary.BigEndian.Uint16(p.Frame[start+6:]); got != 0xffff {
		t.Fatalf("got %#x, want 0xffff", got)
	}
}

func TestCompleteRefusesSuperFrames(t *testing.T) {
	p := shape{payload: make([]byte, 5000), gso: 1000}.super()
	if Complete(&p) == nil {
		t.Fatal("no error")
	}
}

func FuzzPacket(f *testing.F) {
	add := func(p Packet) {
		var marks [OffloadLen]byte
		p.Offload.Put(marks[:])
		f.Add(marks[:], []byte(p.Frame), 600)
	}
	for _, s := range []shape{
		{payload: make([]byte, 3000), gso: 1000},
		{payload: make([]byte, 3000), gso: 1000, v6: true, options: 16, tags: []uint16{TypeVLAN}},
		{payload: make([]byte, 3000), gso: 1000, udp: true, tags: []uint16{TypeQinQ, TypeVLAN}},
	} {
		add(s.super())
		add(s.build(s.payload[:100], 1, 2, 3))
	}
	f.Fuzz(func(t *testing.T, marks, frame []byte, maxFrame int) {
		o, err := ParseOffload(marks)
		if err != nil {
			return
		}
		var back [OffloadLen]byte
		if o.Put(back[:]); !bytes.Equal(back[:], marks[:OffloadLen]) {
			t.Fatalf("Put(Parse(%x)) = %x", marks, back)
		}
		p := Packet{Frame: bytes.Clone(frame), Offload: o}
		p.Frame.Bare()
		p.Frame.DHCP()
		p.Frames()
		p.WireBytes()
		checked := p.Check()
		var s Segmenter
		var joined []byte
		emit := func(piece *Packet) {
			c := clone(piece)
			if err := c.Check(); checked == nil && err != nil {
				t.Fatalf("a piece does not pass Check: %v", err)
			}
			if h, ok := c.Frame.headers(); ok && o.Segmented() {
				joined = append(joined, c.Frame[h.payload:]...)
			}
			if err := Complete(&c); checked == nil && err != nil {
				t.Fatalf("cannot complete a piece: %v", err)
			}
		}
		if err := s.Segment(&p, maxFrame, emit); err != nil || checked != nil || !o.Segmented() {
			return
		}
		if !bytes.HasSuffix(frame, joined) || len(frame)-len(joined) != int(p.Offload.HdrLen) {
			t.Fatal("the pieces do not add up to the payload")
		}
		if !bytes.Equal(p.Frame, frame) {
			t.Fatal("the super-frame was changed")
		}
	})
}

func TestOffloadText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), OffloadLen, OffloadLen).Draw(t, "b")
		o, err := ParseOffload(b)
		if err != nil {
			t.Fatal(err)
		}
		back := make([]byte, OffloadLen)
		o.Put(back)
		if diff := cmp.Diff(b, back); diff != "" {
			t.Fatal(diff)
		}
	})
}
