package node

import (
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
)

// What counting costs a frame, full frames in batches of 64 from one VM to another of the same host, so that each is counted
// where it enters and where it leaves:
//
//	go test -run '^$' -bench WorkerCounting -count 20 ./internal/node | tee counting.txt; benchstat -col /counting counting.txt
func BenchmarkWorkerCounting(b *testing.B) {
	for _, row := range []struct {
		name      string
		uncounted bool
	}{{"counting=on", false}, {"counting=off", true}} {
		b.Run(row.name, func(b *testing.B) {
			w := newBench(b, func(c *Config) { c.Uncounted = row.uncounted })
			w.from(0, frame(mac(1), everybody()))
			w.from(1, frame(mac(2), everybody()))
			w.drain()
			for _, far := range w.far {
				go func() {
					for batch := port.NewBatch(64); far.Read(0, batch) == nil; {
					}
				}()
				b.Cleanup(func() { far.Close() })
			}
			pkts := make([]ether.Packet, 64)
			for i := range pkts {
				one := frame(mac(1), mac(2))
				one.Frame = append(one.Frame, make([]byte, 1514-len(one.Frame))...)
				pkts[i] = one
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				w.from(0, pkts...)
				n += len(pkts)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/frame")
		})
	}
}
