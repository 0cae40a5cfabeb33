package proxy

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// A hundred runs take minutes; a plain `go test` makes a few.
var (
	neutralRuns  = flag.Int("neutral", 6, "runs of TestNeutralChangesStay")
	neutralFirst = flag.Uint64("neutral-first", 0, "seed of the first of them")
)

const (
	// neutralLasts is how long a run goes on behind its change: the judge is done after 30 s, and what it suspects it tries then.
	neutralLasts = time.Minute
	// mistakes are how many of a hundred neutral changes may be taken back.
	mistakes = 2
)

// Changes that make no difference, through whole daemons: the direct path is as long as the way through the Proxy and no wire is
// full. Applications, jitter and losses are drawn; every other one has just started when it is adapted to. None is slower for
// it, so none should be taken back.
func TestNeutralChangesStay(t *testing.T) {
	papers := issuePapers(t, 4)
	reverted, judged := 0, 0
	for seed := *neutralFirst; seed < *neutralFirst+uint64(*neutralRuns); seed++ {
		var story string
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 9))
			hop := wan.Path{Delay: 2 * time.Millisecond, Jitter: time.Duration(dice.IntN(1500)) * time.Microsecond, Rate: 50e6, Queue: time.Second}
			if seed%4 >= 2 {
				hop.Loss = 0.0005
			}
			w := newWorld(t, papers, seed, hop, 0, 1, 1, 1, 1)
			defer w.stop()
			direct := hop
			direct.Delay, direct.Jitter, direct.Loss = 2*hop.Delay, 2*hop.Jitter, 2*hop.Loss
			for i, a := range w.hosts {
				for _, b := range w.hosts[:i] {
					w.net.SetPathBoth(a.addr, b.addr, direct)
				}
			}
			w.await("all hosts are there", w.up)
			w.greet()
			edges := [][][2]int{{{0, 1}}, {{0, 1}, {1, 2}, {2, 3}}, ringOf(4), {{0, 1}, {2, 3}}}[dice.IntN(4)]
			frames, compute := 2+dice.IntN(15), time.Duration(20+dice.IntN(200))*time.Millisecond
			if seed%2 == 0 {
				w.adapts(auto)
			}
			app := w.run(frames, compute, w.guests, edges)
			defer app.end()
			if seed%2 == 1 {
				time.Sleep(time.Duration(8+dice.IntN(15)) * time.Second)
				w.adapts(auto)
			}
			w.await("a link is made", func() bool { return w.happened("adapt.open_link") > 0 })
			time.Sleep(neutralLasts)
			n := w.happened("adapt.reverted")
			reverted += n
			judged++
			story = fmt.Sprintf("%d edges, %d frames, %v of computing, jitter %v, loss %v: %d iterations, %d taken back, %d suspected",
				len(edges), frames, compute, hop.Jitter, hop.Loss, app.end(), n, w.happened("adapt.suspected"))
		})
		t.Logf("seed %d: %s", seed, story)
	}
	if limit := (mistakes*judged + 99) / 100; reverted > limit {
		t.Errorf("of %d neutral changes %d were taken back, want at most %d", judged, reverted, limit)
	}
}
