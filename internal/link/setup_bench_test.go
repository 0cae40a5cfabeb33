package link

import "testing"

// BenchmarkDial is a link from the first packet to frames, both ends on one machine: nearly all of it is the handshake.
func BenchmarkDial(b *testing.B) {
	for _, carrier := range []Carrier{UDP, TCP} {
		b.Run(carrier.String(), func(b *testing.B) {
			one, other := pair(b, nil)
			for b.Loop() {
				l, _ := dial(b, one, other, carrier)
				l.Close("measured")
			}
		})
	}
}
