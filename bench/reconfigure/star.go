package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/bench"
)

const (
	// watchRole sits at the Proxy and sees hosts come.
	watchRole = "bench-watch"
	// starTime bounds the wait for a star.
	starTime = 20 * time.Second
)

// watchOrder says how many hosts to wait for.
type watchOrder struct {
	Hosts int
	After time.Time // events before are old
}

// arrival is when the last of them was there.
type arrival struct{ At time.Time }

// startAll ends all host daemons and starts them all at once; the result is the time from the first start to the moment
// when the Proxy holds the star link and the Hello of the last.
func startAll(ctx context.Context, w *bench.World) (float64, error) {
	var names []string
	for _, h := range w.Spec().Hosts {
		if h.Name != w.Spec().Overlay.Proxy {
			names = append(names, h.Name)
		}
	}
	for _, name := range names {
		if _, err := w.Proc(name).Stop(starTime); err != nil {
			return 0, err
		}
	}
	time.Sleep(time.Second) // the Proxy has forgotten them, the machine is quiet
	var group sync.WaitGroup
	var last arrival
	var failed error
	group.Go(func() {
		failed = w.Role(ctx, "proxy", watchRole, watchOrder{Hosts: len(names), After: time.Now()}, &last)
	})
	time.Sleep(500 * time.Millisecond) // it watches by then
	bench.Quiet()
	began := time.Now()
	for _, name := range names {
		group.Go(func() {
			if err := w.Launch(name); err != nil {
				fmt.Println(err)
			}
		})
	}
	group.Wait()
	return bench.Millis(last.At.Sub(began)), failed
}

// awaitHosts is the role.
func awaitHosts(ctx context.Context, o watchOrder) (arrival, error) {
	ctx, cancel := context.WithTimeout(ctx, starTime)
	defer cancel()
	stream, err := bench.Client().WatchEvents(ctx, &vnetv1.WatchEventsRequest{Kinds: []string{"node.up"}, Backlog: 100})
	if err != nil {
		return arrival{}, err
	}
	defer stream.Close()
	seen := map[string]bool{}
	for stream.Receive() {
		ev := stream.Msg().GetEvent()
		if at := ev.GetTime().AsTime(); at.After(o.After) {
			if seen[ev.GetFields()["node"]] = true; len(seen) == o.Hosts {
				return arrival{at}, nil
			}
		}
	}
	return arrival{}, fmt.Errorf("cannot see the star: %d of %d hosts came within %v", len(seen), o.Hosts, starTime)
}
