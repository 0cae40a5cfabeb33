package trials

import (
	"context"
	"fmt"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/gauge"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/peers"
)

// queue shows what the length of the TAP's queue, in packets, trades: a long one delays, a short one loses.
func queue(ctx context.Context, t *Table) error {
	r, _, err := peers.OneHop(ctx, t.Stage, t.Programs, t.Nr)
	if err != nil {
		return err
	}
	for _, length := range []int{50, 100, 250, 500, 1000} {
		for _, host := range []string{peers.HostA, peers.HostB} {
			if err := t.Stage.IP(ctx, host, fmt.Sprintf("link set %s txqueuelen %d", peers.TAP(t.Nr, host), length)); err != nil {
				return err
			}
		}
		rate, err := r.Lossless(gauge.Flood{Payload: 64, Long: t.Long / 6}, lossBound, 5)
		if err != nil {
			return err
		}
		s, took, err := t.loadedPing(ctx, r.Between)
		if err != nil {
			return err
		}
		at := fmt.Sprintf("%d packets: ", length)
		t.found(at+"Gbit/s, one TCP stream", s.Rate/1e9, "")
		t.found(at+"ms, ping p50 under it", quantile(took, 0.5), "")
		t.found(at+"ms, ping p99 under it", quantile(took, 0.99), "")
		t.found(at+"kpkt/s of 64 B without loss", rate/1e3, "")
	}
	return nil
}
