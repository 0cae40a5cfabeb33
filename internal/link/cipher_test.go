package link

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// A link is trusted only when both ends say so; what one end insists on holds, and two that insist on different things do
// not meet.
func TestWhoChoosesTheCipher(t *testing.T) {
	auto := preferred()[0]
	for _, c := range []struct {
		dialler, acceptor, want Cipher // 0 = refused
	}{
		{AutoCipher, AutoCipher, auto}, {AES256, AutoCipher, AES256}, {AutoCipher, AES256, AES256}, {AutoCipher, ChaCha20, ChaCha20},
		{ChaCha20, AES256, 0}, {Trusted, Trusted, Trusted}, {Trusted, AutoCipher, auto}, {AutoCipher, Trusted, auto},
		{Trusted, AES256, AES256}, {AES256, Trusted, AES256},
	} {
		ca := newCA(t)
		wish := func(w Cipher) func(*Config) {
			return func(cfg *Config) { cfg.Cipher = func(string) Cipher { return w } }
		}
		a, stopA := newSite(t, issue(t, ca, "a"), Kernel{}, "127.0.0.1:0", wish(c.dialler))
		b, stopB := newSite(t, issue(t, ca, "b"), Kernel{}, "127.0.0.1:0", wish(c.acceptor))
		l, err := tryDial(a, b, UDP, "b")
		switch {
		case err != nil && c.want != 0:
			t.Errorf("%v dials %v: %v", c.dialler, c.acceptor, err)
		case err == nil && l.Cipher() != c.want.String():
			t.Errorf("%v dials %v: sealed with %s, want %v", c.dialler, c.acceptor, l.Cipher(), c.want)
		case err != nil && !strings.Contains(err.Error(), "agree on a cipher"):
			t.Errorf("%v dials %v: %v", c.dialler, c.acceptor, err)
		case err == nil:
			<-b.accepted
			l.Send(0, []ether.Packet{frame(1, 900)})
			b.waitFrames(t, 1)
		}
		stopA()
		stopB()
	}
}

// Damage of any kind to a datagram of a trusted link is noticed, and nobody without the key can make a header.
func TestTrustedIsChecked(t *testing.T) {
	secret := make([]byte, secretLen)
	key, err := firstKey(Trusted, secret)
	if err != nil {
		t.Fatal(err)
	}
	var nonce scratch
	h := header{kind: dgramRecords, lane: 3, link: 9, counter: 77}
	make1 := func() []byte {
		return key.seal(append(make([]byte, headerLen, 200), "everybody may read this"...), h, &nonce)
	}
	d := make1()
	if !strings.Contains(string(d), "everybody") {
		t.Error("the payload is not in the clear")
	}
	if body, ok := key.open(d, h, &nonce); !ok || string(body) != "everybody may read this" {
		t.Errorf("opened %q, %v", body, ok)
	}
	for bit := range 8 * len(d) {
		d := make1()
		d[bit/8] ^= 1 << (bit % 8)
		if got, fine := parseHeader(d); fine {
			if _, ok := key.open(d, got, &nonce); ok {
				t.Errorf("bit %d was turned, and nobody noticed", bit)
			}
		}
	}
	secret[0]++
	other, err := firstKey(Trusted, secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := other.open(make1(), h, &nonce); ok {
		t.Error("a datagram of another key was taken")
	}
}

// What is made ahead for headers in a row is what each gets by itself, in whatever order they come and under whatever key.
func TestTagsMadeAhead(t *testing.T) {
	var keys []*epochKey
	for i := range 2 {
		key, err := firstKey(Trusted, bytes.Repeat([]byte{byte(i)}, secretLen))
		if err != nil {
			t.Fatal(err)
		}
		next, err := key.next()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key, next)
	}
	if keys[0].bare == nil {
		t.Skip("this processor makes one tag at a time")
	}
	var ahead heads
	dice, counter := rand.New(rand.NewPCG(1, 2)), uint64(5)
	for range 2000 {
		switch dice.IntN(8) {
		case 0:
			counter = 1 + dice.Uint64N(9)
		case 1:
			counter += dice.Uint64N(6)
		default:
			counter++
		}
		k := keys[dice.IntN(8)%len(keys)/(1+dice.IntN(4))]
		h := header{kind: dgramRecords, epoch: uint8(k.epoch), lane: uint16(dice.IntN(9) / 8), link: LinkID(dice.IntN(9) / 8), counter: counter}
		var nonce [nonceLen]byte
		var head [headerLen]byte
		want := make([]byte, tagLen)
		h.put(head[:])
		k.nonce(&nonce, h.lane, h.counter)
		k.form.(openly).mac.Seal(want, nil, &nonce, &head)
		if got := ahead.tag(k, &h); !bytes.Equal(got[:], want) {
			t.Fatalf("the tag of %+v is %x, want %x", h, got[:], want)
		}
	}
}
