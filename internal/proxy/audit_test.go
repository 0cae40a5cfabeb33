package proxy

import (
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/store"
)

// diskLike is a copy of what a Proxy's disk holds of the overlay.
func diskLike(t *testing.T, disk *store.Store) *store.Store {
	t.Helper()
	other := store.Memory()
	for _, bucket := range []string{recordBucket, "trust"} {
		if err := disk.Each(bucket, func(key string, value []byte) error { return other.Put(bucket, key, value) }); err != nil {
			t.Fatal(err)
		}
	}
	return other
}

// A Proxy that comes back with a record from before a link was made takes the link away, but not while the host at its other end,
// which has not found the Proxy yet, sends over it.
func TestWhatAnOldRecordLacksIsTakenWithoutLoss(t *testing.T) {
	inWorld(t, []int{0, 1, 1}, func(t *testing.T, w *world) {
		h1, h2 := w.hosts[0], w.hosts[1]
		from, to := h2.guests[0], h1.guests[0]
		old := diskLike(t, w.proxy.disk)
		w.linked(h1, h2)
		w.direct(h1, h2)
		w.direct(h2, h1)
		w.proxy.crash()
		w.net.Cut(h2.addr, w.proxy.addr)
		w.proxy.disk = old
		w.proxy.start()
		var sent []uint64
		send := func(d time.Duration) {
			for range d / time.Millisecond {
				sent = append(sent, from.send(to.mac))
				time.Sleep(time.Millisecond)
			}
		}
		send(5 * time.Second)
		if !w.here("h1") || w.here("h2") {
			t.Fatalf("the Proxy was to have found h1 alone again:\n%s", w.events())
		}
		w.net.Heal(h2.addr, w.proxy.addr)
		send(10 * time.Second)
		time.Sleep(time.Second)
		lost := 0
		for _, number := range sent {
			if to.times(number) != 1 {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("%d of %d frames did not come, or came twice:\n%s", lost, len(sent), w.events())
		}
		if stray := (&story{world: w}).strays(); stray != "" {
			t.Errorf("in the end: %s", stray)
		}
	})
}
