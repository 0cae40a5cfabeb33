package proxy

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// A file of 24,000 rules, 12,000 at one node, is applied as one change like any other; the next takes half of them out.
func TestThousandsOfRulesAreOneChange(t *testing.T) {
	p := issuePapers(t, 3)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p, 4, wan.Path{Delay: 2 * time.Millisecond}, 0, 1, 1, 1)
		defer w.stop()
		w.settle()
		to := w.hosts[1].guests[0]
		file := func(n int) string {
			var b bytes.Buffer
			b.WriteString("vnet 1\nlink h1 h2\n")
			for i := range n {
				src := fmt.Sprintf("02:01:00:00:%02x:%02x", i>>8, i&0xff)
				fmt.Fprintf(&b, "rule h1 from port:vm1 src %s dst %s to link:h2\nrule h2 from link:h1 src %s dst %s to port:vm1\n", src, to.mac, src, to.mac)
			}
			return b.String()
		}
		for _, n := range []int{12000, 6000} {
			text := file(n)
			done, err := w.apply(text, false, "")
			if err != nil {
				t.Fatal(err)
			}
			if len(done.Steps) < 12000 {
				t.Errorf("%d steps", len(done.Steps))
			}
			if again, err := w.apply(text, false, ""); err != nil || len(again.Steps) > 0 {
				t.Errorf("a second time: %v, %v", again, err)
			}
			w.everybodyHears(t, fmt.Sprintf("with %d rules", 2*n))
			time.Sleep(5 * time.Second)
			w.hosts[0].stop() // it comes back with its rules, and is compared with the record
			w.hosts[0].start()
			w.await("h1 is back", w.up)
			time.Sleep(5 * time.Second)
			live, err := w.service().GetOverlay(context.Background(), &vnetv1.GetOverlayRequest{Compare: true})
			if err != nil || len(live.Overlay.Differences)+len(live.Overlay.Silent) > 0 {
				t.Errorf("%v %v %v", err, live.Overlay.Differences, live.Overlay.Silent)
			}
			for _, m := range w.hosts[:2] {
				if got := len(m.node.Holds().Rules); got != n {
					t.Errorf("%s holds %d rules, want %d", m.name, got, n)
				}
			}
		}
	})
}
