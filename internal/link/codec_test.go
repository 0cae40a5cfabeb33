package link

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

func TestHeaderRoundTrip(t *testing.T) {
	for _, h := range []header{
		{kind: dgramRecords, epoch: 255, lane: maxLanes - 1, link: 0xdeadbeef, counter: 1<<64 - 1},
		{kind: dgramHouse, lane: houseLane, link: 1, counter: 1},
	} {
		d := make([]byte, headerLen+tagLen)
		h.put(d)
		if got, ok := parseHeader(d); !ok || got != h {
			t.Errorf("%+v came back as %+v, %v", h, got, ok)
		}
	}
	for what, h := range map[string]header{
		"a worker's lane too high": {kind: dgramRecords, lane: maxLanes, counter: 1},
		"a house lane for frames":  {kind: dgramRecords, lane: houseLane, counter: 1},
		"an unknown type":          {kind: 3, counter: 1},
		"counter 0":                {kind: dgramRecords},
	} {
		d := make([]byte, headerLen+tagLen)
		h.put(d)
		if _, ok := parseHeader(d); ok {
			t.Errorf("%s was taken", what)
		}
	}
}

func FuzzRecord(f *testing.F) {
	b := make([]byte, 200)
	for _, r := range []record{
		{hops: 3, bytes: []byte("frame")},
		{offload: ether.Offload{Flags: ether.NeedsChecksum, CsumStart: 34, CsumOffset: 16}, bytes: []byte("open")},
		{piece: piece{id: 7, index: 1, count: 2}, bytes: []byte("half")},
		{flags: recHouse, bytes: []byte("house")},
	} {
		f.Add(bytes.Clone(b[:putRecord(b, r)]))
	}
	f.Add([]byte{recPadding, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		r, rest, err := parseRecord(in)
		if err != nil || r.flags == recPadding {
			return
		}
		used := in[:len(in)-len(rest)]
		if len(used) != recordSize(in) {
			t.Fatalf("recordSize says %d, parseRecord took %d", recordSize(in), len(used))
		}
		out := make([]byte, len(used)+recordExtra)
		again, left, err := parseRecord(out[:putRecord(out, r)])
		r.flags &^= recOffload | recPiece // follow from the contents: empty marks need no space
		again.flags &^= recOffload | recPiece
		if err != nil || len(left) != 0 || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}

// FuzzDatagram feeds the receiving half: once as a stranger's datagram, once as an authenticated peer's body.
func FuzzDatagram(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x01................"), true)
	b := make([]byte, 200)
	n := putRecord(b, record{hops: 1, bytes: frame(1, 60).Frame})
	n += putRecord(b[n:], record{piece: piece{id: 1, index: 1, count: 2}, bytes: []byte("half")})
	f.Add(b[:n], true)
	f.Add(bytes.Clone(b[:beat{sent: 1}.put(b)]), false)
	f.Fuzz(func(t *testing.T, in []byte, frames bool) {
		if len(in) > sizeLargest-headerLen-tagLen {
			return
		}
		l := shortCircuit(t, AES128, func(_ int, _ *Link, pkts []ether.Packet) {
			for i := range pkts {
				_ = pkts[i].WireBytes()
			}
		})
		l.e.sockets = []Socket{&wire{newReceiver(l.e, &inlet{}, nil)}}
		r := newReceiver(l.e, &inlet{}, nil)
		if len(in) > 0 && in[0] < dgramLimit {
			r.datagram(bytes.Clone(in), l.Remote())
			r.deliver()
			if l.received.Load() != 0 {
				t.Fatal("a stranger's frame was taken")
			}
		}
		h := header{kind: dgramHouse, lane: houseLane, link: 7, counter: 1}
		if frames {
			h = header{kind: dgramRecords, link: 7, counter: 1}
		} else if len(in) > 0 && in[0] == houseProbe {
			return // its answer would come back here
		}
		d := append(make([]byte, headerLen, sizeLargest), in...)
		var nonce scratch
		r.datagram(l.tx.Load().seal(d, h, &nonce), l.Remote())
		r.deliver()
	})
}

func FuzzHouse(f *testing.F) {
	b := make([]byte, houseMax)
	f.Add(bytes.Clone(b[:beat{sent: 1, echo: 2, held: 3, silence: 4, frames: 5, received: 6, epoch: 7}.put(b)]))
	f.Add(bytes.Clone(b[:probe{answer: true, started: true, id: 9, size: 1472}.put(b)]))
	f.Add(bytes.Clone(b[:bye{frames: 3, reason: "enough"}.put(b)]))
	f.Fuzz(func(t *testing.T, in []byte) {
		out := make([]byte, houseMax)
		if m, err := parseBeat(in); err == nil {
			if again, err := parseBeat(out[:m.put(out)]); err != nil || again != m {
				t.Fatalf("%+v became %+v", m, again)
			}
		}
		if m, err := parseProbe(in); err == nil {
			if again, err := parseProbe(out[:m.put(out)]); err != nil || again != m {
				t.Fatalf("%+v became %+v", m, again)
			}
		}
		if m := parseLastWords(string(in)); parseLastWords(m.lastWords()) != m && len(m.reason) <= reasonMax && m.frames != 0 {
			t.Fatalf("%+v became %q", m, m.lastWords())
		}
		if m, err := parseBye(in); err == nil {
			if again, err := parseBye(out[:m.put(out)]); err != nil || again != m {
				t.Fatalf("%+v became %+v", m, again)
			}
		}
	})
}

func FuzzSetup(f *testing.F) {
	f.Add(hello{kind: Star, link: 5, ciphers: []Cipher{AES128, ChaCha20}, overlay: "home"}.encode())
	f.Add(welcome{link: 6, cipher: AES128}.encode())
	f.Add(ready{1472}.encode())
	f.Add(join{link: 3}.encode())
	f.Add(appendMessage(nil, msgApp, []byte("text")))
	f.Fuzz(func(t *testing.T, in []byte) {
		if m, err := parseHello(in); err == nil && !bytes.Equal(m.encode(), in) {
			t.Fatalf("%+v", m)
		}
		if m, err := parseWelcome(in); err == nil && !bytes.Equal(m.encode(), in) {
			t.Fatalf("%+v", m)
		}
		if m, err := parseReady(in); err == nil && !bytes.Equal(m.encode(), in) {
			t.Fatalf("%+v", m)
		}
		if m, err := parseJoin(in); err == nil && !bytes.Equal(m.encode(), in) {
			t.Fatalf("%+v", m)
		}
		if kind, body, err := readMessage(bytes.NewReader(in), setupMax); err == nil && !bytes.HasPrefix(in, appendMessage(nil, kind, body)) {
			t.Fatalf("kind %d, %d bytes", kind, len(body))
		}
	})
}

// slowReplay is the window as a set of everything seen.
type slowReplay struct {
	top  uint64
	seen map[uint64]bool
}

func (r *slowReplay) accept(c uint64) bool {
	if c == 0 || r.seen[c] || c <= r.top && r.top-c >= replayBits {
		return false
	}
	r.seen[c] = true
	r.top = max(r.top, c)
	return true
}

func TestReplayAgainstSlowTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fast, slow := new(replay), &slowReplay{seen: map[uint64]bool{}}
		at := rapid.Uint64Range(0, 1<<40).Draw(t, "start")
		for range rapid.IntRange(1, 300).Draw(t, "n") {
			step := rapid.SampledFrom([]int64{0, 1, 1, 1, 2, 63, 64, 65, 700, 8191, 8192, 8193, 20000, -1, -2, -64, -500, -8191, -8192, -9000}).Draw(t, "step")
			c := uint64(max(0, int64(at)+step))
			if f, s := fast.accept(c), slow.accept(c); f != s {
				t.Fatalf("counter %d after top %d: %v, the twin says %v", c, slow.top, f, s)
			}
			at = max(at, c)
		}
	})
}

func TestPiecesRejoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := rapid.SliceOfN(rapid.Byte(), 1, 9100).Draw(t, "frame")
		count, size, ok := cutPieces(len(whole), 1172)
		if !ok || count > maxPieces || size > 1172 {
			t.Fatalf("%d bytes were cut into %d × %d", len(whole), count, size)
		}
		var parts []record
		for i := range count {
			part := whole[i*size : min((i+1)*size, len(whole))]
			parts = append(parts, record{hops: 2, piece: piece{id: 1, index: uint8(i), count: uint8(count)}, bytes: part})
		}
		var j joiner
		now := time.Unix(0, 0)
		for n, i := range rapid.Permutation(indices(count)).Draw(t, "order") {
			p, done := j.add(now, 3, parts[i])
			if done != (n == count-1) {
				t.Fatalf("whole after %d of %d", n+1, count)
			}
			if done && (!bytes.Equal(p.buf, whole) || p.head.hops != 2) {
				t.Fatal("the frame came back changed")
			}
		}
		if len(j.open) != 0 || j.held != 0 || j.lost != 0 {
			t.Fatalf("left behind: %d frames, %d bytes, %d lost", len(j.open), j.held, j.lost)
		}
	})
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestJoinerIsBounded(t *testing.T) {
	var j joiner
	now := time.Unix(0, 0)
	for id := range 1000 {
		j.add(now.Add(time.Duration(id)*time.Millisecond), 0, record{piece: piece{id: uint16(id), index: 0, count: 8}, bytes: make([]byte, 4000)})
		if len(j.open) > pieceFrames || j.held > pieceBytes {
			t.Fatalf("%d frames, %d bytes are held", len(j.open), j.held)
		}
	}
	if j.lost < 1000-pieceFrames {
		t.Errorf("%d were given up", j.lost)
	}
	late := now.Add(999*time.Millisecond + pieceWait + 1)
	for i := 1; i < 8; i++ {
		if _, done := j.add(late, 0, record{piece: piece{id: 999, index: uint8(i), count: 8}, bytes: make([]byte, 4000)}); done {
			t.Error("a frame was joined after its time")
		}
	}
	if _, done := j.add(late, 1, record{piece: piece{id: 5, index: 0, count: 2}, bytes: make([]byte, 10)}); done {
		t.Error("half a frame is whole")
	}
	if _, done := j.add(late, 1, record{piece: piece{id: 5, index: 1, count: 2}, bytes: make([]byte, 11)}); done {
		t.Error("a last piece longer than the others was taken")
	}
}

func TestSuites(t *testing.T) {
	aes, chacha := []Cipher{AES128, ChaCha20}, []Cipher{ChaCha20, AES128}
	for _, c := range []struct {
		ours, theirs []Cipher
		want         Cipher
	}{
		{aes, aes, AES128}, {aes, chacha, ChaCha20}, {chacha, aes, ChaCha20}, {chacha, chacha, ChaCha20},
		{aes, []Cipher{AES128}, AES128}, {chacha, []Cipher{AES128}, AES128}, {aes, nil, 0}, {aes, []Cipher{9}, 0},
	} {
		got, err := chooseCipher(c.ours, c.theirs)
		if got != c.want || (err != nil) != (c.want == 0) {
			t.Errorf("%v and %v chose %v, %v", c.ours, c.theirs, got, err)
		}
	}
}

func TestEpochs(t *testing.T) {
	for _, s := range []Cipher{AES128, ChaCha20, AES256, Trusted} {
		first, err := firstKey(s, bytes.Repeat([]byte{7}, secretLen))
		if err != nil {
			t.Fatal(err)
		}
		in, err := newInbound(first)
		if err != nil {
			t.Fatal(err)
		}
		out := first
		var nonce scratch
		var sealed [][]byte  // one datagram of each epoch
		for e := range 300 { // past the wrap of the epoch byte
			d := append(make([]byte, headerLen, 100), "secret"...)
			d = out.seal(d, header{kind: dgramRecords, lane: 2, link: 9, counter: uint64(e + 1)}, &nonce)
			sealed = append(sealed, bytes.Clone(d))
			h, _ := parseHeader(d)
			key := in.key(h.epoch)
			if key == nil || key.epoch != uint64(e) {
				t.Fatalf("%v: epoch %d has no key", s, e)
			}
			body, ok := key.open(d, h, &nonce)
			if !ok || string(body) != "secret" {
				t.Fatalf("%v: epoch %d does not open", s, e)
			}
			if err := in.used(key); err != nil {
				t.Fatal(err)
			}
			for back := range min(e, 4) {
				old := bytes.Clone(sealed[e-1-back])
				h, _ := parseHeader(old)
				key := in.key(h.epoch)
				opened := key != nil
				if opened {
					_, opened = key.open(old, h, &nonce)
				}
				if opened != (back == 0) {
					t.Fatalf("%v: in epoch %d a datagram %d epochs old opens: %v", s, e, back+1, opened)
				}
			}
			if out, err = out.next(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLife(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	l := newLife(begin, silentLimit, 0)
	for ms := 0; ms < 2000; ms += 250 {
		l.Heard(at(ms))
		if send, dead := l.Step(at(ms)); !send || dead != nil {
			t.Fatalf("at %d ms: send %v, dead %v", ms, send, dead)
		}
		if next := l.Next(); !next.Equal(at(ms + 250)) {
			t.Fatalf("at %d ms it wants to be asked at %v", ms, next)
		}
	}
	for ms := 2000; ms < 2500; ms += 250 { // silence since 1750
		if _, dead := l.Step(at(ms)); dead != nil {
			t.Fatalf("dead at %d ms", ms)
		}
		l.Next()
	}
	if _, dead := l.Step(at(2500)); dead != errSilent {
		t.Errorf("750 ms of silence: %v", dead)
	}

	l = newLife(begin, silentLimit, 0)
	l.Heard(at(10))
	l.Told(740 * time.Millisecond)
	if _, dead := l.Step(at(20)); dead != nil {
		t.Errorf("dead before its time: %v", dead)
	}
	l.Told(750 * time.Millisecond)
	if _, dead := l.Step(at(30)); dead != errUnsaid {
		t.Errorf("a deaf peer: %v", dead)
	}

	l = newLife(begin, silentLimit, 0)
	l.Step(begin)
	l.Next() // to be asked at 250, but the process stood still for 10 s
	if _, dead := l.Step(at(10_000)); dead != nil {
		t.Errorf("our own standstill killed the link: %v", dead)
	}
	l.Next()
	if _, dead := l.Step(at(10_250)); dead != errSilent {
		t.Errorf("and then it was not: %v", dead)
	}
}

func TestLifeAnswers(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	l := newLife(begin, silentLimit, answerSlack)
	l.Step(begin)
	for _, c := range []struct {
		ms   int
		send bool
		next time.Duration // from then
	}{
		{1, true, beatEvery + answerSlack}, // the phase of the peer is ours from now on
		{251, true, beatEvery + answerSlack},
		{252, false, beatEvery + answerSlack - time.Millisecond}, // a burst is answered once
		{520, true, beatEvery + answerSlack},                     // late
	} {
		l.Heard(at(c.ms))
		if send, dead := l.Answer(at(c.ms)); send != c.send || dead != nil {
			t.Errorf("at %d ms: send %v, dead %v", c.ms, send, dead)
		}
		if next := l.Next(); next.Sub(at(c.ms)) != c.next {
			t.Errorf("at %d ms it wants to be asked after %v", c.ms, next.Sub(at(c.ms)))
		}
	}
	for want := at(520).Add(beatEvery + answerSlack); want.Before(at(520 + 750)); want = want.Add(beatEvery) { // left alone
		if now := l.Next(); !now.Equal(want) {
			t.Errorf("it wants to be asked at %v, not %v", now, want)
		}
		if send, dead := l.Step(want); !send || dead != nil {
			t.Errorf("at %v: send %v, dead %v", want, send, dead)
		}
	}
	if end := l.Next(); !end.Equal(at(520 + 750)) {
		t.Errorf("its end is due at %v", end)
	}
	if _, dead := l.Answer(at(520 + 750)); dead != errSilent {
		t.Errorf("750 ms of silence: %v", dead)
	}

	l = newLife(begin, silentLimit, 0) // the end that dialled
	l.Step(begin)
	if send, _ := l.Answer(at(240)); send {
		t.Error("an answer was answered")
	}
	l.Told(silentLimit)
	if _, dead := l.Answer(at(241)); dead != errUnsaid {
		t.Errorf("a deaf peer: %v", dead)
	}
}

// FuzzStream feeds the tcp carrier's reader, in two parts as they may arrive.
func FuzzStream(f *testing.F) {
	b := make([]byte, 400)
	n := putRecord(b, record{hops: 1, bytes: frame(1, 60).Frame})
	n += putRecord(b[n:], record{flags: recHouse, bytes: make([]byte, beatLen)})
	n += putRecord(b[n:], record{hops: 2, offload: ether.Offload{Flags: ether.NeedsChecksum, CsumStart: 34, CsumOffset: 16}, bytes: frame(2, 80).Frame})
	f.Add(b[:n], uint16(70))
	f.Add([]byte{recPadding, 0, 0, 0}, uint16(1))
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		l := shortCircuit(t, AES128, func(int, *Link, []ether.Packet) {})
		l.stream = newFrameStream(nil, false)
		whole, used, parting, err := l.streamRecords(in, nil)
		if used > len(in) {
			t.Fatalf("%d of %d bytes were used", used, len(in))
		}
		at := min(int(cut), len(in))
		first, part, byeA, errA := l.streamRecords(in[:at], nil)
		second, rest, byeB, errB := l.streamRecords(in[part:], nil)
		if parting == nil && err == nil && byeA == nil && errA == nil && byeB == nil && errB == nil && (len(first)+len(second) != len(whole) || part+rest != used) {
			t.Fatalf("in two parts %d+%d records of %d+%d bytes, at once %d of %d", len(first), len(second), part, rest, len(whole), used)
		}
	})
}

// FuzzPieces feeds the joiner a series of pieces: it holds what it states and returns what was whole.
func FuzzPieces(f *testing.F) {
	f.Add([]byte{0, 0, 2, 10, 0, 1, 2, 9, 1, 7, 8, 200, 1, 0, 8, 3})
	f.Fuzz(func(t *testing.T, in []byte) {
		var j joiner
		now := time.Unix(0, 0)
		for ; len(in) >= 4; in = in[4:] {
			p := piece{id: uint16(in[0] & 7), index: in[1] & 7, count: in[2]&7 + 1}
			if p.index >= p.count {
				continue
			}
			now = now.Add(time.Duration(in[1]>>3) * 10 * time.Millisecond)
			body := bytes.Repeat([]byte{in[0]}, int(in[3])*5%1400)
			if whole, ok := j.add(now, uint16(in[0]>>3), record{piece: p, bytes: body}); ok {
				if n := len(whole.buf); n > maxPieces*sizeLargest {
					t.Fatalf("a frame of %d bytes", n)
				}
				j.recycle(whole)
			}
			held := 0
			for _, p := range j.open {
				held += len(p.buf) + len(p.tail)
			}
			if held != j.held || held > pieceBytes || len(j.open) > pieceFrames || len(j.spare) > pieceSpare {
				t.Fatalf("%d bytes are held and %d counted, %d frames are open, %d spare", held, j.held, len(j.open), len(j.spare))
			}
		}
	})
}
