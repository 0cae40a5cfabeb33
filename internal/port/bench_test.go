//go:build linux

package port

import (
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// Run with: go test -run xxx -bench . ./internal/port
var benchmarked = []struct {
	name string
	r    recipe
}{
	{"64B", recipe{udp: true, payload: 22}},
	{"1514B", recipe{payload: 1460}},
	{"60kB", recipe{payload: 59000, gso: 1448}},
}

// BenchmarkWrite delivers to a TAP whose interface nobody listens on.
func BenchmarkWrite(b *testing.B) {
	for _, row := range benchmarked {
		b.Run(row.name, func(b *testing.B) {
			p := openTestTAP(b, TAPConfig{Name: "bench"})
			pkts := []ether.Packet{row.r.packet()}
			b.ReportAllocs()
			b.SetBytes(int64(len(pkts[0].Frame)))
			for b.Loop() {
				if n, err := p.Write(0, pkts); n != 1 || err != nil {
					b.Fatalf("%d went, %v", n, err)
				}
			}
		})
	}
}

// BenchmarkRead reads from a TAP in batches of 32 what a LAN port has sent into it; only reading is timed.
func BenchmarkRead(b *testing.B) {
	for _, row := range benchmarked {
		b.Run(row.name, func(b *testing.B) {
			p := openTestTAP(b, TAPConfig{Name: "bench", TxQueue: 2000, Waiting: 1 << 30})
			lan := openTestLAN(b, "bench")
			pkts := []ether.Packet{row.r.packet()}
			batch := NewBatch(32)
			b.ReportAllocs()
			b.SetBytes(int64(len(pkts[0].Frame)))
			left := 0
			for i := 0; i < b.N; {
				if left == 0 {
					b.StopTimer()
					for ; left < 32; left++ {
						if n, err := lan.Write(0, pkts); n != 1 || err != nil {
							b.Fatalf("%d went, %v", n, err)
						}
					}
					b.StartTimer()
				}
				if err := p.Read(0, batch); err != nil {
					b.Fatal(err)
				}
				for j := range batch.Packets {
					if batch.Packets[j].Frame.Src() == macA {
						left--
						i++
					}
				}
			}
		})
	}
}

// BenchmarkFinish delivers a super-frame to a port that takes no offloads.
func BenchmarkFinish(b *testing.B) {
	o := outlet{door: &pickyDoor{}}
	pkts := []ether.Packet{recipe{payload: 59000, gso: 1448}.packet()}
	b.ReportAllocs()
	b.SetBytes(int64(len(pkts[0].Frame)))
	for b.Loop() {
		if n, err := o.write(0, pkts); n != 1 || err != nil {
			b.Fatalf("%d went, %v", n, err)
		}
	}
}
