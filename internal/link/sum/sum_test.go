package sum

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestLikeTheStandardLibrary copies texts of all lengths to where nothing overlaps, to themselves, and to in front of them.
func TestLikeTheStandardLibrary(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	for n := range 1700 {
		text := make([]byte, n)
		for i := range text {
			text[i] = byte(dice.Uint32())
		}
		agree(t, text)
	}
	for _, fill := range []byte{0, 0xff, 0x80, 1} {
		for _, n := range []int{0, 1, 255, 256, 257, 1440, 65535} {
			agree(t, bytes.Repeat([]byte{fill}, n))
		}
	}
}

// TestKnownSums: RFC 3720 appendix B.4.
func TestKnownSums(t *testing.T) {
	for _, c := range []struct {
		text []byte
		want uint32
	}{
		{make([]byte, 32), 0x8a9136aa},
		{bytes.Repeat([]byte{0xff}, 32), 0x62a8ab43},
		{[]byte("123456789"), 0xe3069283},
	} {
		if got := Copy(nil, nil, make([]byte, len(c.text)), c.text); got != c.want {
			t.Errorf("the sum of %x is %x, want %x", c.text, got, c.want)
		}
	}
}

// FuzzLikeTheStandardLibrary: go test -fuzz LikeTheStandardLibrary ./internal/link/sum
func FuzzLikeTheStandardLibrary(f *testing.F) {
	f.Add([]byte("text"), uint16(400))
	f.Fuzz(func(t *testing.T, text []byte, more uint16) { agree(t, append(text, make([]byte, more)...)) })
}

func agree(t *testing.T, text []byte) {
	t.Helper()
	const guard = 80
	around, want := bytes.Repeat([]byte{0x5a}, guard), Plain(nil, nil, make([]byte, len(text)), text)
	memory := bytes.Repeat([]byte{0x5a}, guard+len(text)+guard)
	for _, before := range []int{-1, 0, 1, 63, 110, 256} { // -1: from elsewhere
		dst, src := memory[guard:guard+len(text)], text
		if before >= 0 {
			slid := append(make([]byte, before), text...)
			dst, src = slid, slid[before:]
		}
		if got := Copy(nil, nil, dst, src); got != want || !bytes.Equal(dst[:len(text)], text) {
			t.Fatalf("%d bytes moved by %d have the sum %x, want %x; copied well: %v", len(text), before, got, want, bytes.Equal(dst[:len(text)], text))
		}
	}
	for _, lead := range []int{0, 1, 7, 68, 80, len(text)} {
		if lead > len(text) {
			continue
		}
		clear(memory[guard:][:len(text)])
		dst := memory[guard:][:len(text)]
		if got := Copy(dst, text[:lead], dst[lead:], text[lead:]); got != want || !bytes.Equal(dst, text) {
			t.Fatalf("%d and %d bytes have the sum %x, want %x; copied well: %v", lead, len(text)-lead, got, want, bytes.Equal(dst, text))
		}
		slid := append(make([]byte, 40), text...) // what comes first stays, until the rest is moved over it
		src := slid[40:]
		if got := Copy(src, src[:lead], slid, src[lead:]); got != want || !bytes.Equal(slid[:len(text)-lead], text[lead:]) {
			t.Fatalf("%d bytes that stay and %d have the sum %x, want %x", lead, len(text)-lead, got, want)
		}
	}
	if !bytes.Equal(memory[:guard], around) || !bytes.Equal(memory[guard+len(text):], around) {
		t.Fatalf("%d bytes: what lies beside them has changed", len(text))
	}
}

// BenchmarkCopy: go test -bench . ./internal/link/sum
func BenchmarkCopy(b *testing.B) {
	src, dst := make([]byte, 1440), make([]byte, 1440)
	for _, c := range []struct {
		name string
		copy func(lead, head, dst, src []byte) uint32
	}{{"vector", Copy}, {"standard", Plain}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				c.copy(nil, nil, dst, src)
			}
		})
	}
}
