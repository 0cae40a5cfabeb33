package vttif

import (
	"testing"

	"pgregory.net/rapid"
)

// The twin keeps everything and sums what lies in the window.
func TestWindowSumsAgreeWithTheSlowTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type event struct {
			at   int64
			dir  int
			over int // intervals
			t    Tally
		}
		slots := rapid.IntRange(1, 20).Draw(t, "slots")
		now := rapid.Int64Range(1000, 2000).Draw(t, "start")
		w := newWindow(slots, now)
		var events []event
		for range rapid.IntRange(0, 60).Draw(t, "events") {
			now += rapid.Int64Range(0, 4).Draw(t, "passed")
			e := event{
				at: now - rapid.Int64Range(0, 30).Draw(t, "late"), dir: rapid.IntRange(0, 1).Draw(t, "dir"),
				over: rapid.IntRange(1, 30).Draw(t, "over"),
				t:    Tally{OfferedBytes: rapid.Uint64Range(0, 1e6).Draw(t, "bytes"), OfferedFrames: 10, OfferedBare: 3, DeliveredBytes: 5},
			}
			w.advance(now)
			w.add(e.at, e.over, e.dir, e.t)
			events = append(events, e)

			n := rapid.IntRange(1, slots).Draw(t, "width")
			var payload uint64
			var sum cell
			for _, e := range events {
				for at := e.at; at > e.at-int64(e.over); at-- {
					if at > now-int64(n) {
						payload += e.t.payload() / uint64(e.over)
					}
					if at > now-int64(slots) {
						sum.payload[e.dir] += e.t.payload() / uint64(e.over)
						sum.offered[e.dir] += e.t.OfferedBytes / uint64(e.over)
						sum.delivered[e.dir] += e.t.DeliveredBytes / uint64(e.over)
					}
				}
			}
			if got := w.payload(now, n); got != payload {
				t.Fatalf("payload %d, want %d", got, payload)
			}
			if got := w.sum(now); got != sum {
				t.Fatalf("sum %v, want %v", got, sum)
			}
		}
	})
}
