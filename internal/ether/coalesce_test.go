package ether

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawJoinable makes a super-frame whose pieces may be joined again.
func drawJoinable(t *rapid.T) shape {
	s := drawShape(t)
	s.flags &= joinFlags
	s.hops = 0
	return s
}

// inOneMemory lays packets one behind the other, as a receiver has them.
func inOneMemory(pkts []Packet, gap int) []Packet {
	var memory []byte
	for i := range pkts {
		memory = append(append(memory, pkts[i].Frame...), make([]byte, gap)...)
	}
	var out []Packet
	for _, p := range pkts {
		n := len(p.Frame)
		p.Frame, memory = memory[:n], memory[n+gap:]
		out = append(out, p)
	}
	return out
}

func TestJoinUndoesSegment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawJoinable(t)
		s.payload = append(s.payload, make([]byte, s.gso+1)...) // two pieces or more, and no more than are joined
		s.payload = s.payload[:min(len(s.payload), maxJoined*s.gso)]
		p := s.super()
		c := Coalescer{UDP: true}
		got := c.Join(cutAll(t, &p, 0))
		if diff := cmp.Diff([]Packet{p}, got, wholeFrames()); diff != "" {
			t.Fatalf("(-super-frame +joined):\n%s", diff)
		}
	})
}

// spoil changes something in one of the packets.
func spoil(t *rapid.T, pkts []Packet) {
	p := &pkts[rapid.IntRange(0, len(pkts)-1).Draw(t, "which")]
	switch rapid.IntRange(0, 4).Draw(t, "how") {
	case 0:
		p.Frame[rapid.IntRange(0, min(len(p.Frame), 80)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	case 1:
		p.Hops++
	case 2:
		p.Frame = append(p.Frame, 0)
	case 3:
		_ = Complete(p)
	case 4:
		q := &pkts[rapid.IntRange(0, len(pkts)-1).Draw(t, "other")]
		*p, *q = *q, *p
	}
}

// TestJoinLosesNothing says what Join promises: whatever it is given, cutting its answer gives the same frames.
func TestJoinLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var pkts []Packet
		for range rapid.IntRange(1, 3).Draw(t, "super-frames") {
			s := drawJoinable(t)
			s.payload = s.payload[:min(len(s.payload), 6*s.gso)]
			p := s.super()
			pkts = append(pkts, cutAll(t, &p, 0)...)
		}
		for range rapid.IntRange(0, 3).Draw(t, "spoils") {
			spoil(t, pkts)
		}
		var want, got []Packet
		for i := range pkts {
			want = append(want, plain(pkts[i]))
		}
		c := Coalescer{UDP: true}
		joined := c.Join(pkts)
		for i := range joined {
			if !joined[i].Offload.Segmented() {
				got = append(got, plain(joined[i]))
				continue
			}
			if err := joined[i].Check(); err != nil {
				t.Fatalf("joined packet %d does not pass Check: %v", i, err)
			}
			for _, piece := range cutAll(t, &joined[i], 0) {
				got = append(got, plain(piece))
			}
		}
		if diff := cmp.Diff(want, got, wholeFrames()); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

// plain is a copy without the hint of how long the headers are.
func plain(p Packet) Packet {
	p.Frame = bytes.Clone(p.Frame)
	p.Offload.HdrLen = 0
	return p
}

func TestJoinStopsAtTheLongestPacket(t *testing.T) {
	s := shape{payload: make([]byte, 1400), gso: 1400}
	var pkts []Packet
	for i := range 100 {
		pkts = append(pkts, s.build(s.payload, i, uint32(i*1400), tcpACK))
	}
	c := Coalescer{UDP: true}
	got := c.Join(pkts)
	if len(got) != 3 || got[0].Frames() != 46 || got[1].Frames() != 46 || got[2].Frames() != 8 {
		t.Fatalf("%d packets, the first of %d frames", len(got), got[0].Frames())
	}
}

func TestJoinTakesAsManyDatagramsAsAnyKernel(t *testing.T) {
	s := shape{udp: true, payload: make([]byte, 18), gso: 18}
	var pkts []Packet
	for i := range 2*maxJoined + 1 {
		pkts = append(pkts, s.build(s.payload, i, 0, 0))
	}
	c := Coalescer{UDP: true}
	got := c.Join(pkts)
	if len(got) != 3 || got[0].Frames() != maxJoined || got[1].Frames() != maxJoined || got[2].Offload.Segmented() {
		t.Fatalf("%d packets, the first of %d frames", len(got), got[0].Frames())
	}
	if err := got[0].Check(); err != nil {
		t.Error(err)
	}
}

func TestDatagramsStayAloneWhereNobodyTakesThemAsOne(t *testing.T) {
	s := shape{udp: true, payload: make([]byte, 18), gso: 18}
	pkts := []Packet{s.build(s.payload, 0, 0, 0), s.build(s.payload, 1, 0, 0)}
	var c Coalescer
	if got := c.Join(pkts); len(got) != 2 {
		t.Fatalf("%d packets of 2", len(got))
	}
	c.UDP = true
	if got := c.Join(pkts); len(got) != 1 || got[0].Frames() != 2 {
		t.Fatalf("%d packets, wanted as one", len(got))
	}
}

func BenchmarkJoin(b *testing.B) {
	s := shape{payload: make([]byte, 60000), gso: 1400, tcpOpts: 12, flags: tcpACK}
	p := s.super()
	pkts := cutAll(b, &p, 0)
	c := Coalescer{UDP: true}
	b.ReportAllocs()
	b.SetBytes(int64(len(p.Frame)))
	for b.Loop() {
		if len(c.Join(pkts)) != 1 {
			b.Fatal("not joined")
		}
	}
}

func FuzzJoin(f *testing.F) {
	s := shape{payload: make([]byte, 200), gso: 100, flags: tcpACK}
	p := s.super()
	pieces := cutAll(f, &p, 0)
	f.Add([]byte(pieces[0].Frame), []byte(pieces[1].Frame), uint16(34), uint16(16))
	f.Fuzz(func(t *testing.T, a, b []byte, start, offset uint16) {
		o := Offload{Flags: NeedsChecksum, CsumStart: start, CsumOffset: offset}
		c := Coalescer{UDP: true}
		joined := c.Join([]Packet{{Frame: a, Offload: o}, {Frame: b, Offload: o}})
		if len(joined) == 2 {
			return
		}
		if err := joined[0].Check(); err != nil {
			t.Fatal(err)
		}
		for i, piece := range cutAll(t, &joined[0], 0) {
			if want := [][]byte{a, b}[i]; !bytes.Equal(piece.Frame, want) {
				t.Fatalf("piece %d: %x, want %x", i, piece.Frame, want)
			}
		}
	})
}
