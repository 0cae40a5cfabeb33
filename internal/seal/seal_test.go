package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hosts are identities of one overlay, each with a memory of keys.
func hosts(t testing.TB, names ...string) (*pki.CA, []*pki.Identity) {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var out []*pki.Identity
	for _, name := range names {
		out = append(out, host(t, ca, name))
	}
	return ca, out
}

func host(t testing.TB, ca *pki.CA, name string) *pki.Identity {
	t.Helper()
	role := pki.RoleHost
	if name == "proxy" {
		role = pki.RoleProxy
	}
	id, err := ca.Issue(name, role, time.Now(), time.Hour)
	if err == nil {
		id.Trust, err = pki.NewTrust(id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// shaken agrees on a key; carry is what the Proxy makes of each message.
func shaken(t testing.TB, a, b *pki.Identity, carry func([]byte) []byte) (*Sender, *Receiver, error) {
	t.Helper()
	var r *Receiver
	desk := NewDesk(func() *pki.Identity { return b }, func(got *Receiver) { r = got })
	defer desk.Close()
	s, err := Shake(t.Context(), time.Now(), a, "b", func(ctx context.Context, m []byte) ([]byte, error) {
		if carry != nil {
			m = carry(m)
		}
		return desk.Answer(ctx, m)
	})
	return s, r, err
}

func packet(payload string) ether.Packet {
	f := append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}, payload...)
	return ether.Packet{Frame: f}
}

func sealed(t testing.TB, s *Sender, p ether.Packet, lane int) ether.Packet {
	t.Helper()
	f := make([]byte, SealedLen(&p))
	var m Scratch
	if !s.Seal(f, &p, lane, &m) {
		t.Fatal("the key is worn out")
	}
	return ether.Packet{Frame: f}
}

func TestWhatIsSealedIsOpenedByThePeerAlone(t *testing.T) {
	_, ids := hosts(t, "a", "b")
	s, r, err := shaken(t, ids[0], ids[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Peer.Name != "b" || s.Peer.Key != ids[1].Key() || r.Peer.Name != "a" || r.Peer.Key != ids[0].Key() || s.ID != r.ID {
		t.Errorf("agreed: %+v and %+v", s.Peer, r.Peer)
	}
	text := "who reads this, and is not b?"
	plain := packet(text)
	p := sealed(t, s, plain, 3)
	if !Is(p.Frame) || IDOf(p.Frame) != s.ID || p.Frame.Dst() != plain.Frame.Dst() || p.Frame.Src() != plain.Frame.Src() {
		t.Errorf("sealed: % x", p.Frame[:headLen])
	}
	if bytes.Contains(p.Frame, []byte(text[:8])) || len(p.Frame) > len(plain.Frame)+Overhead {
		t.Errorf("%d bytes became %d, and say: %q", len(plain.Frame), len(p.Frame), p.Frame)
	}
	again := ether.Packet{Frame: bytes.Clone(p.Frame)}
	var m Scratch
	if !r.Open(&p, &m) || !bytes.Equal(p.Frame, plain.Frame) {
		t.Errorf("opened: % x, want % x", p.Frame, plain.Frame)
	}
	if r.Open(&again, &m) {
		t.Error("a copy was opened")
	}
	_, other, err := shaken(t, ids[0], ids[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	if p := sealed(t, s, plain, 0); other.Open(&p, &m) {
		t.Error("opened with another key")
	}
	if r.Opened() != 1 || r.Refused() != 1 {
		t.Errorf("opened %d, refused %d", r.Opened(), r.Refused())
	}
}

// Whatever a node on the way changes is noticed, the addresses included.
func TestEveryBitIsHeld(t *testing.T) {
	_, ids := hosts(t, "a", "b")
	s, r, err := shaken(t, ids[0], ids[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	var m Scratch
	p := sealed(t, s, packet("some words"), 0)
	for i := range 8 * len(p.Frame) {
		bad := ether.Packet{Frame: bytes.Clone(p.Frame)}
		bad.Frame[i/8] ^= 1 << (i % 8)
		if !Is(bad.Frame) {
			continue // no frame of ours any more: the node holds it to be in the clear
		}
		if r.Open(&bad, &m) {
			t.Errorf("bit %d was changed unnoticed", i)
		}
	}
	for n := range len(p.Frame) {
		short := ether.Packet{Frame: bytes.Clone(p.Frame[:n])}
		if r.Open(&short, &m) {
			t.Errorf("opened the first %d bytes", n)
		}
	}
	if !r.Open(&p, &m) {
		t.Error("what nobody changed is refused after that")
	}
}

func TestMarksTravelWithTheFrame(t *testing.T) {
	_, ids := hosts(t, "a", "b")
	s, r, err := shaken(t, ids[0], ids[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	plain := packet(strings.Repeat("x", 40))
	plain.Offload = ether.Offload{Flags: ether.NeedsChecksum, CsumStart: 20, CsumOffset: 6}
	p := sealed(t, s, plain, 63)
	var m Scratch
	if !r.Open(&p, &m) || !p.Offload.Partial() || p.Offload.CsumStart != 20 || p.Offload.CsumOffset != 6 || !bytes.Equal(p.Frame, plain.Frame) {
		t.Errorf("opened: %+v", p)
	}
}

// A Proxy owns the authority and can make a certificate for any name. It cannot make one for a key that it does not have.
func TestALyingProxyIsNoticed(t *testing.T) {
	ca, ids := hosts(t, "a", "b")
	a := ids[0]
	if _, _, err := shaken(t, a, ids[1], nil); err != nil { // first sight
		t.Fatal(err)
	}
	false1 := host(t, ca, "b")
	_, r, err := shaken(t, a, false1, nil)
	var pin *pki.PinError
	if !errors.As(err, &pin) || pin.Name != "b" || pin.Shown != false1.Key() || r != nil {
		t.Errorf("a false b: %v, %v", err, r)
	}
	falseA := host(t, ca, "a")
	if _, r, err := shaken(t, falseA, ids[1], nil); err == nil || r != nil {
		t.Errorf("a false a: %v, %v", err, r)
	}
	if _, _, err := shaken(t, a, host(t, ca, "proxy"), nil); err == nil {
		t.Error("the Proxy passes for b by its own name")
	}
	for i := range 40 { // and a relay can alter no word of the handshake
		n := 0
		_, r, err := shaken(t, a, ids[1], func(m []byte) []byte {
			if n++; n == 1+i%2 && len(m) > numberLen {
				m = bytes.Clone(m)
				m[numberLen+(i*37)%(len(m)-numberLen)] ^= 1 << (i % 8)
			}
			return m
		})
		if err == nil || r != nil && i%2 == 1 {
			t.Errorf("message %d was altered unnoticed: %v", 1+i%2, err)
		}
	}
}

func TestADeskKeepsNoMoreThanItsShare(t *testing.T) {
	_, ids := hosts(t, "b")
	desk := NewDesk(func() *pki.Identity { return ids[0] }, func(*Receiver) { t.Error("agreed with nobody") })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	full := 0
	for range 2 * maxShakes {
		m := make([]byte, numberLen+1)
		rand.Read(m[:numberLen])
		m[numberLen] = 22 // half of a hello, and no more
		if _, err := desk.Answer(ctx, m); err != nil && strings.Contains(err.Error(), "too many") {
			full++
		}
		if n := len(desk.shakes); n > maxShakes {
			t.Fatalf("%d under way", n)
		}
	}
	if full == 0 {
		t.Error("nobody was turned away")
	}
	if _, err := desk.Answer(ctx, make([]byte, maxMessage+1)); err == nil {
		t.Error("took a message of any length")
	}
	desk.Close()
}

func TestNotesAreForThePeer(t *testing.T) {
	_, ids := hosts(t, "a", "b")
	s, r, err := shaken(t, ids[0], ids[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.Note([]byte("hello"))
	if err != nil || bytes.Contains(raw, []byte("hello")) {
		t.Fatalf("% x, %v", raw, err)
	}
	if id, ok := NoteID(raw); !ok || id != r.ID {
		t.Errorf("it says that it is for key %d", id)
	}
	var m Scratch
	if p := (ether.Packet{Frame: bytes.Clone(raw)}); r.Open(&p, &m) {
		t.Error("a note passes for a frame")
	}
	r2 := &Receiver{key: r.key}
	if text, err := r2.ReadNote(bytes.Clone(raw)); err != nil || string(text) != "hello" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := r2.ReadNote(raw); err == nil {
		t.Error("read twice")
	}
}

// The window against a set that forgets nothing.
func TestWindow(t *testing.T) {
	w, seen := &window{}, map[uint64]bool{}
	var top uint64
	seed := uint64(1)
	for range 200_000 {
		seed = seed*6364136223846793005 + 1442695040888963407
		c := top + seed>>33%20
		if seed>>60 == 0 && top > 2*windowSize {
			c = top - seed>>40%(2*windowSize)
		}
		ok := w.accept(c)
		switch {
		case ok && (seen[c] || c == 0):
			t.Fatalf("counter %d was taken twice", c)
		case !ok && !seen[c] && c != 0 && c+windowSize > top:
			t.Fatalf("counter %d, %d behind, was refused", c, top-c)
		}
		seen[c] = true
		top = max(top, c)
	}
}

func TestAWornKeySealsNothing(t *testing.T) {
	s, _ := pair(t)
	s.lanes[2].last.Store(mostFrames / maxLanes)
	p := packet("x")
	var m Scratch
	if s.Seal(make([]byte, SealedLen(&p)), &p, 2, &m) {
		t.Error("sealed with a key that is worn out")
	}
	s.lanes[noteLane].last.Store(mostFrames / maxLanes)
	if _, err := s.Note(nil); err == nil {
		t.Error("a note too")
	}
	if !s.Tired(time.Now()) {
		t.Error("it asks for no fresh one")
	}
}

// pair are two ends of a key that came out of no handshake.
func pair(t testing.TB) (*Sender, *Receiver) {
	k, err := keyFrom(tls.TLS_AES_128_GCM_SHA256, make([]byte, secretLen))
	if err != nil {
		t.Fatal(err)
	}
	return &Sender{ID: 7, key: k, Born: time.Now()}, &Receiver{ID: 7, key: k}
}

func TestNothingIsAllocatedForAFrame(t *testing.T) {
	s, r := pair(t)
	p := packet(strings.Repeat("x", 1400))
	p.Offload = ether.Offload{Flags: ether.NeedsChecksum, CsumStart: 34, CsumOffset: 16}
	f := make([]byte, SealedLen(&p))
	var m Scratch
	once := func() {
		s.Seal(f, &p, 1, &m)
		got := ether.Packet{Frame: f}
		if !r.Open(&got, &m) {
			t.Error("not opened")
		}
	}
	once() // its window is made
	if n := testing.AllocsPerRun(1000, once); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func FuzzOpen(f *testing.F) {
	s, _ := pair(f)
	p := packet("a frame that is sealed")
	f.Add([]byte(sealed(f, s, p, 0).Frame))
	p.Offload = ether.Offload{Flags: ether.NeedsChecksum, CsumStart: 14, CsumOffset: 6}
	f.Add([]byte(sealed(f, s, p, 5).Frame))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, r := pair(t)
		var m Scratch
		Is(raw)
		NoteID(raw)
		r.ReadNote(bytes.Clone(raw))
		_, r = pair(t)
		got := ether.Packet{Frame: bytes.Clone(raw)}
		if r.Open(&got, &m) {
			if !got.Frame.Valid() || len(got.Frame) >= len(raw) {
				t.Errorf("%d bytes out of %d", len(got.Frame), len(raw))
			}
			if got.Check() != nil {
				t.Error("marks that lie")
			}
		}
	})
}

func BenchmarkSealAndOpen(b *testing.B) {
	s, r := pair(b)
	p := packet(strings.Repeat("x", 1386))
	f := make([]byte, SealedLen(&p))
	var m Scratch
	b.SetBytes(int64(len(p.Frame)))
	b.ReportAllocs()
	for b.Loop() {
		s.Seal(f, &p, 1, &m)
		got := ether.Packet{Frame: f}
		r.Open(&got, &m)
	}
}
