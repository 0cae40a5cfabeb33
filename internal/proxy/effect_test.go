package proxy

import (
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

func TestVerdictsKeptAreBounded(t *testing.T) {
	effects, start := map[vttif.Pair]effect{}, time.Unix(0, 0)
	pair := func(i int) vttif.Pair { return vttif.Pair{Src: ether.MAC{5: byte(i)}, Dst: ether.MAC{0: 2}} }
	for i := range 10 {
		effects[pair(i)] = effect{at: start.Add(time.Duration(i) * time.Second)}
		forgetOldest(effects, 10)
	}
	if len(effects) != 10 {
		t.Fatalf("%d are left of as many as there may be", len(effects))
	}
	effects[pair(10)] = effect{at: start.Add(10 * time.Second)}
	forgetOldest(effects, 10)
	for i := range 11 {
		if _, kept := effects[pair(i)]; kept != (i >= 6) {
			t.Errorf("verdict %d of 0 to 10: kept %v", i, kept)
		}
	}
}
