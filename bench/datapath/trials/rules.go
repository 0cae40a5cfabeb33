package trials

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/api/vnet/v1/vnetv1connect"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/gauge"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/peers"
)

const (
	// changeRate is rules a second that come or go, in changes of a hundred.
	changeRate  = 1000
	changeBatch = 100
	// ruleRounds is how many streams with and without changes are compared.
	ruleRounds = 5
)

// rules measures one TCP stream while a thousand rules a second come and go beside it, that are nothing to it: in turns with a
// stream that has peace, since two streams in peace differ by more than the aim allows.
func rules(ctx context.Context, t *Table) error {
	r, o, err := peers.OneHop(ctx, t.Stage, t.Programs, t.Nr)
	if err != nil {
		return err
	}
	var changes, shares []float64
	for range ruleRounds {
		still, err := r.TCP(ctx, 1, false, t.Long)
		if err != nil {
			return err
		}
		busy, rate, err := t.amongChanges(ctx, r.Between, o)
		if err != nil {
			return err
		}
		changes, shares = append(changes, rate), append(shares, busy.Rate/still.Rate)
	}
	t.foundAll("rules changed a second", changes, "1,000")
	t.foundAll("throughput meanwhile, as a share of that without", shares, "≥ 0.95")
	return nil
}

// amongChanges is a stream while rules change, and how many did a second.
func (t *Table) amongChanges(ctx context.Context, g gauge.Between, o *peers.Overlay) (gauge.Stream, float64, error) {
	ctxChanges, stop := context.WithCancel(ctx)
	defer stop()
	changed := make(chan int, 1)
	failed := make(chan error, 1)
	go func() {
		n, err := change(ctxChanges, client(o.Socket(peers.HostA)))
		changed <- n
		failed <- err
	}()
	began := time.Now()
	busy, err := g.TCP(ctx, 1, false, t.Long)
	took := time.Since(began)
	stop()
	n := <-changed
	if other := <-failed; err == nil {
		err = other
	}
	return busy, float64(n) / took.Seconds(), err
}

// change adds and deletes rules at the pace until ctx ends, leaves none behind, and says how many.
func change(ctx context.Context, daemon vnetv1connect.DaemonClient) (n int, err error) {
	began := time.Now()
	var held []*vnetv1.RuleEdit
	for ctx.Err() == nil || len(held) > 0 {
		req := &vnetv1.ApplyChangeRequest{What: "rules of the benchmark", DeleteRules: held}
		if len(held) == 0 {
			for i := range changeBatch {
				req.AddRules = append(req.AddRules, &vnetv1.RuleEdit{Node: peers.HostA, Rule: &vnetv1.Rule{
					Src: "any", Dst: fmt.Sprintf("02:00:5e:00:%02x:%02x", i>>8, i&0xff), Out: "link:" + peers.HostB}})
			}
		}
		resp, err := daemon.ApplyChange(context.WithoutCancel(ctx), req)
		if err != nil {
			return n, fmt.Errorf("cannot change rules: %w", err)
		}
		held, n = resp.GetRules(), n+changeBatch
		if len(req.DeleteRules) > 0 {
			held = nil
		}
		time.Sleep(time.Duration(n)*time.Second/changeRate - time.Since(began))
	}
	return n, nil
}

func client(socket string) vnetv1connect.DaemonClient {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	return vnetv1connect.NewDaemonClient(&http.Client{Transport: transport}, "http://vnet")
}
