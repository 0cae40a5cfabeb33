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

// TestWhatAGroupIsJoinedWith: behind a super-frame of datagrams comes another, or a single one, that goes on where it ended; what does not
// follow stays what it was.
func TestWhatAGroupIsJoinedWith(t *testing.T) {
	group := func(n, tail, each, id int) Packet { // n datagrams, the last of which is shorter where there is a tail
		return shape{udp: true, id: id, gso: each, payload: make([]byte, n*each-(each-tail)%each)}.super()
	}
	marked := func(p Packet, kind uint8, size int) Packet {
		p.Offload.GSOType, p.Offload.GSOSize = kind, uint16(size)
		return p
	}
	for _, c := range []struct {
		what          string
		first, second Packet
		joined        bool
	}{
		{"as many again", group(4, 0, 100, 0), group(4, 0, 100, 4), true},
		{"fewer, the last of them short", group(4, 0, 100, 0), group(2, 30, 100, 4), true},
		{"a single one", group(4, 0, 100, 0), marked(group(1, 0, 100, 4), GSONone, 0), true},
		{"a group behind a single one", marked(group(1, 0, 100, 0), GSONone, 0), group(4, 0, 100, 1), true},
		{"as many as any kernel takes", group(32, 0, 100, 0), group(32, 0, 100, 32), true},
		{"more than that", group(33, 0, 100, 0), group(32, 0, 100, 33), false},
		{"behind a short one", group(4, 30, 100, 0), group(4, 0, 100, 4), false},
		{"others of another length", group(4, 0, 100, 0), group(4, 0, 50, 4), false},
		{"a longer one", group(4, 0, 100, 0), marked(group(1, 0, 101, 4), GSONone, 0), false},
		{"one that is marked as several", group(4, 0, 100, 0), marked(group(1, 0, 100, 4), GSOUDP, 100), false},
		{"behind one that is marked as several", marked(group(1, 0, 100, 0), GSOUDP, 100), group(4, 0, 100, 1), false},
		{"one with the marks of another protocol", group(4, 0, 100, 0), marked(group(4, 0, 100, 4), GSOTCPv4, 100), false},
		{"one that is not next", group(4, 0, 100, 0), group(4, 0, 100, 5), false},
	} {
		c1 := Coalescer{UDP: true}
		pkts := inOneMemory([]Packet{c.first, c.second}, 0)
		frames := c.first.Frames() + c.second.Frames()
		got := c1.Join(pkts)
		if (len(got) == 1) != c.joined {
			t.Errorf("%s: %d packets", c.what, len(got))
		}
		if c.joined && (got[0].Frames() != frames || got[0].Check() != nil) {
			t.Errorf("%s: %d frames of %d, %v", c.what, got[0].Frames(), frames, got[0].Check())
		}
	}
}

// TestNoSuperFrameGrows: a receiver counts what grows as one frame.
func TestNoSuperFrameGrows(t *testing.T) {
	s := shape{udp: true, gso: 10, payload: make([]byte, 40)}
	first := s.super()
	memory := append(make([]byte, 0, 1000), first.Frame...)
	s.id, s.payload = 4, s.payload[:20]
	second := s.super()
	c := Coalescer{UDP: true}
	first.Frame = memory
	c.Add(first)
	grown, headers, payload := c.Open()
	if grown == nil || payload != 10 {
		t.Fatalf("it is not open: pieces of %d bytes", payload)
	}
	f := append(Frame(grown[len(grown)-headers:len(grown)-headers:cap(grown)]), second.Frame...)
	var marks [OffloadLen]byte
	second.Offload.Put(marks[:])
	if c.Grow(marks[:], f, 0) {
		t.Error("a super-frame was taken for a piece")
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
