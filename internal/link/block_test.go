package link

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// memDoor is a connection made of memory: what is written is read from the other end of a slice.
type memDoor struct {
	net.Conn // never used
	written  []byte
	full     bool // it takes nothing at once
}

func (d *memDoor) Try(b []byte) (int, error) {
	if d.full {
		return 0, nil
	}
	d.written = append(d.written, b...)
	return len(b), nil
}

func (d *memDoor) Bound(int) {}

// streamTo is a link over tcp whose blocks go to a door of memory, and whose keys of both directions are the same.
func streamTo(t testing.TB, c Cipher) (*Link, *memDoor) {
	t.Helper()
	e := &Endpoint{cfg: Config{Receive: func(int, *Link, []ether.Packet) {}, Lanes: 1}, usher: newUsher()}
	secret := bytes.Repeat([]byte{1}, secretLen)
	s, door := newFrameStream(nil, true), &memDoor{}
	s.door, s.limit = door, streamMost
	l, err := e.newLink(birth{mine: 7, theirs: 7, cipher: c, session: session{out: secret, in: secret}, stream: s})
	if err != nil {
		t.Fatal(err)
	}
	e.lanes = []*outbox{newOutbox(0, nil)}
	return l, door
}

// readBlocks has a reader take in what was written, in parts of any sizes, and returns copies of the frames.
func readBlocks(l *Link, in []byte, part func() int) (got []ether.Packet, parting *bye, err error) {
	r := blockReader{buf: make([]byte, streamQuiet)}
	now := time.Now()
	for len(in) > 0 && parting == nil && err == nil {
		n := copy(r.room(), in[:min(max(part(), 1), len(in))])
		in = in[n:]
		r.end += n
		now = now.Add(time.Second)
		var pkts []ether.Packet
		pkts, parting, err = r.collect(l, now, nil)
		for _, p := range pkts {
			p.Frame = bytes.Clone(p.Frame)
			got = append(got, p)
		}
		r.fit(n, now)
	}
	return got, parting, err
}

// blockFrames are frames of all the sizes at which something changes, some marked.
func blockFrames() (all []ether.Packet) {
	for i, n := range []int{18, 60, apartFrom - 1, apartFrom, blockText - 1, blockText, blockText + 1, 2 * blockText, 65535, 60, 3*blockText + 1, 1514} {
		p := frame(i, n)
		if i%3 == 1 {
			p.Offload = ether.Offload{Flags: ether.NeedsChecksum, CsumStart: 34, CsumOffset: 16}
		}
		all = append(all, p)
	}
	for i := range 100 {
		all = append(all, frame(100+i, 60+37*i))
	}
	return all
}

func same(t *testing.T, got, want []ether.Packet) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d frames arrived, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i].Frame, want[i].Frame) || got[i].Offload != want[i].Offload || got[i].Hops != 1 {
			t.Fatalf("frame %d arrived with %d bytes of %d, marks %+v, %d hops", i, len(got[i].Frame), len(want[i].Frame), got[i].Offload, got[i].Hops)
		}
	}
}

func TestBlocksArriveInAnyParts(t *testing.T) {
	for _, c := range []Cipher{AES128, ChaCha20, AES256, Trusted} {
		dice := rand.New(rand.NewPCG(1, uint64(c)))
		for _, parts := range []int{40, 1000, 20_000, 1 << 20} {
			l, door := streamTo(t, c)
			want := blockFrames()
			for i := 0; i < len(want); { // in batches of any size, each with its own epoch
				n := min(1+dice.IntN(8), len(want)-i)
				l.Send(0, want[i:i+n])
				i += n
				l.peers.epoch.Store(l.tx.Load().epoch) // the peer has heard it
				if !l.turn() {
					t.Fatal("the epoch did not turn")
				}
			}
			l.sendHouse(0, bye{frames: 9, reason: "done"}.put)
			got, parting, err := readBlocks(l, door.written, func() int { return dice.IntN(parts) })
			if err != nil || parting == nil || parting.reason != "done" {
				t.Fatalf("%v, parts of up to %d: bye %v, error %v", c, parts, parting, err)
			}
			same(t, got, want)
			if l.rx.keys.Load().cur.epoch != l.tx.Load().epoch || l.peers.inEpoch.Load() < 5 {
				t.Errorf("%v: epoch %d was heard as %d", c, l.tx.Load().epoch, l.rx.keys.Load().cur.epoch)
			}
		}
	}
}

// blocksOf cuts a stream into its blocks.
func blocksOf(in []byte) (all [][]byte) {
	for len(in) > 0 {
		n := blockHead + int(in[3])<<8 + int(in[4])
		all = append(all, in[:n])
		in = in[n:]
	}
	return all
}

// TestNobodyChangesAStream: of blocks that were changed, left out, repeated, or put in another order, nothing is delivered, nor
// of what follows them.
func TestNobodyChangesAStream(t *testing.T) {
	l, door := streamTo(t, AES128)
	sent := []ether.Packet{frame(0, 60), frame(1, 40_000), frame(2, 100), frame(3, 5000)}
	l.Send(0, sent)
	whole := blocksOf(door.written)
	if len(whole) < 6 {
		t.Fatalf("only %d blocks", len(whole))
	}
	attack := func(name string, change func(blocks [][]byte) [][]byte) {
		t.Run(name, func(t *testing.T) {
			fresh, _ := streamTo(t, AES128)
			var blocks [][]byte
			for _, b := range whole {
				blocks = append(blocks, bytes.Clone(b))
			}
			in := bytes.Join(change(blocks), nil)
			got, _, err := readBlocks(fresh, in, func() int { return 3000 })
			if !errors.Is(err, errBlock) || len(got) > len(sent) || name != "repeated" && len(got) == len(sent) {
				t.Fatalf("%d frames arrived, error %v", len(got), err)
			}
			same(t, got, sent[:len(got)])
		})
	}
	for i := range whole {
		for _, at := range []int{0, 2, 4, blockHead, len(whole[i]) - 1} {
			attack("changed", func(b [][]byte) [][]byte { b[i][at] ^= 1; return append(b, bytes.Repeat([]byte{0x17}, 1<<15)) })
		}
		attack("repeated", func(b [][]byte) [][]byte { return slices.Insert(b, i, b[i]) })
		if i+1 < len(whole) {
			attack("left out", func(b [][]byte) [][]byte { return slices.Delete(b, i, i+1) })
			attack("another order", func(b [][]byte) [][]byte { b[i], b[i+1] = b[i+1], b[i]; return b })
		}
	}
}

// sealText makes a block of any text, as a peer that has the key may.
func sealText(w *blockWriter, out, text []byte, key *epochKey) []byte {
	at := len(out)
	out = extend(out, blockRoom+len(text))
	w.seal(out[at:], text, key)
	return out
}

// TestAHostilePeerIsCutOff: what a peer seals need not be what one of ours would.
func TestAHostilePeerIsCutOff(t *testing.T) {
	record := func(flags byte, size int) []byte { return []byte{flags, 1, byte(size >> 8), byte(size)} }
	full := make([]byte, blockText)
	for name, texts := range map[string][][]byte{
		"apart and more behind it": {append(record(recApart, 5000), 0, 0, 0, 0)},
		"apart without bytes":      {record(recApart, 0)},
		"apart and a piece":        {append(record(recApart|recPiece, 5000), 0, 0, 0, 2)},
		"apart, one byte a block":  {record(recApart, 5000), {0}},
		"apart, too many bytes":    {record(recApart, 5000), full},
		"apart, then records":      {record(recApart, 60_000), full, append(record(0, 10), make([]byte, 10)...)},
		"a piece":                  {append(record(recPiece, 10), make([]byte, 14)...)},
		"padding":                  {{recPadding, 0, 0, 0}},
		"a record cut short":       {append(record(0, 10), 1, 2)},
		"turned amid a block":      {append(append(record(recHouse, 1), houseTurn), append(record(0, 20), make([]byte, 20)...)...)},
	} {
		l, _ := streamTo(t, AES128)
		var w blockWriter
		var out []byte
		for _, text := range texts {
			out = sealText(&w, out, text, l.tx.Load())
		}
		for range 3 { // a reader that took it would go on
			out = sealText(&w, out, append(record(0, 20), make([]byte, 20)...), l.tx.Load())
		}
		if got, _, err := readBlocks(l, out, func() int { return 1 << 20 }); err == nil || len(got) > 0 {
			t.Errorf("%s: %d frames, error %v", name, len(got), err)
		}
	}
}

// FuzzBlocks has a peer seal any texts, and somebody on the way change a byte: nothing that arrives is what was not sealed, and
// it is the same in whatever parts.
func FuzzBlocks(f *testing.F) {
	f.Add([]byte{recApart, 1, 0x13, 0x88}, []byte{0, 1, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}, uint16(7), uint16(0))
	f.Add([]byte{recHouse, 1, 0, 1, houseTurn}, []byte{0, 1, 0, 18, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}, uint16(70), uint16(9))
	f.Fuzz(func(t *testing.T, first, second []byte, part, flip uint16) {
		l, _ := streamTo(t, AES128)
		var w blockWriter
		var in []byte
		for _, text := range [][]byte{first, second, first} {
			in = sealText(&w, in, text[:min(len(text), blockText)], l.tx.Load())
		}
		if flip > 0 {
			in[int(flip)%len(in)] ^= byte(flip>>8) | 1
		}
		one, _ := streamTo(t, AES128)
		got, byeA, errA := readBlocks(l, slices.Clone(in), func() int { return len(in) })
		parts, byeB, errB := readBlocks(one, slices.Clone(in), func() int { return 1 + int(part) })
		if len(got) != len(parts) || (byeA == nil) != (byeB == nil) || !errors.Is(errB, errA) {
			t.Fatalf("at once %d frames, %v, %v; in parts %d, %v, %v", len(got), byeA, errA, len(parts), byeB, errB)
		}
		for i := range got {
			if !bytes.Equal(got[i].Frame, parts[i].Frame) || !bytes.Contains(append(append(slices.Clone(first), second...), first...), got[i].Frame) && len(got[i].Frame) < apartFrom {
				t.Fatalf("frame %d was never sealed: %x", i, got[i].Frame)
			}
		}
	})
}

func TestAStreamAllocatesNothing(t *testing.T) {
	for _, c := range traffic {
		l, door := streamTo(t, preferred()[0])
		pkts := c.make()
		r, now := blockReader{buf: make([]byte, streamRead)}, time.Now()
		var got []ether.Packet
		once := func() {
			door.written = door.written[:0]
			l.Send(0, pkts)
			r.end += copy(r.room(), door.written)
			var err error
			if got, _, err = r.collect(l, now, got[:0]); err != nil || len(got) != len(pkts) {
				t.Fatalf("%d of %d arrived: %v", len(got), len(pkts), err)
			}
		}
		for range 3 {
			once()
		}
		if n := testing.AllocsPerRun(100, once); n > 0 {
			t.Errorf("%s: %v allocations a batch", c.name, n)
		}
	}
}

// BenchmarkBlocks: go test -bench Blocks ./internal/link
func BenchmarkBlocks(b *testing.B) {
	for _, c := range traffic {
		b.Run(c.name, func(b *testing.B) {
			l, door := streamTo(b, preferred()[0])
			pkts := c.make()
			r, now := blockReader{buf: make([]byte, streamRead)}, time.Now()
			var got []ether.Packet
			b.SetBytes(bytesOf(pkts))
			b.ReportAllocs()
			for b.Loop() {
				door.written = door.written[:0]
				l.Send(0, pkts)
				r.end += copy(r.room(), door.written)
				var err error
				if got, _, err = r.collect(l, now, got[:0]); err != nil || len(got) != len(pkts) {
					b.Fatalf("%d of %d arrived: %v", len(got), len(pkts), err)
				}
			}
		})
	}
}

// TestMemoryIsGivenBack: a stream through which little goes keeps little.
func TestMemoryIsGivenBack(t *testing.T) {
	l, door := streamTo(t, AES128)
	for range 4 {
		l.Send(0, batchOf(64, 1400))
	}
	s := l.stream
	if cap(s.pending) <= streamQuiet {
		t.Fatalf("%d bytes for frames", cap(s.pending))
	}
	r, now := blockReader{buf: make([]byte, streamQuiet)}, time.Now()
	for in := door.written; len(in) > 0; {
		n := copy(r.room(), in)
		in = in[n:]
		r.end += n
		if _, _, err := r.collect(l, now, nil); err != nil {
			t.Fatal(err)
		}
		r.fit(n, now)
	}
	if len(r.buf) != streamRead {
		t.Errorf("%d bytes are read at once of a busy stream", len(r.buf))
	}
	for range 2 { // the first only says that frames were sent before it
		door.written = door.written[:0]
		l.sendHouse(0, func(b []byte) int { b[0] = houseBeat; return 1 })
		n := copy(r.room(), door.written)
		r.end += n
		now = now.Add(streamIdle)
		if _, _, err := r.collect(l, now, nil); err != nil {
			t.Fatal(err)
		}
		r.fit(n, now)
	}
	if cap(s.pending) > streamQuiet || len(r.buf) != streamQuiet {
		t.Errorf("a quiet stream keeps %d bytes to send and %d to receive", cap(s.pending), len(r.buf))
	}
}

// TestTLSTakesNoMoreThanItsOwn: what follows a record in the same segment stays for who reads after TLS.
func TestTLSTakesNoMoreThanItsOwn(t *testing.T) {
	in := []byte{0x16, 3, 1, 0, 3, 'a', 'b', 'c', 0x17, 3, 3, 0, 0, 0x17, 3, 3, 0, 2, 'd', 'e', 'r', 'e', 's', 't'}
	near, far := net.Pipe()
	go func() {
		far.Write(in)
		far.Close()
	}()
	c := &tlsConn{Conn: near, careful: true}
	var got []byte
	for len(got) < 20 {
		b := make([]byte, 512)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, b[:n]...); len(got) > 20 {
			t.Fatalf("it took %q", got)
		}
	}
	rest, err := io.ReadAll(near)
	if err != nil || string(rest) != "rest" || !bytes.Equal(got, in[:20]) {
		t.Errorf("left are %q, %v", rest, err)
	}
}
