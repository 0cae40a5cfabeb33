package main

import (
	"net"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Whatever is damaged is found: a check that finds nothing would let every run pass.
func TestDamageIsFound(t *testing.T) {
	l := newLetters()
	kinds := rawKinds()
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.Uint64().Draw(t, "number")
		message := appendMessage(nil, l, number, rapid.IntRange(messageHead, 9000).Draw(t, "bytes"))
		if got, err := checkMessage(message); err != nil || got != number {
			t.Fatalf("message %d: %d, %v", number, got, err)
		}
		if _, err := checkMessage(damage(t, message)); err == nil {
			t.Fatal("a damaged message passes")
		}
		kind := rapid.IntRange(0, len(kinds)-1).Draw(t, "kind")
		own := net.HardwareAddr{2, 0, 0, 0, 0, 1}
		p := Plan{MTU: rapid.IntRange(576, 9000).Draw(t, "mtu"), PeerMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}}
		f := kinds[kind].make(&dice{plan: p, own: own, l: l, state: rapid.Uint64().Draw(t, "state"), kind: kind, number: number})
		if len(f) > p.MTU+14+4 {
			t.Fatalf("%s has %d bytes at an MTU of %d", kinds[kind].name, len(f), p.MTU)
		}
		if k, n, err := sealed(f); err != nil || k != kind || n != number {
			t.Fatalf("%s: kind %d, number %d, %v", kinds[kind].name, k, n, err)
		}
		if _, _, err := sealed(damage(t, f)); err == nil {
			t.Fatalf("a damaged frame of kind %q passes", kinds[kind].name)
		}
	})
}

// damage flips a bit, drops the last byte or adds one.
func damage(t *rapid.T, b []byte) []byte {
	b = slices.Clone(b)
	switch rapid.IntRange(0, 9).Draw(t, "how") {
	case 0:
		return b[:len(b)-1]
	case 1:
		return append(b, 0)
	}
	b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	return b
}

// Checksums that are meant to be right are right: a kernel on the way may look.
func TestRawFramesAreWhatTheySay(t *testing.T) {
	l := newLetters()
	for kind, k := range rawKinds() {
		for number := range uint64(200) {
			d := &dice{plan: Plan{MTU: 1500, PeerMAC: make(net.HardwareAddr, 6)}, own: make(net.HardwareAddr, 6), l: l, state: number, kind: kind, number: number}
			f := k.make(d)
			at := int(f[len(f)-16])<<8 | int(f[len(f)-15])
			if at == 0 || d.spoilLength || len(d.headers) > 0 {
				continue
			}
			l3 := 14 + 4*len(d.tags)
			l4, proto, addresses := l3+4*int(f[l3]&15), f[l3+9], f[l3+12:l3+20]
			if f[l3]>>4 == 6 {
				l4, proto, addresses = l3+40, f[l3+6], f[l3+8:l3+40]
			}
			right := fold(sum(addresses)+uint32(proto)+uint32(len(f)-l4)+sum(f[l4:])) == 0xffff
			if right == d.spoil {
				t.Fatalf("%s, number %d: checksum right: %v", k.name, number, right)
			}
		}
	}
}
