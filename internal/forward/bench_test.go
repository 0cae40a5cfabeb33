package forward

import (
	"fmt"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// hot is how many flows the benchmarks use.
const hot = 100

// benchTable is n exact/exact rules among others of all the kinds a node has, with the hot flows spread among them.
func benchTable(b *testing.B, n int) *Table {
	rules := append(pairs(n),
		Rule{ID: 1 << 40, Src: anyone, Dst: none, Out: LinkSide(0)},
		Rule{ID: 1<<40 + 1, Src: anyone, Dst: overlay.ExactMAC(mac(1 << 30)), Out: LinkSide(0)},
		Rule{ID: 1<<40 + 2, Arrival: LinkSide(3), Src: overlay.ExactMAC(mac(1 << 30)), Dst: overlay.ExactMAC(mac(1<<30 + 1)), Out: LinkSide(0)})
	return must(b, New(host), rules)
}

func eachSize(b *testing.B, f func(b *testing.B, n int, table *Table)) {
	for _, n := range []int{10, 1_000_000} {
		table := benchTable(b, n)
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) { f(b, n, table) })
	}
}

func BenchmarkDecide(b *testing.B) {
	eachSize(b, func(b *testing.B, n int, table *Table) {
		b.ReportAllocs()
		for i := range b.N {
			k := i % hot * max(n/hot, 1) % n
			table.Decide(PortSide(0), mac(k), mac(k+1))
		}
	})
}

// BenchmarkDecideCold asks for another flow each time, so that neither the processor's caches nor ours help.
func BenchmarkDecideCold(b *testing.B) {
	eachSize(b, func(b *testing.B, n int, table *Table) {
		b.ReportAllocs()
		for i := range b.N {
			k := i * 7919 % n
			table.Decide(PortSide(0), mac(k), mac(k+1))
		}
	})
}

// BenchmarkDecideUnknown finds nothing in any class.
func BenchmarkDecideUnknown(b *testing.B) {
	eachSize(b, func(b *testing.B, n int, table *Table) {
		b.ReportAllocs()
		for i := range b.N {
			table.Decide(PortSide(0), mac(1<<29+i%hot), mac(1<<29))
		}
	})
}

func BenchmarkCacheHit(b *testing.B) {
	eachSize(b, func(b *testing.B, n int, table *Table) {
		cache := NewCache(4096)
		b.ReportAllocs()
		for i := range b.N {
			k := i % hot * max(n/hot, 1) % n
			cache.Decide(table, PortSide(0), mac(k), mac(k+1))
		}
	})
}

func BenchmarkCacheMiss(b *testing.B) {
	eachSize(b, func(b *testing.B, n int, table *Table) {
		cache := NewCache(1024)
		b.ReportAllocs()
		for i := range b.N {
			k := i % 65536
			cache.Decide(table, PortSide(0), mac(k%n), mac(k+1))
		}
	})
}

func BenchmarkWith(b *testing.B) {
	eachSize(b, func(b *testing.B, n int, table *Table) {
		b.ReportAllocs()
		for i := range b.N {
			r := Rule{ID: 1 << 41, Src: overlay.ExactMAC(mac(1<<28 + i)), Dst: overlay.ExactMAC(mac(1 << 28)), Out: LinkSide(0)}
			if _, err := table.With([]Rule{r}, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
