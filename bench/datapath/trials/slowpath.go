package trials

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/gauge"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/peers"
)

const (
	// pathRate and pathQueue are a path that is slower than anything we do: 100 Mbit/s behind a queue of 20 ms.
	pathRate  = 100_000_000
	pathQueue = 20 * time.Millisecond
	// ownQueue is how much longer a ping may take through us, in milliseconds.
	ownQueue = 2
	// pingGap is between two pings.
	pingGap = 10 * time.Millisecond
	// slowStart is how long a stream may take until it fills the path.
	slowStart = time.Second
)

// slowPath pings while one TCP stream fills a path of 100 Mbit/s, on the path itself and through links over udp and tcp.
func slowPath(ctx context.Context, t *Table) error {
	for i, carrier := range []string{"udp", "tcp"} {
		if err := t.slowPathOver(ctx, carrier, i); err != nil {
			return err
		}
	}
	return nil
}

// slowPathOver is slowPath for one carrier, in hosts of its own.
func (t *Table) slowPathOver(ctx context.Context, carrier string, i int) error {
	near, far := fmt.Sprintf("near%d%s", t.Nr, carrier), fmt.Sprintf("far%d%s", t.Nr, carrier)
	if err := t.Stage.Add(ctx, near); err != nil {
		return err
	}
	a, b, err := t.wire(ctx, near, far, t.Nr+i)
	if err != nil {
		return err
	}
	o := peers.NewOverlay(t.Stage, t.Programs, t.Nr+i, "--carrier", carrier)
	guest := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 80, byte(t.Nr + i), last}) }
	if err := o.Proxy(ctx, near, "--tap", "vm-near"); err != nil {
		return err
	}
	if err := o.Host(ctx, far, a.String(), "--tap", "vm-far"); err != nil {
		return err
	}
	if err := t.tap(ctx, near, "vm-near", guest(1)); err != nil {
		return err
	}
	if err := t.tap(ctx, far, "vm-far", guest(2)); err != nil {
		return err
	}
	if err := t.Stage.Reaches(ctx, near, guest(2), patience); err != nil {
		return err
	}
	if err := t.shape(ctx, near, far, pathRate, pathQueue); err != nil {
		return err
	}
	ways := []struct {
		name   string
		aim    string
		ta, tb netip.Addr
	}{
		{"on the path itself", "", a, b},
		{"through the link over " + carrier, fmt.Sprintf("≤ %g: the path's queue and %d", float64(pathQueue.Milliseconds()+ownQueue), ownQueue), guest(1), guest(2)},
	}
	for _, way := range ways[min(i, 1):] { // the path itself once
		g := gauge.Between{Stage: t.Stage, A: near, B: far, AddrA: way.ta, AddrB: way.tb}
		s, took, err := t.loadedPing(ctx, g)
		if err != nil {
			return err
		}
		t.found("Mbit/s of TCP "+way.name, s.Rate/1e6, "")
		t.found("ms, ping p50 "+way.name, quantile(took, 0.5), way.aim)
		t.found("ms, ping p99 "+way.name, quantile(took, 0.99), way.aim)
	}
	return nil
}

// loadedPing pings while one TCP stream takes all it can get.
func (t *Table) loadedPing(ctx context.Context, g gauge.Between) (s gauge.Stream, took []time.Duration, err error) {
	loaded := make(chan error, 1)
	go func() {
		var err error
		s, err = g.TCP(ctx, 1, false, t.Long+2*slowStart)
		loaded <- err
	}()
	time.Sleep(slowStart)
	took, err = g.Pings(ctx, g.A, g.AddrB, pingGap, int(t.Long/pingGap))
	if other := <-loaded; err == nil {
		err = other
	}
	return s, took, err
}
