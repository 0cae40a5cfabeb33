package control

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"
)

// hmacOf signs with a key, as nodes do.
func hmacOf(key string) Signer {
	return func(b []byte) []byte {
		h := hmac.New(sha256.New, []byte(key))
		h.Write(b)
		return h.Sum(nil)
	}
}

func TestProbeIsReadOnlyIfSigned(t *testing.T) {
	p := Probe{Overlay: "home", Node: "host1", Port: "lan-eth0", Started: 1 << 40, Seq: 77}
	b, err := p.Encode(hmacOf("key"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeProbe(append(b, make([]byte, 20)...), hmacOf("key")); err != nil || got != p {
		t.Fatalf("with padding: %+v, %v", got, err)
	}
	if _, err := DecodeProbe(b, hmacOf("other")); err == nil {
		t.Error("another overlay's signature is accepted")
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, err := DecodeProbe(bad, hmacOf("key")); err == nil {
			t.Errorf("accepted with byte %d changed", i)
		}
		if _, err := DecodeProbe(b[:i], hmacOf("key")); err == nil {
			t.Errorf("accepted when cut to %d bytes", i)
		}
	}
	if _, err := (Probe{Port: strings.Repeat("x", 256)}).Encode(hmacOf("key")); err == nil {
		t.Error("a name of 256 bytes is accepted")
	}
	if _, err := p.Encode(func([]byte) []byte { return []byte("short") }); err == nil {
		t.Error("a short signature is accepted")
	}
}

func FuzzDecodeProbe(f *testing.F) {
	lax := func(b []byte) []byte { return make([]byte, probeMACLen) } // so that the fuzzer gets past the signature
	b, err := Probe{Overlay: "home", Node: "host1", Port: "lan", Started: 1, Seq: 2}.Encode(lax)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("vnlp"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodeProbe(b, lax)
		if err != nil {
			return
		}
		again, err := p.Encode(lax)
		if err != nil || !bytes.HasPrefix(b, again) {
			t.Fatalf("%x is read as %+v and written as %x, %v", b, p, again, err)
		}
	})
}
