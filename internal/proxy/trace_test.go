package proxy

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

var ruleSets = flag.Int("rulesets", 500, "random accepted rule sets to trace frames through")

// What trace says is what frames do: for random accepted rule sets, dead ends among them, the way on paper is the way
// that each node reports of a frame it really forwarded, and an ordinary frame arrives exactly when and where both say.
func TestTracesAgreeWithFrames(t *testing.T) {
	p := issuePapers(t, 6)
	ends := map[string]int{}
	sets := 0
	for seed := uint64(1); sets < *ruleSets && !t.Failed() && seed < 200; seed++ {
		synctest.Test(t, func(t *testing.T) {
			s := &story{sum: &tally{}}
			dice := rand.New(rand.NewPCG(seed, 7))
			guests := []int{dice.IntN(2)}
			for range 2 + dice.IntN(4) {
				guests = append(guests, 1+dice.IntN(2))
			}
			s.world = newWorld(t, p, seed, wan.Path{Delay: time.Millisecond}, guests...)
			defer s.stop()
			s.settle()
			for range 3 {
				s.addLink()()
			}
			for range 40 {
				before := s.sum.accepted.Load()
				switch s.dice.IntN(8) {
				case 0:
					s.addLink()()
				case 1:
					s.deleteRule()()
				default:
					s.addRule()()
				}
				if s.sum.accepted.Load() > before && sets < *ruleSets {
					sets++
					s.follow(t, ends)
				}
			}
		})
	}
	t.Logf("%d rule sets; frames were %v", sets, ends)
	if *ruleSets >= 100 && (ends["delivered"] == 0 || ends["dropped"] == 0) {
		t.Error("the rule sets are too dull to show anything")
	}
}

// follow compares for a few pairs what is said with what happens.
func (s *story) follow(t *testing.T, ends map[string]int) {
	time.Sleep(1200 * time.Millisecond) // stragglers' time: what was deleted is gone
	for range 3 {
		src, to := s.guests[s.dice.IntN(len(s.guests))], s.mac()
		if to == src.mac {
			continue
		}
		paper, err := s.service().Trace(context.Background(), &vnetv1.TraceRequest{Src: src.mac.String(), Dst: to.String()})
		if err != nil {
			t.Fatal(err)
		}
		seen, err := s.service().Trace(context.Background(), &vnetv1.TraceRequest{Src: src.mac.String(), Dst: to.String(), Live: true})
		if err != nil {
			t.Fatal(err)
		}
		if paper.End == overlay.Flooded.String() && seen.End == paper.End { // on paper the flood is one hop, the probe is seen everywhere
			seen.Hops, paper.Hops = seen.Hops[:1], paper.Hops[:1]
			seen.Hops[0].Out, paper.Hops[0].Out = nil, nil
		}
		if a, b := way(paper), way(seen); a != b && !floodedDeadEnd(paper, seen) {
			t.Errorf("from %s at %s to %s: on paper\n%sin truth\n%s\n%s", src.mac, src.at.name, to, a, b, strings.Join(s.log, "\n"))
			return
		}
		number := src.send(to)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		s.arrived(t, paper, number, src, to.String())
		ends[paper.End]++
	}
}

// floodedDeadEnd tells whether both traces say that a flooded frame of an unknown destination reaches nobody it is for.
func floodedDeadEnd(paper, seen *vnetv1.TraceResponse) bool {
	return paper.End == overlay.Flooded.String() && len(seen.Hops) > 1
}

// arrived checks that an ordinary frame came out where the trace ends, and nowhere else.
func (s *story) arrived(t *testing.T, r *vnetv1.TraceResponse, number uint64, src *guest, dst string) {
	last := r.Hops[len(r.Hops)-1]
	for _, g := range s.guests {
		here := g.at.name == last.Node && len(last.Out) == 1 && last.Out[0] == "port:"+g.name
		switch times := g.times(number); {
		case r.End == overlay.Delivered.String() && here && times != 1:
			t.Errorf("frame %d from %s to %s came %d times to %s of %s, where the trace ends:\n%s", number, src.mac, dst, times, g.name, g.at.name, way(r))
		case r.End == overlay.Delivered.String() && !here && times > 0, r.End == overlay.Dropped.String() && times > 0:
			t.Errorf("frame %d from %s to %s came to %s of %s, where the trace does not end:\n%s", number, src.mac, dst, g.name, g.at.name, way(r))
		}
	}
}

// A Proxy that dies in the midst of an apply leaves an overlay that a further apply completes; what diff says is left is what
// that apply does.
func TestApplyAcrossTheProxysDeath(t *testing.T) {
	p := issuePapers(t, 4)
	begun, completed := 0, 0
	for after := range 20 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, p, uint64(after), wan.Path{Delay: 5 * time.Millisecond}, 0, 1, 1, 1, 1)
			defer w.stop()
			w.settle()
			if _, err := w.apply(w.file([]int{0, 1}, []int{2, 3}), false, ""); err != nil {
				t.Fatal(err)
			}
			want := w.file([]int{0, 1}, []int{0, 1, 2}, []int{1, 2, 3})
			all, err := w.apply(want, true, "")
			if err != nil {
				t.Fatal(err)
			}
			outcome := make(chan error, 1)
			go func() {
				_, err := w.apply(want, false, "")
				outcome <- err
			}()
			wait := []time.Duration{5, 10, 5, 5}[after%4] * time.Millisecond
			time.Sleep(time.Duration(after)*8*time.Millisecond + wait/10)
			w.proxy.crash()
			<-outcome
			kept := w.hosts[0].guests[0].send(w.hosts[1].guests[0].mac) // over the link that both have: no Proxy is needed
			time.Sleep(100 * time.Millisecond)
			if got := w.hosts[1].guests[0].times(kept); got != 1 {
				t.Errorf("dead after %d: a frame between hosts with a link came %d times while the Proxy was dead", after, got)
			}
			w.proxy.start()
			w.await("all hosts are back", w.up)
			time.Sleep(15 * time.Second) // what was prepared expires, nodes are asked and put right
			left, err := w.apply(want, true, "")
			if err != nil {
				t.Fatal(err)
			}
			if n := len(left.Steps); n != 0 && n != len(all.Steps) {
				t.Errorf("dead after %d: %d of %d steps are left", after, n, len(all.Steps))
			}
			if len(left.Steps) > 0 {
				begun++
			} else {
				completed++
			}
			if _, err := w.apply(want, false, left.Revision); err != nil {
				t.Errorf("dead after %d: %v", after, err)
			}
			time.Sleep(3 * time.Second)
			if again, err := w.apply(want, true, ""); err != nil || len(again.Steps) > 0 {
				t.Errorf("dead after %d: still left: %v %v", after, again, err)
			}
			got, err := w.service().GetOverlay(context.Background(), &vnetv1.GetOverlayRequest{Compare: true})
			if err != nil || len(got.Overlay.Differences)+len(got.Overlay.Silent) > 0 {
				t.Errorf("dead after %d: %v %v %v", after, err, got.Overlay.Differences, got.Overlay.Silent)
			}
			w.everybodyHears(t, fmt.Sprintf("dead after %d", after))
		})
	}
	t.Logf("%d died before the commit, %d after", begun, completed)
	if begun == 0 || completed == 0 {
		t.Error("the deaths all came at the same time of the change")
	}
}

// everybodyHears sends one frame between any two guests.
func (w *world) everybodyHears(t *testing.T, when string) {
	type sent struct {
		from, to *guest
		number   uint64
	}
	var all []sent
	for _, a := range w.guests {
		for _, b := range w.guests {
			if a != b {
				all = append(all, sent{a, b, a.send(b.mac)})
			}
		}
	}
	time.Sleep(200 * time.Millisecond)
	synctest.Wait()
	for _, one := range all {
		if n := one.to.times(one.number); n != 1 {
			t.Errorf("%s: a frame from %s to %s came %d times", when, one.from.at.name, one.to.at.name, n)
		}
	}
}
