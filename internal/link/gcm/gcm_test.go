package gcm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// twin is the standard library's cipher under the same key.
func twin(t testing.TB, key []byte) (*Key, cipher.AEAD) {
	t.Helper()
	if !Available() {
		t.Skip("this processor has no AES on vectors of 512 bits")
	}
	k, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return k, aead
}

// tagsAgree has eight headers tagged at once.
func tagsAgree(t *testing.T, k *Key, aead cipher.AEAD, nonce [NonceLen]byte, head [HeadLen]byte) {
	t.Helper()
	h := Heads{
		First:   binary.BigEndian.Uint64(head[:]),
		Counter: binary.BigEndian.Uint64(head[8:]),
		Front:   uint64(binary.BigEndian.Uint32(nonce[:])) << 32,
		Mask:    binary.BigEndian.Uint64(nonce[4:]),
	}
	k.Tag(&h)
	for i, got := range h.Tags {
		n := h.Counter + uint64(i)
		binary.BigEndian.PutUint64(head[8:], n)
		binary.BigEndian.PutUint64(nonce[4:], n^h.Mask)
		if want := aead.Seal(nil, nonce[:], nil, head[:]); !bytes.Equal(got[:], want) {
			t.Fatalf("the tag of header %d of eight is %x, want %x", i, got, want)
		}
	}
}

// apartAgrees seals and opens a text in two parts, also to memory in front of it, and looks at what must stay.
func apartAgrees(t *testing.T, k *Key, nonce [NonceLen]byte, head [HeadLen]byte, text, want []byte, apart int) {
	t.Helper()
	var lead [128]byte
	stays := bytes.Repeat([]byte{0x5a}, apart)
	copy(lead[:], text[:apart])
	rest, got := append(bytes.Clone(stays), text[apart:]...), make([]byte, len(want))
	k.SealApart(got, &lead, apart, rest, &nonce, &head)
	if !bytes.Equal(got, want) || !bytes.Equal(rest[:apart], stays) || !bytes.Equal(rest[apart:], text[apart:]) {
		t.Fatalf("%d and %d bytes seal to\n%x, want\n%x", apart, len(text)-apart, got, want)
	}
	for _, before := range []int{0, 16, 112, 200} {
		slid := append(bytes.Repeat([]byte{0x5a}, apart+before), want...)
		lead = [128]byte{}
		if before < apart { // what stays must not be what is opened
			slid = slices.Concat(stays, slid)
		}
		src := slid[len(slid)-len(want):]
		if !k.OpenApart(slid, &lead, apart, src, &nonce, &head) || !bytes.Equal(lead[:apart], text[:apart]) ||
			!bytes.Equal(slid[apart:len(text)], text[apart:]) || !bytes.Equal(slid[:apart], stays) {
			t.Fatalf("%d and %d bytes do not open to memory that begins %d bytes before them", apart, len(text)-apart, before)
		}
	}
	forged := append(bytes.Clone(stays), want...)
	forged[len(forged)-20] ^= 1
	if k.OpenApart(forged, &lead, apart, forged[apart:], &nonce, &head) || lead != [128]byte{} || !bytes.Equal(forged[:apart], stays) ||
		!bytes.Equal(forged[apart:len(text)], make([]byte, len(text)-apart)) {
		t.Fatalf("%d and %d bytes that are forged open, or leave something", apart, len(text)-apart)
	}
}

// agree seals and opens text both ways, in place and from elsewhere, and looks at what lies around it.
func agree(t *testing.T, k *Key, aead cipher.AEAD, nonce [NonceLen]byte, head [HeadLen]byte, text []byte) {
	t.Helper()
	tagsAgree(t, k, aead, nonce, head)
	want := aead.Seal(nil, nonce[:], text, head[:])
	const guard = 80
	around := bytes.Repeat([]byte{0x5a}, guard)
	memory := bytes.Repeat([]byte{0x5a}, guard+len(want)+guard)
	got := memory[guard : guard+len(want)]
	k.Seal(got, text, &nonce, &head)
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes seal to\n%x, want\n%x", len(text), got, want)
	}
	copy(got, text)
	k.Seal(got, got[:len(text)], &nonce, &head)
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes seal in place to\n%x, want\n%x", len(text), got, want)
	}
	plain := bytes.Repeat([]byte{0x5a}, guard+len(text)+guard)
	if !k.Open(plain[guard:], want, &nonce, &head) || !bytes.Equal(plain[guard:guard+len(text)], text) {
		t.Fatalf("%d bytes do not open", len(text))
	}
	if !k.Open(got, got, &nonce, &head) || !bytes.Equal(got[:len(text)], text) {
		t.Fatalf("%d bytes do not open in place", len(text))
	}
	for _, edge := range [][]byte{memory[:guard], memory[guard+len(want):], plain[:guard], plain[guard+len(text):]} {
		if !bytes.Equal(edge, around) {
			t.Fatalf("%d bytes: what lies beside them has changed", len(text))
		}
	}
	for _, apart := range []int{64, 68, 80, 100, 127} {
		if len(text) >= apart+RestLeast {
			apartAgrees(t, k, nonce, head, text, want, apart)
		}
	}
	for _, before := range []int{1, 63, 110, 256} {
		slid := append(bytes.Repeat([]byte{0x5a}, before), want...)
		if !k.Open(slid, slid[before:], &nonce, &head) || !bytes.Equal(slid[:len(text)], text) {
			t.Fatalf("%d bytes do not open to memory that begins %d bytes before them", len(text), before)
		}
	}
	bad := bytes.Clone(want)
	bad[int(nonce[0])%len(bad)] ^= 1 << (nonce[1] % 8)
	if k.Open(plain[guard:], bad, &nonce, &head) {
		t.Fatalf("%d bytes open although a bit was flipped", len(text))
	}
	if !bytes.Equal(plain[guard:guard+len(text)], make([]byte, len(text))) {
		t.Fatal("what did not authenticate was left readable")
	}
	other := head
	other[nonce[2]%HeadLen] ^= 0x80
	if k.Open(plain[guard:], want, &nonce, &other) {
		t.Fatalf("%d bytes open with another header", len(text))
	}
}

func TestLikeTheStandardLibrary(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	random := func(b []byte) {
		for i := range b {
			b[i] = byte(dice.Uint32())
		}
	}
	for _, size := range []int{16, 32} {
		t.Run(fmt.Sprintf("aes-%d", 8*size), func(t *testing.T) {
			for n := range 1700 {
				key, text := make([]byte, size), make([]byte, n)
				random(key)
				k, aead := twin(t, key)
				var nonce [NonceLen]byte
				var head [HeadLen]byte
				random(nonce[:])
				random(head[:])
				random(text)
				agree(t, k, aead, nonce, head, text)
			}
		})
	}
}

func TestExtremeKeysAndTexts(t *testing.T) {
	for _, key := range [][]byte{make([]byte, 16), make([]byte, 32), bytes.Repeat([]byte{0xff}, 16), bytes.Repeat([]byte{0x80}, 32)} {
		k, aead := twin(t, key)
		for _, fill := range []byte{0, 0xff, 0x80, 1} {
			for _, n := range []int{0, 1, 15, 16, 17, 63, 64, 255, 256, 257, 512, 1440, 65535} {
				agree(t, k, aead, [NonceLen]byte{fill, fill, fill, 11: fill}, [HeadLen]byte{fill, 15: fill}, bytes.Repeat([]byte{fill}, n))
			}
		}
	}
	if Available() {
		if _, err := New(make([]byte, 7)); err == nil {
			t.Error("a key of 7 bytes was taken")
		}
	}
}

// FuzzLikeTheStandardLibrary: go test -fuzz LikeTheStandardLibrary ./internal/link/gcm
func FuzzLikeTheStandardLibrary(f *testing.F) {
	f.Add([]byte("a key of 32 bytes, more or less."), []byte("nonce"), []byte("header"), []byte("text"))
	f.Fuzz(func(t *testing.T, secret, nonce, head, text []byte) {
		key := make([]byte, 16+16*(len(secret)%2))
		copy(key, secret)
		k, aead := twin(t, key)
		var n [NonceLen]byte
		var h [HeadLen]byte
		copy(n[:], nonce)
		copy(h[:], head)
		agree(t, k, aead, n, h, text)
	})
}

// BenchmarkSeal and BenchmarkOpen: go test -bench . ./internal/link/gcm
func BenchmarkSeal(b *testing.B) {
	each(b, func(b *testing.B, k *Key, aead cipher.AEAD, text []byte) {
		var nonce [NonceLen]byte
		var head [HeadLen]byte
		out := make([]byte, len(text)+Overhead)
		for b.Loop() {
			if k != nil {
				k.Seal(out, text, &nonce, &head)
			} else {
				aead.Seal(out[:0], nonce[:], text, head[:])
			}
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	each(b, func(b *testing.B, k *Key, aead cipher.AEAD, text []byte) {
		var nonce [NonceLen]byte
		var head [HeadLen]byte
		sealed, out := aead.Seal(nil, nonce[:], text, head[:]), make([]byte, len(text))
		for b.Loop() {
			if k != nil {
				k.Open(out, sealed, &nonce, &head)
			} else if _, err := aead.Open(out[:0], nonce[:], sealed, head[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func each(b *testing.B, run func(*testing.B, *Key, cipher.AEAD, []byte)) {
	for _, bits := range []int{128, 256} {
		k, aead := twin(b, make([]byte, bits/8))
		for _, n := range []int{64, 1440, 16 << 10} {
			for form, key := range map[string]*Key{"vector": k, "standard": nil} {
				b.Run(fmt.Sprintf("aes-%d/%d/%s", bits, n, form), func(b *testing.B) {
					b.SetBytes(int64(n))
					run(b, key, twinOf(b, bits), make([]byte, n))
				})
			}
		}
		_ = aead
	}
}

func twinOf(b *testing.B, bits int) cipher.AEAD {
	_, aead := twin(b, make([]byte, bits/8))
	return aead
}

// BenchmarkTag: ns for the tags of eight headers.
func BenchmarkTag(b *testing.B) {
	if !Available() {
		b.Skip("this processor has no vectors of 512 bits")
	}
	k, err := New(make([]byte, 16))
	if err != nil {
		b.Fatal(err)
	}
	var h Heads
	for b.Loop() {
		k.Tag(&h)
	}
}
