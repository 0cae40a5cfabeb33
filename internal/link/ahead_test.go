package link

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// bed is memory as a socket fills it: datagrams one behind the other.
type bed struct{ datagrams [][]byte }

func (b *bed) ReadBatch([][]byte, []int, []int, []netip.AddrPort) (int, error) { return 0, nil }
func (b *bed) LocalAddr() netip.AddrPort                                       { return netip.AddrPort{} }
func (b *bed) Close() error                                                    { return nil }
func (b *bed) WriteSegments(_ netip.AddrPort, buf []byte, seg int) error {
	for d := range slices.Chunk(buf, seg) {
		b.datagrams = append(b.datagrams, bytes.Clone(d))
	}
	return nil
}

// TestWhatIsOpenedAheadIsWhatWasSent loses, repeats, swaps and spoils datagrams of super-frames and of others: what comes out, cut
// again, is what went in of those that arrived, with every cipher.
func TestWhatIsOpenedAheadIsWhatWasSent(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		c := rapid.SampledFrom([]Cipher{AES128, ChaCha20, AES256, Trusted}).Draw(t, "cipher")
		var got [][]byte
		l := shortCircuit(tb, c, func(_ int, _ *Link, pkts []ether.Packet) { got = append(got, cutAgain(t, pkts)...) })
		inlet := l.e.lanes[0].sock.(*wire).to
		var sent bed
		l.e.lanes[0].sock = &sent
		want := map[int][][]byte{} // by datagram
		var went, all [][]byte
		for range rapid.IntRange(1, 4).Draw(t, "sends") {
			p := superFrame(rapid.IntRange(1500, 9000).Draw(t, "bytes"), rapid.IntRange(500, 1448).Draw(t, "size"))
			pkts := []ether.Packet{p}
			if rapid.Bool().Draw(t, "with another frame") {
				pkts = append(pkts, frame(1, rapid.IntRange(64, 1400).Draw(t, "its size")))
			}
			longest := l.MTU() - headerLen - pieceRoom - tagLen
			went = append(went, cutTo(t, longest, pkts)...)
			l.Send(0, pkts)
			if now := cutTo(t, longest, pkts); !slices.EqualFunc(went[len(went)-len(now):], now, bytes.Equal) {
				t.Fatal("sending changed the packets")
			}
		}
		for i, d := range sent.datagrams { // each on its own, as the slow twin of all together
			got = nil
			twin := shortCircuit(tb, c, func(_ int, _ *Link, pkts []ether.Packet) { got = append(got, cutAgain(t, pkts)...) })
			r := twin.e.lanes[0].sock.(*wire).to
			r.datagram(bytes.Clone(d), l.Remote())
			r.deliver()
			want[i] = got
			all = append(all, got...)
		}
		if !slices.EqualFunc(went, all, bytes.Equal) {
			t.Fatalf("%d frames are in the datagrams, or others, of %d", len(all), len(went))
		}
		got = nil
		var expect [][]byte
		seen := map[int]bool{}
		var memory []byte
		var ends []int
		order := make([]int, len(sent.datagrams))
		for i := range order {
			order[i] = i
		}
		for range rapid.IntRange(0, 3).Draw(t, "disturbances") {
			i, j := rapid.IntRange(0, len(order)-1).Draw(t, "at"), rapid.IntRange(0, len(order)-1).Draw(t, "with")
			switch rapid.SampledFrom([]string{"lost", "twice", "swapped", "spoilt"}).Draw(t, "how") {
			case "lost":
				if len(order) > 1 {
					order = slices.Delete(order, i, i+1)
				}
			case "twice":
				order = slices.Insert(order, j, order[i])
			case "swapped":
				order[i], order[j] = order[j], order[i]
			case "spoilt":
				order = slices.Insert(order, i, -1-order[j])
			}
		}
		for _, i := range order {
			d := sent.datagrams[max(i, -1-i)]
			memory = append(memory, d...)
			ends = append(ends, len(memory))
			if i < 0 {
				memory[len(memory)-1-(-1-i)%len(d)] ^= 4
			} else if !seen[i] {
				seen[i] = true
				expect = append(expect, want[i]...)
			}
		}
		at := 0
		for _, end := range ends {
			inlet.datagram(memory[at:end], l.Remote())
			at = end
		}
		inlet.deliver()
		if !slices.EqualFunc(expect, got, bytes.Equal) {
			t.Fatalf("%d frames came out, or others, of %d", len(got), len(expect))
		}
		if n := l.received.Load(); n != uint64(len(expect)) {
			t.Fatalf("%d frames counted, %d arrived", n, len(expect))
		}
	})
}

func cutAgain(t *rapid.T, pkts []ether.Packet) [][]byte { return cutTo(t, 0, pkts) }

func cutTo(t *rapid.T, longest int, pkts []ether.Packet) (out [][]byte) {
	for i := range pkts {
		var s ether.Segmenter
		if err := s.Segment(&pkts[i], longest, func(p *ether.Packet) { out = append(out, bytes.Clone(p.Frame)) }); err != nil {
			t.Fatal(err)
		}
	}
	return out
}
