package trials

import (
	"context"
	"fmt"
	"time"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/gauge"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/peers"
)

const (
	// beside is what a flood of small datagrams sends beside a TCP stream, a second: a quarter of what goes without loss alone.
	beside = 50_000
	// queueRounds is how often each queue is measured, in turn.
	queueRounds = 3
)

// queueLength is one way to set up the queue of a TAP.
type queueLength struct {
	name    string
	packets int
	bounded bool   // in bytes, by us
	before  string // the queueing discipline in front of it
}

// queue shows what the queue of a TAP trades: a long one delays, a short one loses. The kernel counts its packets; a default daemon bounds the
// bytes that wait in it besides.
func queue(ctx context.Context, t *Table) error {
	r, o, err := peers.OneHop(ctx, t.Stage, t.Programs, t.Nr)
	if err != nil {
		return err
	}
	all := []queueLength{{"default, bounded in bytes", 500, true, "noqueue"}}
	for _, packets := range []int{32, 100, 500} {
		all = append(all, queueLength{fmt.Sprintf("%d packets of any size", packets), packets, false, "noqueue"})
	}
	all = append(all, queueLength{"500 packets behind pfifo_fast", 500, false, "pfifo_fast"})
	figures := map[string][]float64{}
	var order []string
	for range queueRounds {
		for _, q := range all {
			if err := t.setQueue(ctx, o, q); err != nil {
				return err
			}
			values, err := t.tryQueue(ctx, r)
			if err != nil {
				return err
			}
			for i, title := range queueFigures() {
				what := q.name + ": " + title
				if len(figures[what]) == 0 {
					order = append(order, what)
				}
				figures[what] = append(figures[what], values[i])
			}
		}
	}
	for _, what := range order {
		t.foundAll(what, figures[what], "")
	}
	return nil
}

// queueFigures are the titles of what tryQueue returns.
func queueFigures() []string {
	return []string{"Gbit/s, one TCP stream", "ms, ping p50 under it", "ms, ping p99 under it", "kpkt/s of 64 B without loss", "% of 50 kpkt/s of 64 B lost beside one TCP stream"}
}

// setQueue sets the queues of both TAPs. A daemon that is asked for its ports looks how long they are.
func (t *Table) setQueue(ctx context.Context, o *peers.Overlay, q queueLength) error {
	to := "off"
	if q.bounded {
		to = "on"
	}
	for _, host := range []string{peers.HostA, peers.HostB} {
		tap := peers.TAP(t.Nr, host)
		if err := t.Stage.IP(ctx, host, fmt.Sprintf("link set %s txqueuelen %d", tap, q.packets)); err != nil {
			return err
		}
		if _, err := t.Stage.Run(ctx, host, "tc", "qdisc", "replace", "dev", tap, "root", q.before); err != nil {
			return err
		}
		for _, words := range [][]string{{"offload", "queue", to}, {"ports"}} {
			if _, err := o.Vnet(ctx, host, words...); err != nil {
				return err
			}
		}
	}
	return nil
}

// tryQueue measures what queueFigures says.
func (t *Table) tryQueue(ctx context.Context, r *peers.Running) ([]float64, error) {
	rate, err := r.Lossless(gauge.Flood{Payload: 64, Long: t.Long / 24}, lossBound, 5)
	if err != nil {
		return nil, err
	}
	short := *t
	short.Long /= 2
	s, took, err := short.loadedPing(ctx, r.Between)
	if err != nil {
		return nil, err
	}
	loaded := make(chan error, 1)
	go func() {
		_, err := r.TCP(ctx, 1, false, slowStart/2+t.Long/2)
		loaded <- err
	}()
	time.Sleep(slowStart / 2)
	a, err := r.Flood(gauge.Flood{Payload: 64, Rate: beside, Long: t.Long / 3})
	if other := <-loaded; err == nil {
		err = other
	}
	return []float64{s.Rate / 1e9, quantile(took, 0.5), quantile(took, 0.99), rate / 1e3, 100 * a.Loss()}, err
}
