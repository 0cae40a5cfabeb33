package proxy

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// A plain `go test` lives through fewer random overlays than the 1,000 that the
// full form does, in order to stay below 30 s.
var (
	worldCount = flag.Int("worlds", defaultWorlds, "random overlays to live through; the full form is 1000")
	firstWorld = flag.Uint64("world", 1, "seed of the first random overlay")
)

// tally is what happened in all worlds together, so that a test that has come
// to test nothing is noticed.
type tally struct{ accepted, circles, twice, refused, failed, probes, arrived, crashes, cuts, balanced atomic.Int64 }

// Random overlays with random rules, links, crashes and cuts, on the real node
// and Proxy code: a set of rules that could circle is refused and the circle
// named, and under those accepted no frame comes twice or runs in a circle.
func TestRandomOverlays(t *testing.T) {
	p := issuePapers(t, 6)
	var sum tally
	t.Run("worlds", func(t *testing.T) {
		shards := runtime.GOMAXPROCS(0)
		for shard := range shards {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				for n := shard; n < *worldCount && !t.Failed(); n += shards {
					seed := *firstWorld + uint64(n)
					synctest.Test(t, func(t *testing.T) { (&story{sum: &sum}).live(t, p, seed) })
				}
			})
		}
	})
	t.Logf("%d worlds: %d changes accepted, refused %d for a circle, %d for a duplicate, %d for another reason; %d failed; %d probes sent, %d arrivals; %d crashes, %d cuts; %d accounts balanced to the frame",
		*worldCount, sum.accepted.Load(), sum.circles.Load(), sum.twice.Load(), sum.refused.Load(), sum.failed.Load(),
		sum.probes.Load(), sum.arrived.Load(), sum.crashes.Load(), sum.cuts.Load(), sum.balanced.Load())
	if *worldCount >= 20 && (sum.accepted.Load() == 0 || sum.circles.Load() == 0 || sum.arrived.Load() == 0 || sum.balanced.Load() == 0) {
		t.Error("the worlds are too dull to show anything")
	}
}

// story is one random life of one world.
type story struct {
	*world
	sum   *tally
	calm  bool // no crash and no cut: the account must balance to the frame
	lossy bool

	mu  sync.Mutex // guards log: clients note at once
	log []string
}

func (s *story) live(t *testing.T, p *papers, seed uint64) {
	dice := rand.New(rand.NewPCG(seed, 1))
	s.calm, s.lossy = dice.IntN(3) == 0, dice.IntN(4) == 0
	path := wan.Path{Delay: time.Duration(1+dice.IntN(10)) * time.Millisecond}
	if s.lossy {
		path.Loss = 0.01
	}
	guests := []int{dice.IntN(3)}
	for range 2 + dice.IntN(5) {
		guests = append(guests, 1+dice.IntN(2))
	}
	s.world = newWorld(t, p, seed, path, guests...)
	defer func() {
		s.stop()
		if t.Failed() {
			t.Logf("world %d: guests %v, loss %v, calm %v\n%s", seed, guests, path.Loss, s.calm, strings.Join(s.log, "\n"))
		}
	}()
	s.await("all hosts are there", s.up)
	s.greet()
	time.Sleep(300 * time.Millisecond)
	for range 5 + s.dice.IntN(10) {
		s.happen()
	}
	s.mend()
	s.judge(t)
}

func (s *story) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

// happen lets one thing happen, and sends probes meanwhile.
func (s *story) happen() {
	var group sync.WaitGroup
	var over atomic.Int64
	started := int64(0)
	run := func(f func()) {
		started++
		group.Go(func() { f(); over.Add(1) })
	}
	switch n := s.dice.IntN(20); {
	case n < 3:
		run(s.addLink())
	case n < 11:
		run(s.addRule())
	case n < 13: // two clients at once
		run(s.addRule())
		run(s.addRule())
	case n < 14:
		run(s.deleteRule())
	case n < 15:
		run(s.deleteLink())
	case n < 17:
		s.ring()
	case s.calm:
		run(s.addRule())
	case n < 18:
		s.cut()
	default:
		run(s.addRule())
		s.crash()
	}
	for over.Load() < started {
		s.probe()
		time.Sleep(time.Duration(1+s.dice.IntN(100)) * time.Millisecond)
	}
	group.Wait()
	s.probe()
	time.Sleep(time.Duration(s.dice.IntN(1500)) * time.Millisecond)
}

// probe has a few guests send numbered frames: to one another, to nobody and to all.
func (s *story) probe() {
	for range 1 + s.dice.IntN(4) {
		from, to := s.guests[s.dice.IntN(len(s.guests))], s.mac()
		if from.far == nil {
			continue
		}
		if s.dice.IntN(6) == 0 {
			to = broadcast
		}
		from.send(to)
		s.sum.probes.Add(1)
	}
}

// mac is one of the guests', or nobody's.
func (s *story) mac() ether.MAC {
	if i := s.dice.IntN(len(s.guests) + 1); i < len(s.guests) {
		return s.guests[i].mac
	}
	return ether.MAC{2, 0, 0, 9, 9, 9}
}

func (s *story) match(none bool) string {
	switch n := s.dice.IntN(10); {
	case n < 5:
		return s.mac().String()
	case n < 6:
		return "not " + s.mac().String()
	case n < 7 && none:
		return "none"
	}
	return "any"
}

// side is any port or link that the node might have.
func (s *story) side(m *machine) string {
	if len(m.guests) > 0 && s.dice.IntN(3) == 0 {
		return "port:" + m.guests[s.dice.IntN(len(m.guests))].name
	}
	peers := s.links()[overlay.Name(m.name)]
	if len(peers) == 0 || s.dice.IntN(3) == 0 {
		return "link:" + s.machines()[s.dice.IntN(len(s.hosts)+1)].name
	}
	return "link:" + string(peers[s.dice.IntN(len(peers))])
}

func (s *story) links() map[overlay.Name][]overlay.Name {
	all, o := map[overlay.Name][]overlay.Name{}, s.record()
	for name := range o.Nodes {
		all[name] = o.Peers(name)
	}
	return all
}

func (s *story) anyMachine() *machine { return s.machines()[s.dice.IntN(len(s.hosts)+1)] }

// The steps below choose with the dice at once and return what is to be done.

func (s *story) addLink() func() {
	a, b := s.hosts[s.dice.IntN(len(s.hosts))].name, s.hosts[s.dice.IntN(len(s.hosts))].name
	return func() {
		_, err := s.service().AddLink(context.Background(), &vnetv1.AddLinkRequest{Node: a, Peer: b})
		s.outcome(fmt.Sprintf("link %s %s", a, b), err)
	}
}

func (s *story) deleteLink() func() {
	links := s.record().Links
	if len(links) == 0 {
		return func() {}
	}
	l := links[s.dice.IntN(len(links))]
	return func() {
		_, err := s.service().DeleteLink(context.Background(), &vnetv1.DeleteLinkRequest{Node: string(l.A), Peer: string(l.B), Force: true})
		s.outcome(fmt.Sprintf("no link %s %s", l.A, l.B), err)
	}
}

func (s *story) addRule() func() {
	m := s.anyMachine()
	r := &vnetv1.Rule{Arrival: "any", Src: s.match(false), Dst: s.match(true), Out: s.side(m)}
	if s.dice.IntN(2) == 0 {
		r.Arrival = s.side(m)
	}
	return func() { s.rule(m.name, r) }
}

func (s *story) rule(at string, r *vnetv1.Rule) error {
	_, err := s.service().AddRule(context.Background(), &vnetv1.AddRuleRequest{Node: at, Rule: r})
	s.outcome(fmt.Sprintf("at %s from %s src %s dst %s to %s", at, r.Arrival, r.Src, r.Dst, r.Out), err)
	return err
}

func (s *story) deleteRule() func() {
	o, m := s.record(), s.anyMachine()
	rules := o.Nodes[overlay.Name(m.name)].Rules
	if len(rules) == 0 {
		return func() {}
	}
	r := rules[s.dice.IntN(len(rules))]
	return func() {
		_, err := s.service().DeleteRule(context.Background(), &vnetv1.DeleteRuleRequest{Node: m.name, Id: r.ID})
		s.outcome(fmt.Sprintf("at %s no rule %d", m.name, r.ID), err)
	}
}

// ring asks for rules that send one guest's frames around the hosts: unless the
// guest's way out of it comes first, the last of them closes a circle.
func (s *story) ring() {
	size := 2 + s.dice.IntN(len(s.hosts)-1)
	order := s.dice.Perm(len(s.hosts))[:size]
	to, refused := s.mac().String(), false
	for i := range order {
		a, b := s.hosts[order[i]].name, s.hosts[order[(i+1)%size]].name
		_, err := s.service().AddLink(context.Background(), &vnetv1.AddLinkRequest{Node: a, Peer: b})
		s.outcome(fmt.Sprintf("link %s %s", a, b), err)
		s.probe()
	}
	for i := range order {
		a, b := s.hosts[order[i]].name, s.hosts[order[(i+1)%size]].name
		err := s.rule(a, &vnetv1.Rule{Arrival: "any", Src: "any", Dst: to, Out: "link:" + b})
		refused = refused || err != nil
		s.probe()
		time.Sleep(time.Millisecond)
	}
	if !refused {
		s.note("ring %v to %s was accepted whole", order, to)
	}
}

// outcome sorts the answer to a request and holds the record to its promise.
func (s *story) outcome(what string, err error) {
	switch text := fmt.Sprint(err); {
	case err == nil:
		s.sum.accepted.Add(1)
	case strings.Contains(text, "would circle: "):
		s.sum.circles.Add(1)
		if !strings.Contains(text, "and again ") {
			s.t.Errorf("the circle is not printed: %v", err)
		}
	case strings.Contains(text, "would be delivered twice: "):
		s.sum.twice.Add(1)
	case strings.Contains(text, "cannot finish"):
		s.sum.failed.Add(1)
	default:
		s.sum.refused.Add(1)
	}
	s.note("%v %s: %v", time.Since(bubbleStart()).Round(time.Millisecond), what, err)
}

func bubbleStart() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// crash turns a machine off in the midst of it all, and on again later.
func (s *story) crash() {
	m := s.anyMachine()
	if m == s.proxy && s.dice.IntN(3) > 0 {
		m = s.hosts[0]
	}
	time.Sleep(time.Duration(s.dice.IntN(60)) * time.Millisecond)
	if s.dice.IntN(4) == 0 {
		s.note("%v %s stops", time.Since(bubbleStart()).Round(time.Millisecond), m.name)
		m.stop()
	} else {
		s.note("%v %s crashes", time.Since(bubbleStart()).Round(time.Millisecond), m.name)
		m.crash()
	}
	s.sum.crashes.Add(1)
	for range s.dice.IntN(20) {
		s.probe()
		time.Sleep(100 * time.Millisecond)
	}
	m.start()
	s.note("%v %s is on again", time.Since(bubbleStart()).Round(time.Millisecond), m.name)
	for _, g := range m.guests {
		g.send(broadcast)
	}
}

// cut parts two machines for a while.
func (s *story) cut() {
	a, b := s.anyMachine(), s.anyMachine()
	if a == b {
		return
	}
	s.note("%v %s and %s are cut", time.Since(bubbleStart()).Round(time.Millisecond), a.name, b.name)
	s.sum.cuts.Add(1)
	if s.dice.IntN(2) == 0 {
		s.net.CutOneWay(a.addr, b.addr)
	} else {
		s.net.Cut(a.addr, b.addr)
	}
	for range s.dice.IntN(20) {
		s.probe()
		time.Sleep(100 * time.Millisecond)
	}
	s.net.Heal(a.addr, b.addr)
}

// mend waits until everybody is there and nothing moves any more.
func (s *story) mend() {
	s.await("all hosts are back", s.up)
	s.await("no change is under way", func() (idle bool) {
		s.proxy.proxy.ask(context.Background(), func(h *hub) { idle = h.changes.idle() && len(h.changes.retiring) == 0 })
		return idle
	})
	s.probe()
	s.probe()
	time.Sleep(3 * time.Second) // stragglers, and the heartbeats that tell of them
	synctest.Wait()
}

// judge looks at what all of it came to.
func (s *story) judge(t *testing.T) {
	for _, found := range s.twice() {
		t.Error(found)
	}
	for _, g := range s.guests {
		s.sum.arrived.Add(int64(len(g.got)))
	}
	if cycles := s.record().Cycles(); len(cycles) > 0 {
		t.Errorf("the record has circles: %v", cycles)
	}
	total := &vnetv1.Counters{}
	for _, a := range s.accounts() {
		if r := a.totals.Remainder(); r != 0 {
			t.Errorf("%s cannot account for %d frames: %+v", a.name, r, a.totals)
		}
		if a.links.HopLimitHits != 0 {
			t.Errorf("%s: %d frames went in circles", a.name, a.links.HopLimitHits)
		}
		sum(total, a.links)
	}
	s.balance(t, total)
}

// balance closes the account of the whole overlay.
func (s *story) balance(t *testing.T, sum *vnetv1.Counters) {
	lost := int64(sum.EdgeIn+sum.Copies+sum.Cuts) - int64(sum.EdgeOut)
	for _, d := range sum.Drops {
		lost -= int64(d.Frames)
	}
	switch {
	case lost < 0:
		t.Errorf("%d frames came out that never went in: %v", -lost, sum)
	case s.calm && lost != int64(sum.WireLost):
		t.Errorf("%d frames are lost and the links know of %d: %v", lost, sum.WireLost, sum)
	case s.calm && !s.lossy && lost != 0:
		t.Errorf("%d frames are lost though the network lost none: %v", lost, sum)
	case s.calm:
		s.sum.balanced.Add(1)
	}
}
