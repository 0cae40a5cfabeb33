package node

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func TestEventsAreRememberedUpToABound(t *testing.T) {
	e := NewEvents()
	if list, next, _ := e.Since(0); len(list) != 0 || next != 0 {
		t.Errorf("new: %v, %d", list, next)
	}
	_, at, more := e.Since(0)
	for i := range eventsKept + 10 {
		e.Add(Event{Kind: "link.up", Text: fmt.Sprint(i)})
	}
	select {
	case <-more:
	default:
		t.Error("whoever waits is not woken")
	}
	list, next, more := e.Since(at)
	if len(list) != eventsKept || list[0].Text != "10" || next != eventsKept+10 {
		t.Errorf("%d events from %q on, next %d", len(list), list[0].Text, next)
	}
	select {
	case <-more:
		t.Error("woken for nothing")
	default:
	}
	if list, _, _ := e.Since(next - 2); len(list) != 2 || list[1].Text != fmt.Sprint(eventsKept+9) {
		t.Errorf("the last two: %v", list)
	}
	if list, _, _ := e.Since(next + 5); len(list) != eventsKept {
		t.Errorf("a reader of another life gets %d events, want all that are remembered", len(list))
	}
}

func TestWatchersGetTheBacklogAndWhatFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		ctx, cancel := context.WithCancel(context.Background())
		b.n.ctx = ctx
		for _, kind := range []string{"link.up", "port.lost", "link.down"} {
			b.n.events.Add(Event{Kind: kind})
		}
		var got []string
		ended := make(chan error)
		go func() {
			ended <- b.n.WatchEvents(ctx, &vnetv1.WatchEventsRequest{Backlog: 2, Kinds: []string{"link"}}, func(r *vnetv1.WatchEventsResponse) error {
				got = append(got, r.Event.Kind)
				return nil
			})
		}()
		synctest.Wait()
		b.n.events.Add(Event{Kind: "links"})
		b.n.events.Add(Event{Kind: "link.up"})
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil || fmt.Sprint(got) != "[link.down link.up]" {
			t.Errorf("%v: %v", err, got)
		}
	})
}
