package proxy

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// A plain `go test` lives through fewer histories than the 1,000 of the full form.
var (
	historyCount = flag.Int("histories", defaultHistories, "random histories of adaptation to live through; the full form is 1000")
	firstHistory = flag.Uint64("history", 1, "seed of the first random history")
)

// history is one random life of an overlay that adapts itself while everything happens to it.
type history struct {
	story
	seen   *historyTally
	pairs  [][2]*guest // that talk now
	limits []time.Time // when the user changed what is allowed: that is obeyed at once
}

// historyTally is what happened in all histories together.
type historyTally struct{ made, failed, patterns, closed, calm atomic.Int64 }

// Random histories of an overlay in mode auto, on the real node and Proxy code: applications start, change and end, two at
// once on overlapping hosts; hosts and the Proxy die and come back; the network parts, and loses control messages like any
// other; the user makes rules and changes limits meanwhile. The invariants hold in each: no frame comes twice, runs in a
// circle or is lost unaccounted for; where nothing died and nothing was lost on wires, none is lost at all and nothing is
// reversed within the effective bound; the user's rules stay; the star comes back.
func TestRandomHistories(t *testing.T) {
	p := issuePapers(t, 6)
	var sum tally
	var seen historyTally
	t.Run("histories", func(t *testing.T) {
		shards := runtime.GOMAXPROCS(0)
		for shard := range shards {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				for n := shard; n < *historyCount && !t.Failed(); n += shards {
					seed := *firstHistory + uint64(n)
					synctest.Test(t, func(t *testing.T) { (&history{story: story{sum: &sum}, seen: &seen}).live(t, p, seed) })
				}
			})
		}
	})
	t.Logf("%d histories: %d changes of adaptation made, %d failed; %d patterns, %d fast paths closed; %d probes sent, %d arrivals; %d crashes, %d cuts; %d calm, %d accounts balanced to the frame",
		*historyCount, seen.made.Load(), seen.failed.Load(), seen.patterns.Load(), seen.closed.Load(), sum.probes.Load(), sum.arrived.Load(),
		sum.crashes.Load(), sum.cuts.Load(), seen.calm.Load(), sum.balanced.Load())
	if *historyCount >= 20 && (seen.made.Load() < int64(*historyCount) || sum.crashes.Load() == 0 || sum.cuts.Load() == 0 || sum.balanced.Load() == 0) {
		t.Error("the histories are too dull to show anything")
	}
}

func (h *history) live(t *testing.T, p *papers, seed uint64) {
	dice := rand.New(rand.NewPCG(seed, 3))
	h.calm, h.lossy = dice.IntN(3) == 0, dice.IntN(3) == 0
	path := wan.Path{Delay: time.Duration(1+dice.IntN(10)) * time.Millisecond}
	if h.lossy {
		path.Loss = 0.02
	}
	guests := []int{dice.IntN(2)}
	for range 3 + dice.IntN(3) {
		guests = append(guests, 1+dice.IntN(2))
	}
	h.world = newWorld(t, p, seed, path, guests...)
	defer func() {
		h.stop()
		if t.Failed() {
			t.Logf("history %d: guests %v, loss %v, calm %v\n%s", seed, guests, path.Loss, h.calm, strings.Join(h.log, "\n"))
		}
	}()
	h.await("all hosts are there", h.up)
	h.greet()
	time.Sleep(300 * time.Millisecond)
	h.limit()
	if h.dice.IntN(2) == 0 {
		h.addRule()()
	}
	for range 5 + h.dice.IntN(6) {
		h.chance()
	}
	users := h.userRules()
	h.talk(3 * time.Second)
	h.adapts(observe) // nothing new
	h.mend()
	h.judge(t)
	if now := h.userRules(); !slices.Equal(now, users) {
		t.Errorf("the user's rules are %v, and were %v", now, users)
	}
	h.tell(t)
}

// chance lets one thing happen, and has the applications talk on.
func (h *history) chance() {
	switch n := h.dice.IntN(12); {
	case n < 5:
		h.pattern()
	case n < 6:
		h.limit()
	case n < 7:
		h.addRule()()
	case n < 8:
		h.deleteRule()()
	case h.calm:
		h.pattern()
	case n < 10:
		h.cut()
	default:
		h.crash()
	}
	h.talk(time.Duration(1+h.dice.IntN(6)) * time.Second)
}

// pattern has other pairs talk from now on: one application or two, or none.
func (h *history) pattern() {
	h.pairs = nil
	for range h.dice.IntN(6) {
		a, b := h.guests[h.dice.IntN(len(h.guests))], h.guests[h.dice.IntN(len(h.guests))]
		if a != b {
			h.pairs = append(h.pairs, [2]*guest{a, b})
		}
	}
	h.seen.patterns.Add(1)
	h.note("%v %d pairs talk", time.Since(bubbleStart()).Round(time.Millisecond), len(h.pairs))
}

// limit changes what adaptation may do.
func (h *history) limit() {
	most, each := uint32(h.dice.IntN(4)), uint32(h.dice.IntN(3))
	if _, err := h.service().SetAdaptation(context.Background(), &vnetv1.SetAdaptationRequest{Mode: auto, MaxLinks: &most, MaxPerNode: &each}); err != nil {
		h.t.Error(err)
	}
	h.limits = append(h.limits, time.Now())
}

// talk has the pairs exchange numbered frames, 10 each way in a second.
func (h *history) talk(lasts time.Duration) {
	for end := time.Now().Add(lasts); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		for _, p := range h.pairs {
			p[0].sendOf(p[1].mac, 1200)
			p[1].sendOf(p[0].mac, 1200)
			h.sum.probes.Add(2)
		}
	}
}

// userRules are the user's, as they are written down.
func (h *history) userRules() (list []string) {
	o := h.record()
	for _, name := range o.Names() {
		for _, r := range o.Nodes[name].Rules {
			if r.Origin == overlay.OriginUser {
				list = append(list, fmt.Sprintf("%s %d %s", name, r.ID, r))
			}
		}
	}
	return list
}

// tell counts what adaptation did, and holds calm histories to the bound.
func (h *history) tell(t *testing.T) {
	all, _, _ := h.proxy.node.Events().Since(0)
	var list []oneStep
	for _, e := range all {
		switch e.Kind {
		case "adapt.open_link", "adapt.close_link":
			list = append(list, oneStep{e.Time, e.Kind, e.Fields["what"]})
			h.seen.made.Add(1)
			if e.Kind == "adapt.close_link" {
				h.seen.closed.Add(1)
			}
		case "adapt.failed":
			h.seen.failed.Add(1)
		}
	}
	if !h.calm || h.lossy {
		return
	}
	h.seen.calm.Add(1)
	var calm []oneStep
	for _, s := range list {
		if !slices.ContainsFunc(h.limits, func(at time.Time) bool { return s.at.Sub(at).Abs() < 2*adapt.EffectiveBound(0) }) {
			calm = append(calm, s)
		}
	}
	for _, found := range undone(calm, adapt.EffectiveBound(0)) {
		t.Errorf("reversed within the effective bound: %s", found)
	}
}
