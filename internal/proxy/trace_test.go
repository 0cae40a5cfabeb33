package proxy

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

var ruleSets = flag.Int("rulesets", 500, "random accepted rule sets to trace frames through")

// What trace says is what frames do: for random accepted rule sets, dead ends among them, the way on paper and the way that a probe
// reports are the way of an ordinary frame, which is captured outside of the nodes: on the wire between any two of them, where
// every datagram passes, and behind every port.
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
		a, b := way(paper), way(seen)
		if paper.End == overlay.Flooded.String() && seen.End == paper.End { // on paper the flood is one hop, the probe is seen everywhere
			a, b = way(firstHop(paper)), way(firstHop(seen))
		}
		if a != b && !floodedDeadEnd(paper, seen) {
			t.Errorf("from %s at %s to %s: on paper\n%sin truth\n%s\n%s", src.mac, src.at.name, to, a, b, strings.Join(s.log, "\n"))
			return
		}
		c := s.capture(src, to)
		if want := c.expected(s, seen); c.String() != want {
			t.Errorf("from %s at %s to %s: the probe's way is\n%scaptured was\n%s\nwant\n%s", src.mac, src.at.name, to, b, c, want)
		}
		c.follows(t, s, paper)
		ends[paper.End]++
		ends["captured"] += len(c.wires) + len(c.ports)
	}
}

// floodedDeadEnd tells whether both traces say that a flooded frame of an unknown destination reaches nobody it is for.
func floodedDeadEnd(paper, seen *vnetv1.TraceResponse) bool {
	return paper.End == overlay.Flooded.String() && len(seen.Hops) > 1
}

// firstHop is a trace up to where it is flooded from.
func firstHop(r *vnetv1.TraceResponse) *vnetv1.TraceResponse {
	h := r.Hops[0]
	return &vnetv1.TraceResponse{Hops: []*vnetv1.TraceHop{{Node: h.Node, Arrival: h.Arrival, RuleId: h.RuleId, Rank: h.Rank, Reason: h.Reason}}, End: r.End}
}

// capture is where one frame was seen, by others than the nodes.
type capture struct {
	wires []string // "h1 link:h2", in the order in which it passed
	ports []string // "h2 port:vm1", once for each time it came
}

// String lists all places, sorted.
func (c *capture) String() string {
	all := slices.Concat(c.wires, c.ports)
	slices.Sort(all)
	return strings.Join(all, "\n")
}

const (
	// recordsType is the first byte of a datagram that carries frames (docs/protocol.md, L8).
	recordsType = 0x01
	// sealed is how much longer than its frame a datagram with one record is: header, record's head, tag (L7, L20).
	sealed = 16 + 4 + 16
	// marks of offloads make a record longer (L21).
	marks = 10
)

// capture sends an ordinary frame and watches all wires and all ports. Nodes seal what they send: the frame is known by its length,
// which no other has.
func (s *story) capture(src *guest, to ether.MAC) *capture {
	c := &capture{}
	names := map[netip.Addr]string{}
	for _, m := range s.machines() {
		names[m.addr] = m.name
	}
	size := 300 + int(s.number%700)
	s.net.SetTap(func(_ time.Time, from, to netip.AddrPort, data []byte) {
		if data[0] == recordsType && (len(data) == size+sealed || len(data) == size+sealed+marks) {
			c.wires = append(c.wires, names[from.Addr()]+" link:"+names[to.Addr()])
		}
	})
	number := src.sendOf(to, size)
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
	s.net.SetTap(nil)
	for _, g := range s.guests {
		for range g.times(number) {
			c.ports = append(c.ports, g.at.name+" port:"+g.name)
		}
	}
	return c
}

// expected is what must have been captured if a frame goes the way that a probe went.
func (c *capture) expected(s *story, seen *vnetv1.TraceResponse) string {
	var want capture
	for _, hop := range seen.Hops {
		for _, out := range hop.Out {
			want.ports = append(want.ports, hop.Node+" "+out)
		}
	}
	return want.String()
}

// follows checks the way on paper: every hop of it was captured, in this order, and where nothing is flooded no other; a frame
// that is delivered came out at the end, and one that is dropped nowhere.
func (c *capture) follows(t *testing.T, s *story, paper *vnetv1.TraceResponse) {
	var way []string
	flooded, out := paper.End == overlay.Flooded.String(), ""
	for _, h := range paper.Hops {
		flooded = flooded || h.RuleId == 0 && h.Origin != overlay.OriginLearned.String() && h.Reason != overlay.DropFastPathNoRule.String()
		if len(h.Out) != 1 {
			continue
		}
		if strings.HasPrefix(h.Out[0], "link:") {
			way = append(way, h.Node+" "+h.Out[0])
		} else {
			out = h.Node + " " + h.Out[0]
		}
	}
	seen := c.wires
	for _, hop := range way {
		i := slices.Index(seen, hop)
		if i < 0 || !flooded && i > 0 {
			t.Errorf("the way on paper is %v, captured was %v", way, c.wires)
			return
		}
		seen = seen[i+1:]
	}
	switch {
	case !flooded && len(seen) > 0:
		t.Errorf("the way on paper is %v, captured was %v", way, c.wires)
	case paper.End == overlay.Delivered.String() && !slices.Contains(c.ports, out), !flooded && out != "" && len(c.ports) != 1:
		t.Errorf("on paper it comes out at %s, it came out at %v", out, c.ports)
	case paper.End == overlay.Dropped.String() && len(c.ports) > 0 && !flooded:
		t.Errorf("on paper it is dropped, it came out at %v", c.ports)
	}
}

// A Proxy that dies in the midst of an apply leaves an overlay that a further apply completes; what diff says is left is what
// that apply does.
func TestApplyAcrossTheProxysDeath(t *testing.T) {
	p := issuePapers(t, 4)
	begun, completed := 0, 0
	stages := map[control.Stage]int{}
	// In ms: sources flip within a round trip of 10, about 90 after the start; old rules go after a second more.
	late := []time.Duration{84, 86, 90, 92, 94, 98, 100, 400, 800, 1085, 1090, 1095, 1100, 1105, 1110, 1115, 1120, 1125, 1130}
	for after := range 20 + len(late) {
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
			wait := time.Duration(after) * 8 * time.Millisecond
			if after >= 20 {
				wait = late[after-20] * time.Millisecond
			}
			time.Sleep(wait)
			stages[w.stage(t)]++
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
	t.Logf("%d died before the commit, %d after; in stages %v", begun, completed, stages)
	for _, stage := range []control.Stage{control.StagePrepare, control.StageFlip, control.StageFinish, control.StageDelete} {
		if stages[stage] == 0 {
			t.Errorf("no Proxy died in %v", stage)
		}
	}
}

// stage is where the latest change is.
func (w *world) stage(t *testing.T) (stage control.Stage) {
	err := w.proxy.proxy.ask(context.Background(), func(h *hub) {
		if r := h.changes.current; r != nil {
			stage = r.machine.Stage()
		} else if n := len(h.changes.retiring); n > 0 {
			stage = h.changes.retiring[n-1].machine.Stage()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return stage
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
