package proxy

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
)

// The full sweep of periods takes some minutes; a plain `go test` makes three of them.
var fullSweep = flag.Bool("sweep", false, "all periods of alternation, not only three")

// oneStep is a step of a change as events tell of it.
type oneStep struct {
	at   time.Time
	kind string // adapt.open_link …
	what string // "h1–h2"
}

// steps are all steps of adaptation that were made, and how many changes they belong to.
func (w *world) steps() (list []oneStep, changes int) {
	all, _, _ := w.proxy.node.Events().Since(0)
	for _, e := range all {
		switch e.Kind {
		case "adapt.open_link", "adapt.close_link":
			list = append(list, oneStep{e.Time, e.Kind, e.Fields["what"]})
		case "change.committed":
			changes++
		}
	}
	return list, changes
}

// undone finds a link that was closed or opened again within the bound.
func undone(list []oneStep, bound time.Duration) (found []string) {
	undoes := map[string]string{"adapt.open_link": "adapt.close_link", "adapt.close_link": "adapt.open_link"}
	for i, a := range list {
		for _, b := range list[i+1:] {
			if b.kind == undoes[a.kind] && a.what == b.what && b.at.Sub(a.at) < bound {
				found = append(found, fmt.Sprintf("%s %s after %v", b.kind, b.what, b.at.Sub(a.at)))
			}
		}
	}
	return found
}

// alternate runs four VMs that talk in two topologies by turns, each for half a period, and returns how many iterations they
// made in all.
func (w *world) alternate(period, lasts time.Duration) (iterations int) {
	turns := [2][][2]*guest{
		{{w.guests[0], w.guests[1]}, {w.guests[2], w.guests[3]}},
		{{w.guests[0], w.guests[2]}, {w.guests[1], w.guests[3]}},
	}
	for end, i := time.Now().Add(lasts), 0; time.Now().Before(end); i++ {
		var apps []*program
		for _, pair := range turns[i%2] {
			apps = append(apps, w.run(4, 10*time.Millisecond, pair[:], [][2]int{{0, 1}}))
		}
		time.Sleep(period / 2)
		for _, a := range apps {
			iterations += a.end()
		}
	}
	return iterations
}

// Two topologies that alternate, slowly or ever faster: no change is reversed within the effective bound, what alternates
// faster than can be followed gets the union and then no changes at all, and the application is never slower than on the star.
func TestAlternationIsDamped(t *testing.T) {
	periods := []time.Duration{time.Second, 8 * time.Second, 30 * time.Second}
	if *fullSweep {
		periods = []time.Duration{200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 8 * time.Second,
			12 * time.Second, 16 * time.Second, 20 * time.Second, 25 * time.Second, 30 * time.Second}
	}
	t.Log("period   changes  a period  late changes  iterations on the star, adapted")
	for _, period := range periods {
		t.Run(period.String(), func(t *testing.T) {
			lasts := max(40*time.Second, 4*period)
			var iterations [2]int
			for i, mode := range []vnetv1.AdaptationMode{observe, auto} {
				inAppWorld(t, 7, []int{0, 1, 1, 1, 1}, func(w *world) {
					w.adapts(mode)
					iterations[i] = w.alternate(period, lasts)
					if mode == observe {
						return
					}
					half, _ := w.steps()
					_, changes := w.steps()
					late := w.alternate(period, 2*period)
					_, after := w.steps()
					bound, _ := w.service().GetBound(context.Background(), &vnetv1.GetBoundRequest{})
					effective := adapt.EffectiveBound(bound.Bound.Value.AsDuration())
					list, _ := w.steps()
					for _, found := range undone(list, effective) {
						t.Errorf("reversed within %v: %s", effective, found)
					}
					t.Logf("%-8v %-8d %-9.2f %-13d %d, %d", period, changes, float64(changes)/(float64(lasts)/float64(period)), after-changes, iterations[0], iterations[1])
					if len(half) == 0 || late == 0 {
						t.Error("nothing was adapted: the test shows nothing")
					}
					if period <= 8*time.Second && after != changes {
						t.Errorf("it still changes: %d times within the last two periods", after-changes)
					}
				})
			}
			if float64(iterations[1]) < 0.98*float64(iterations[0]) {
				t.Errorf("%d iterations adapted, %d on the star", iterations[1], iterations[0])
			}
		})
	}
}
