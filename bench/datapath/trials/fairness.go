package trials

import (
	"context"
	"net/netip"
	"time"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/gauge"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/peers"
)

const (
	// slowRate is the line to one of the peers, in bit/s, and slowQueue what waits in front of it.
	slowRate  = 1_000_000
	slowQueue = 50 * time.Millisecond
	// tooMuch is datagrams a second to the peer behind the slow line: a hundred times what it takes.
	tooMuch = 9_000
	// enough is datagrams a second to the other, well below what a lone one can take.
	enough = 30_000
	// payload makes an IP packet of 1,400 bytes.
	payload = 1400 - 28
)

// fairness floods two peers from one host, one of them behind 1 Mbit/s, and looks at what the other keeps of its rate.
// The bucket is in the sending host itself, where its queue also fills the socket's buffer: the hardest place.
func fairness(ctx context.Context, t *Table) error {
	o := peers.NewOverlay(t.Stage, t.Programs, t.Nr)
	if err := t.Stage.Add(ctx, "fair"); err != nil {
		return err
	}
	guest := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 80, byte(t.Nr), last}) }
	if err := o.Proxy(ctx, "fair", "--tap", "vm-fair"); err != nil {
		return err
	}
	if err := t.tap(ctx, "fair", "vm-fair", guest(1)); err != nil {
		return err
	}
	for i, name := range []string{"slow", "fast"} {
		at, _, err := t.wire(ctx, "fair", name, t.Nr+i)
		if err != nil {
			return err
		}
		if err := o.Host(ctx, name, at.String(), "--tap", "vm-"+name); err != nil {
			return err
		}
		if err := t.tap(ctx, name, "vm-"+name, guest(byte(i)+2)); err != nil {
			return err
		}
		if err := t.Stage.Reaches(ctx, "fair", guest(byte(i)+2), patience); err != nil {
			return err
		}
	}
	slow := gauge.Between{Stage: t.Stage, A: "fair", B: "slow", AddrA: guest(1), AddrB: guest(2)}
	fast := gauge.Between{Stage: t.Stage, A: "fair", B: "fast", AddrA: guest(1), AddrB: guest(3)}
	return t.floodBoth(ctx, slow, fast)
}

func (t *Table) floodBoth(ctx context.Context, slow, fast gauge.Between) error {
	kinds := []struct {
		name string
		rate func() (float64, error) // of the fast one
	}{
		{"UDP, 30,000 packets of 1,400 B a second", func() (float64, error) {
			a, err := fast.Flood(gauge.Flood{Payload: payload, Rate: enough, Long: t.Long})
			return a.Rate(), err
		}},
		{"TCP, one stream", func() (float64, error) {
			s, err := fast.TCP(ctx, 1, false, t.Long)
			return s.Rate, err
		}},
	}
	for _, k := range kinds {
		if _, err := t.Stage.Run(ctx, "fair", "tc", "qdisc", "replace", "dev", "to-slow", "root", "noqueue"); err != nil {
			return err
		}
		alone, err := k.rate()
		if err != nil {
			return err
		}
		_, beside, err := t.beside(slow, k.rate)
		if err != nil {
			return err
		}
		if err := t.shape(ctx, "fair", "slow", slowRate, slowQueue); err != nil {
			return err
		}
		got, both, err := t.beside(slow, k.rate)
		if err != nil {
			return err
		}
		// What the flood itself takes of the processors, which all of this shares, is in both of the rates that are compared.
		t.found(k.name+": rate of the unshaped peer, as a share of its rate beside the same flood to a peer without a slow line", both/beside, "≥ 0.9")
		t.found(k.name+": as a share of its rate alone", both/alone, "")
		t.found(k.name+": that beside the flood to a peer without a slow line, as a share of it alone", beside/alone, "")
		t.found(k.name+": Mbit/s that the peer behind 1 Mbit/s got meanwhile", got.Rate()*payload*8/1e6, "")
	}
	return nil
}

// beside measures a rate while a flood goes to another peer.
func (t *Table) beside(other gauge.Between, rate func() (float64, error)) (got gauge.Arrived, value float64, err error) {
	flooded := make(chan error, 1)
	go func() {
		var err error
		got, err = other.Flood(gauge.Flood{Payload: payload, Rate: tooMuch, Long: t.Long + time.Second})
		flooded <- err
	}()
	time.Sleep(time.Second / 2)
	value, err = rate()
	if failed := <-flooded; err == nil {
		err = failed
	}
	return got, value, err
}
