package ether

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// clone copies a packet whose bytes live only until emit returns.
func clone(p *Packet) Packet {
	c := *p
	c.Frame = bytes.Clone(p.Frame)
	return c
}

func cutAll(t interface{ Fatal(...any) }, p *Packet, maxFrame int) []Packet {
	var s Segmenter
	var got []Packet
	if err := s.Segment(p, maxFrame, func(piece *Packet) { got = append(got, clone(piece)) }); err != nil {
		t.Fatal(err)
	}
	return got
}

// cutApart is cutAll where the headers of pieces may lie apart from their payload. It looks at the headroom too.
func cutApart(t *rapid.T, s Segmenter, p *Packet, maxFrame int) (got []Packet) {
	s.Apart, s.Headroom = true, 14
	mark := byte(0)
	err := s.Segment(p, maxFrame, func(piece *Packet) {
		one := clone(piece)
		if parts := s.Parts(); parts.Lead != nil {
			headroom, last := parts.Lead[:14], len(got)-1
			one.Frame = slices.Concat(parts.Lead[14:], parts.Text[len(parts.Lead):])
			if parts.Again && (headroom[0] != mark || headroom[13] != mark || got[last].Offload != one.Offload || len(got[last].Frame) != len(one.Frame)) {
				t.Fatalf("piece %d is not like the one before it", len(got))
			}
			if !parts.Again {
				mark++
				headroom[0], headroom[13] = mark, mark
			}
		}
		got = append(got, one)
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// segmentIsItsTwin is the property; tests and the fuzzer hand it dice.
func segmentIsItsTwin(t *rapid.T) {
	shape := drawShape(t)
	p := shape.super()
	p.Offload.HdrLen = rapid.Uint16().Draw(t, "lying hdr_len")
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	if int(p.Offload.HdrLen) != shape.headerLen() {
		t.Fatalf("HdrLen %d, want %d", p.Offload.HdrLen, shape.headerLen())
	}
	maxFrame := 0
	if rapid.Bool().Draw(t, "limited") {
		maxFrame = shape.headerLen() + rapid.IntRange(1, 2000).Draw(t, "room")
	}
	before := clone(&p)
	got := cutAll(t, &p, maxFrame)
	if diff := cmp.Diff(shape.pieces(maxFrame), got, wholeFrames()); diff != "" {
		t.Fatalf("pieces differ (-twin +got):\n%s", diff)
	}
	if diff := cmp.Diff(got, cutApart(t, Segmenter{}, &p, maxFrame), wholeFrames()); diff != "" {
		t.Fatalf("pieces apart differ (-together +apart):\n%s", diff)
	}
	if diff := cmp.Diff(before, p, wholeFrames()); diff != "" {
		t.Fatalf("the super-frame was changed:\n%s", diff)
	}
	if maxFrame == 0 {
		checkCounts(t, &p, got)
	}
	for i := range got {
		if err := Complete(&got[i]); err != nil {
			t.Fatal(err)
		}
		if err := shape.verify(got[i].Frame); err != nil {
			t.Fatalf("piece %d: %v", i, err)
		}
	}
}

func TestSegmentIsItsSlowTwin(t *testing.T) { rapid.Check(t, segmentIsItsTwin) }

func FuzzSegmentIsItsSlowTwin(f *testing.F) { f.Fuzz(rapid.MakeFuzz(segmentIsItsTwin)) }

// groupsAreItsTwin is the property of pieces that are groups of datagrams: cut again, they are what single ones are.
func groupsAreItsTwin(t *rapid.T) {
	shape := drawShape(t)
	shape.udp = true
	p := shape.super()
	room := rapid.IntRange(1, 2000).Draw(t, "room")
	s := Segmenter{Groups: true, Headroom: 14}
	before := clone(&p)
	var groups, got []Packet
	if err := s.Segment(&p, shape.headerLen()+room, func(piece *Packet) { groups = append(groups, clone(piece)) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(groups, cutApart(t, Segmenter{Groups: true}, &p, shape.headerLen()+room), wholeFrames()); diff != "" {
		t.Fatalf("groups apart differ (-together +apart):\n%s", diff)
	}
	if diff := cmp.Diff(before, p, wholeFrames()); diff != "" {
		t.Fatalf("the super-frame was changed:\n%s", diff)
	}
	for i := range groups {
		if payload := len(groups[i].Frame) - shape.headerLen(); payload > room && payload > shape.gso {
			t.Fatalf("group %d has %d bytes of payload, more than %d", i, payload, room)
		}
		if err := groups[i].Check(); err != nil {
			t.Fatalf("group %d: %v", i, err)
		}
		got = append(got, cutAll(t, &groups[i], 0)...)
	}
	if diff := cmp.Diff(shape.pieces(0), got, sameButZero()); diff != "" {
		t.Fatalf("datagrams differ (-twin +got):\n%s", diff)
	}
	most := max(1, room/shape.gso)
	if least := max(1, (len(got)+most-1)/most); len(groups) != least {
		t.Fatalf("%d groups of %d datagrams, where %d would do", len(groups), len(got), least)
	}
}

func TestGroupsAreTheirSlowTwin(t *testing.T) { rapid.Check(t, groupsAreItsTwin) }

func FuzzGroupsAreTheirSlowTwin(f *testing.F) { f.Fuzz(rapid.MakeFuzz(groupsAreItsTwin)) }

func checkCounts(t *rapid.T, p *Packet, pieces []Packet) {
	wire, longest := 0, 0
	for _, piece := range pieces {
		wire += len(piece.Frame)
		longest = max(longest, len(piece.Frame))
	}
	if p.Frames() != len(pieces) || p.WireBytes() != wire || p.PieceLen() != longest {
		t.Fatalf("Frames %d, WireBytes %d, PieceLen %d; cut: %d, %d and %d", p.Frames(), p.WireBytes(), p.PieceLen(), len(pieces), wire, longest)
	}
}

func TestSegmentPassesWhatIsNoSuperFrame(t *testing.T) {
	for name, frame := range map[string]Frame{
		"arp":   append(make(Frame, 12), 0x08, 0x06, 0, 1),
		"short": {1, 2, 3},
		"empty": {},
	} {
		p := Packet{Frame: frame, Hops: 3}
		got := cutAll(t, &p, 5)
		if diff := cmp.Diff([]Packet{{Frame: bytes.Clone(frame), Hops: 3}}, got, wholeFrames()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestSegmentNeedsRoomForPayload(t *testing.T) {
	shape := shape{payload: make([]byte, 100), gso: 10}
	p := shape.super()
	var s Segmenter
	if err := s.Segment(&p, shape.headerLen(), func(*Packet) { t.Fatal("a piece") }); err == nil {
		t.Fatal("no error although the headers fill the frame")
	}
}

// TestPiecesComeApart: only the first lies where its headers are, and all in the middle are alike.
func TestPiecesComeApart(t *testing.T) {
	shape := shape{payload: make([]byte, 10_000), gso: 1400, tcpOpts: 12}
	p := shape.super()
	s, apart, again := Segmenter{Apart: true}, 0, 0
	emit := func(*Packet) {
		if s.Parts().Lead != nil {
			apart++
		}
		if s.Parts().Again {
			again++
		}
	}
	if err := s.Segment(&p, 1400, emit); err != nil {
		t.Fatal(err)
	}
	if n := len(shape.pieces(1400)); n < 5 || apart != n-1 || again != n-3 {
		t.Errorf("of %d pieces %d came apart, %d again", n, apart, again)
	}
}

func TestSegmentDoesNotAllocate(t *testing.T) {
	shape := shape{payload: make([]byte, 60000), gso: 1400}
	p := shape.super()
	var s Segmenter
	n := 0
	emit := func(p *Packet) { n += len(p.Frame) }
	if got := testing.AllocsPerRun(10, func() { _ = s.Segment(&p, 1400, emit) }); got != 0 {
		t.Fatalf("%v allocations for a super-frame", got)
	}
}

func BenchmarkSegment(b *testing.B) {
	for _, row := range []struct {
		name string
		s    shape
	}{
		{"tcp4", shape{payload: make([]byte, 64000), gso: 1448, tcpOpts: 12}},
		{"tcp6", shape{payload: make([]byte, 64000), gso: 1428, tcpOpts: 12, v6: true}},
		{"udp4", shape{payload: make([]byte, 64000), gso: 1472, udp: true}},
		{"udp4 small", shape{payload: make([]byte, 44*64), gso: 64, udp: true}},
	} {
		b.Run(row.name, func(b *testing.B) {
			p := row.s.super()
			s := Segmenter{Groups: true}
			n := 0
			emit := func(p *Packet) { n += len(p.Frame) }
			b.ReportAllocs()
			b.SetBytes(int64(len(p.Frame)))
			for b.Loop() {
				if err := s.Segment(&p, 1514, emit); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkComplete(b *testing.B) {
	shape := shape{payload: make([]byte, 1448), gso: 1448}
	p := shape.build(shape.payload, 0, 0, 0)
	marks := p.Offload
	b.ReportAllocs()
	b.SetBytes(int64(len(p.Frame)))
	for b.Loop() {
		p.Offload = marks
		if err := Complete(&p); err != nil {
			b.Fatal(err)
		}
	}
}
