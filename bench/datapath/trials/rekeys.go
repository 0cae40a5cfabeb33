package trials

import (
	"context"
	"fmt"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/gauge"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/peers"
)

const (
	// rekeyCount is how many fresh handshakes are made under load, one every rekeyGap.
	rekeyCount = 20
	rekeyGap   = 200 * time.Millisecond
	// loadShare is how much of the rate without loss the load is: at the rate itself, some are lost over seconds without rekeys.
	loadShare = 0.6
	// lossBound is the share that may be lost for a rate to count as without loss.
	lossBound = 0.005
)

// rekeys makes twenty fresh handshakes while numbered datagrams cross the link as fast as it takes them.
func rekeys(ctx context.Context, t *Table) error {
	r, o, err := peers.OneHop(ctx, t.Stage, t.Programs, t.Nr)
	if err != nil {
		return err
	}
	full, err := r.Lossless(gauge.Flood{Payload: payload, Long: t.Long / 5}, lossBound, 5)
	if err != nil {
		return err
	}
	load := gauge.Flood{Payload: payload, Rate: full * loadShare, Long: rekeyCount*rekeyGap + time.Second}
	still, err := r.Flood(load)
	if err != nil {
		return err
	}
	before, err := t.queueDrops(ctx)
	if err != nil {
		return err
	}
	daemon := client(o.Socket(peers.HostB))
	done := make(chan error, 1)
	go func() {
		time.Sleep(rekeyGap)
		var err error
		for i := 0; i < rekeyCount && err == nil; i++ {
			began := time.Now()
			_, err = daemon.RekeyLink(ctx, &vnetv1.RekeyLinkRequest{Peer: peers.HostA})
			time.Sleep(rekeyGap - time.Since(began))
		}
		done <- err
	}()
	busy, err := r.Flood(load)
	if other := <-done; err == nil {
		err = other
	}
	if err != nil {
		return err
	}
	after, err := t.queueDrops(ctx)
	if err != nil {
		return err
	}
	t.found("packets a second, of 1,400 B", busy.Rate(), "")
	t.found("packets lost in as long a time without rekeys", float64(still.Sent-still.Received), "")
	t.found("packets lost during 20 rekeys", float64(busy.Sent-busy.Received), "0")
	t.found("of these in the sending TAP's queue, before they reached us", float64(after-before), "")
	return nil
}

// queueDrops is what the sending guest's kernel dropped because the TAP's queue was full.
func (t *Table) queueDrops(ctx context.Context) (n int64, err error) {
	text, err := t.Stage.Run(ctx, peers.HostA, "cat", "/sys/class/net/"+peers.TAP(t.Nr, peers.HostA)+"/statistics/tx_dropped")
	if err == nil {
		_, err = fmt.Sscan(text, &n)
	}
	return n, err
}
