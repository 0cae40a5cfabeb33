package node

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// TestAFrameEndsTheDoze: the clock of a node where nothing happens goes slowly, and what it reports of the first frames after that
// it reports as soon as ever.
func TestAFrameEndsTheDoze(t *testing.T) {
	inTown(t, 2, func(t *testing.T, w *town) {
		h := w.hosts[0]
		dozes := func() bool { return h.node.dozing.Load() }
		h.guest.Write(0, []ether.Packet{frame(mac(1), everybody())})
		h.await("the node dozes", dozes)
		for range 3 {
			before := len(all[vttif.Report](w.proxy.hub))
			began := time.Now()
			h.guest.Write(0, []ether.Packet{frame(mac(1), mac(2))})
			synctest.Wait()
			if dozes() {
				t.Fatal("a frame did not end it")
			}
			h.await("the Proxy hears", func() bool { return len(all[vttif.Report](w.proxy.hub)) > before })
			if took := time.Since(began); took > reportEvery+tick {
				t.Errorf("the Proxy heard of the frame after %v", took)
			}
			if took := h.await("the node dozes again", dozes); took > dozeAfter+time.Second {
				t.Errorf("it stayed awake for %v", took)
			}
			time.Sleep(time.Minute + 300*time.Millisecond)
		}
		h.node.do(func(*state) {})
		if dozes() {
			t.Error("a question did not end it")
		}
	})
}
