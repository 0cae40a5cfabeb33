package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/forward"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
	"github.com/virtuoso-vnet/virtuoso/internal/seal"
)

// line is a link that keeps what is sent on it, until it is told to forget.
type line struct {
	frames []ether.Frame
	keep   bool
}

func (*line) MTU() int { return 1472 }

func (w *line) Send(_ int, pkts []ether.Packet) {
	for i := range pkts {
		if w.keep {
			w.frames = append(w.frames, ether.Frame(bytes.Clone(pkts[i].Frame)))
		}
	}
}

// keyed is a key between two hosts, both ends of it.
func keyed(t testing.TB) (*seal.Sender, *seal.Receiver) {
	t.Helper()
	ids := identities(t, 2)
	for _, id := range ids {
		id.Time = func() time.Time { return id.Expires().Add(-time.Hour) }
		if id.Trust == nil {
			id.Trust, _ = pki.NewTrust(id)
		}
	}
	var r *seal.Receiver
	desk := seal.NewDesk(func() *pki.Identity { return ids["h2"] }, func(got *seal.Receiver) { r = got })
	defer desk.Close()
	s, err := seal.Shake(context.Background(), time.Now(), ids["h1"], "h2", desk.Answer)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

// tcp is a TCP super-frame from mac 1 to mac 2 with so many bytes of payload, cut at 1,400.
func tcp(payload int) ether.Packet {
	f := make(ether.Frame, 14+20+20+payload)
	dst, src := mac(2), mac(1)
	copy(f, dst[:])
	copy(f[6:], src[:])
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	f[14], f[22], f[23] = 0x45, 64, 6
	binary.BigEndian.PutUint16(f[16:], uint16(len(f)-14))
	copy(f[26:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	f[46], f[47] = 0x50, 0x10
	for i := range payload {
		f[54+i] = byte(i * 7)
	}
	var sum uint32
	for i := 14; i < 34; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(f[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(f[24:], ^uint16(sum))
	return ether.Packet{Frame: f, Offload: ether.Offload{Flags: ether.NeedsChecksum, GSOType: ether.GSOTCPv4, HdrLen: 54, GSOSize: 1400, CsumStart: 34, CsumOffset: 16}}
}

// sealedBenches are a host that seals to another, that other, and the line between.
func sealedBenches(t testing.TB) (a, b *bench, w *line) {
	tx, rx := keyed(t)
	a, b, w = newBench(t), newBench(t), &line{keep: true}
	with := func(at *bench, g *sealing) {
		s := *at.n.snapshot.Load()
		s.seal = g
		at.n.snapshot.Store(&s)
	}
	with(a, &sealing{macs: map[ether.MAC]*sealWay{mac(2): {tx: tx}, mac(3): {}}, in: map[seal.ID]*seal.Receiver{}})
	b.from(1, frame(mac(2), everybody()))
	b.drain()
	b.got(t)
	with(b, &sealing{macs: map[ether.MAC]*sealWay{mac(1): {}}, in: map[seal.ID]*seal.Receiver{rx.ID: rx}})
	return a, b, w
}

// out has the worker send packets over the line.
func (b *bench) out(w *line, pkts ...ether.Packet) { b.w.sealer.send(b.n.snapshot.Load(), w, pkts) }

func TestASuperFrameIsSealedInPiecesThatStandAlone(t *testing.T) {
	a, b, w := sealedBenches(t)
	big := tcp(20_000)
	before := bytes.Clone(big.Frame)
	a.out(w, big, frame(mac(1), mac(9)), frame(mac(1), everybody()))
	if !bytes.Equal(big.Frame, before) {
		t.Error("the guest's bytes were changed")
	}
	pieces := 0
	var back []ether.Packet
	for _, f := range w.frames {
		if seal.Is(f) {
			pieces++
			if len(f)+4 > 1472-16-16 { // a record's head, the datagram's head and tag
				t.Errorf("a piece of %d bytes fits no datagram", len(f))
			}
			back = append(back, ether.Packet{Frame: f, Hops: 1})
		}
	}
	if pieces < 15 || len(w.frames) != pieces+2 {
		t.Fatalf("%d pieces, %d frames in all", pieces, len(w.frames))
	}
	b.w.run(b.byPeer["proxy"].side, back)
	batch := port.NewBatch(64)
	if err := b.far[1].Read(0, batch); err != nil {
		t.Fatal(err)
	}
	var payload []byte
	for _, p := range batch.Packets {
		payload = append(payload, p.Frame[54:]...)
	}
	if !bytes.Equal(payload, before[54:]) {
		t.Errorf("%d bytes arrived, not the %d that were sent", len(payload), len(before)-54)
	}
	if len(batch.Packets) > 2 {
		t.Errorf("%d pieces were not joined", len(batch.Packets))
	}
	if n := a.n.Totals().Remainder() + b.n.Totals().Remainder(); a.n.Totals().LinkOut != uint64(len(w.frames)) {
		t.Errorf("%d frames counted as sent, %d were; %d unaccounted for", a.n.Totals().LinkOut, len(w.frames), n)
	}
}

// What must be sealed and cannot be, and what must have been and was not, ends here.
func TestWhatMustBeSealed(t *testing.T) {
	for _, row := range []struct {
		name   string
		strict bool
		do     func(a, b *bench, w *line)
		sent   int
		got    string // behind the ports of b
		drops  string // of a, or else of b
	}{
		{"no key yet", false, func(a, b *bench, w *line) { a.out(w, frame(mac(1), mac(3))) }, 0, "0 0 0", "no key to seal with"},
		{"nobody seals for it", false, func(a, b *bench, w *line) { a.out(w, frame(mac(1), mac(9))) }, 1, "0 0 0", ""},
		{"nobody seals for it, and everything must be sealed", true, func(a, b *bench, w *line) { a.out(w, frame(mac(1), mac(9))) }, 0, "0 0 0", "not sealed"},
		{"somebody else's frame passes through", true, func(a, b *bench, w *line) {
			p := frame(mac(1), mac(9))
			p.Hops = 1
			a.out(w, p)
		}, 1, "0 0 0", ""},
		{"in the clear from a guest whose host seals", false, func(a, b *bench, w *line) {
			b.w.run(b.byPeer["proxy"].side, []ether.Packet{frame(mac(1), mac(2))})
		}, 0, "0 0 0", "not sealed"},
		{"in the clear from another", false, func(a, b *bench, w *line) {
			b.w.run(b.byPeer["proxy"].side, []ether.Packet{frame(mac(9), mac(2))})
		}, 0, "0 1 0", ""},
		{"in the clear, and everything must be sealed", true, func(a, b *bench, w *line) {
			b.w.run(b.byPeer["proxy"].side, []ether.Packet{frame(mac(9), mac(2))})
		}, 0, "0 0 0", "not sealed"},
		{"a broadcast", true, func(a, b *bench, w *line) {
			b.w.run(b.byPeer["proxy"].side, []ether.Packet{frame(mac(9), everybody())})
		}, 0, "1 1 1", ""},
		{"a copy", false, func(a, b *bench, w *line) {
			a.out(w, frame(mac(1), mac(2)))
			for range 2 {
				b.w.run(b.byPeer["proxy"].side, []ether.Packet{{Frame: ether.Frame(bytes.Clone(w.frames[0])), Hops: 1}})
			}
		}, 1, "0 1 0", "seal broken"},
	} {
		a, b, w := sealedBenches(t)
		a.n.snapshot.Load().seal.strict, b.n.snapshot.Load().seal.strict = row.strict, row.strict
		row.do(a, b, w)
		drops := ""
		for _, at := range []*bench{a, b} {
			for why := range at.n.Totals().Drops {
				drops += why
			}
		}
		if got := b.got(t); len(w.frames) != row.sent || got != row.got || drops != row.drops {
			t.Errorf("%s: %d sent, behind the ports %s, drops %q", row.name, len(w.frames), got, drops)
		}
	}
}

func TestSealingAllocatesNothingForAFrame(t *testing.T) {
	a, b, w := sealedBenches(t)
	pkts := []ether.Packet{tcp(20_000), frame(mac(1), mac(2))}
	a.out(w, pkts...) // its memory is made
	w.keep = false
	if n := testing.AllocsPerRun(200, func() { a.out(w, pkts...) }); n != 0 && !raced {
		t.Errorf("%v allocations to seal a batch", n)
	}
	w.keep, w.frames = true, nil
	for range 300 {
		a.out(w, pkts[1])
	}
	i := 0
	batch := make([]ether.Packet, 1)
	once := func() {
		batch[0] = ether.Packet{Frame: w.frames[i], Hops: 1}
		b.w.sealer.open(b.n.snapshot.Load(), &batch[0], forward.Verdict{Action: forward.Forward, Out: forward.PortSide(1)}, 1)
		i++
	}
	once()
	if n := testing.AllocsPerRun(200, once); n != 0 && !raced {
		t.Errorf("%v allocations to open a frame", n)
	}
}
