package vttif

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

// site is the counters of one VM's node, in virtual time.
type site struct {
	counter *Counter
	differ  *Differ
	skew    uint32 // of its clock, ms
	phase   int64  // ms within the reporting interval
}

// world is nodes with a VM each and a Proxy, in virtual time: counters, differs, and an inferrer, and no network.
type world struct {
	sites []*site
	vms   []ether.MAC
	in    *Inferrer
	start time.Time
	now   int64 // ms
	top   Topology
	saw   []string // each topology published
	keep  func(Report)
}

func newWorld(n int, c Config, dice *rand.Rand) *world {
	w := &world{in: NewInferrer(c), start: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	for i, at := range dice.Perm(n) {
		w.vms = append(w.vms, ether.MAC{2, byte(dice.Uint32()), byte(dice.Uint32()), 0, byte(at), 1})
		w.sites = append(w.sites, &site{
			counter: NewCounter(64), differ: NewDiffer(fmt.Sprint("node", i), 1), skew: dice.Uint32(), phase: dice.Int64N(100),
		})
	}
	return w
}

// sends counts bytes from one VM to another, and their acknowledgements, in the present millisecond.
func (w *world) sends(from, to int, bytes uint64) {
	if bytes == 0 {
		return
	}
	frames := bytes/1500 + 1
	w.sites[from].counter.Offered(w.vms[from], w.vms[to], bytes, frames, false)
	w.sites[to].counter.Delivered(w.vms[from], w.vms[to], bytes, frames)
	if bytes > 200 {
		w.sites[to].counter.Offered(w.vms[to], w.vms[from], 66*(frames/2), frames/2, true)
		w.sites[from].counter.Delivered(w.vms[to], w.vms[from], 66*(frames/2), frames/2)
	}
}

// millisecond begins: what is due is reported and judged.
func (w *world) millisecond() {
	w.now++
	at := w.start.Add(time.Duration(w.now) * time.Millisecond)
	for _, s := range w.sites {
		s.counter.At(uint32(w.now) + s.skew)
		if w.now%100 == s.phase {
			if r := s.differ.Report(uint32(w.now)+s.skew, s.counter); len(r.Deltas)+len(r.Bins) > 0 {
				if w.keep != nil {
					w.keep(r)
				}
				w.in.Add(at, r)
			}
		}
	}
	if w.now%50 == 0 {
		top, changed := w.in.Step(at)
		if w.top = top; changed {
			w.saw = append(w.saw, fmt.Sprintf("%.2f s: %s, %d edges", float64(w.now)/1000, top.Name(), len(top.Edges)))
		}
	}
}

// job is a bulk-synchronous application in a world: each iteration runs through its phases, then computes.
type job struct {
	w        *world
	schedule *workload.Schedule
	base     int     // first VM
	period   float64 // ms
	compute  float64 // share of the period
	rate     float64 // bytes/ms of each exchange while its phase lasts
	jitter   float64 // of an iteration's length, as a share; standard deviation
	dice     *rand.Rand

	began     float64 // ms, of the present iteration
	length    float64
	iteration int
	lengths   []float64 // of those that are over
}

func (j *job) millisecond() {
	if j.length == 0 {
		j.began, j.length = float64(j.w.now), j.period
	}
	for j.began+j.length <= float64(j.w.now) {
		j.began += j.length
		j.lengths = append(j.lengths, j.length)
		j.length = j.period * math.Max(0.5, 1+j.jitter*j.dice.NormFloat64())
		j.iteration++
	}
	phases := j.schedule.Steps(j.iteration)
	each := j.length * (1 - j.compute) / float64(len(phases))
	from := float64(j.w.now) - j.began
	for k, phase := range phases {
		share := math.Min(from+1, each*float64(k+1)) - math.Max(from, each*float64(k))
		if share <= 0 {
			continue
		}
		for _, x := range phase {
			j.w.sends(j.base+x.From, j.base+x.To, uint64(j.rate*share))
		}
	}
}

// play runs the jobs for a while.
func (w *world) play(d time.Duration, jobs ...func()) {
	for until := w.now + d.Milliseconds(); w.now < until; {
		w.millisecond()
		for _, j := range jobs {
			j()
		}
	}
}

// chatter is what VMs say besides: ARP and DHCP to all, mDNS, keystrokes, and a monitor that polls each every ten seconds.
func (w *world) chatter(dice *rand.Rand) func() {
	everyone, mdns := ether.MAC{255, 255, 255, 255, 255, 255}, ether.MAC{1, 0, 0x5e, 0, 0, 251}
	n := len(w.vms)
	return func() {
		from := dice.IntN(n)
		if w.now%500 == 0 {
			w.sites[from].counter.Offered(w.vms[from], everyone, 42, 1, false)
			w.sites[from].counter.Offered(w.vms[from], mdns, 200, 1, false)
		}
		if w.now%200 == 0 {
			w.sends(0, n-1, 100) // keystrokes, and their echo
			w.sends(n-1, 0, 150)
		}
		if to := int(w.now / (10_000 / int64(n)) % int64(n)); to != n/2 && w.now%(10_000/int64(n)) < 10 {
			w.sends(n/2, to, 60)
			w.sends(to, n/2, 2000) // 20 kB of metrics
		}
	}
}

func newJob(t *testing.T, w *world, pattern string, ranks int, period time.Duration, compute float64, dice *rand.Rand) *job {
	t.Helper()
	s, err := workload.New(pattern, ranks, workload.Options{Seed: dice.Uint64()})
	if err != nil {
		t.Fatal(err)
	}
	return &job{w: w, schedule: s, period: float64(period) / 1e6, compute: compute, rate: 5000, dice: dice}
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

func TestThePeriodIsWithinTwoPercentOfTheTruth(t *testing.T) {
	dice := rand.New(rand.NewPCG(3, 9))
	worst := 0.0
	for _, ms := range []float64{20, 27, 50, 73, 100, 200, 333, 700, 1000, 1900, 3300, 5000} {
		for _, pattern := range []string{"ring", "butterfly", "alltoall", "tree", "treeupdown"} {
			for _, chatty := range []bool{false, true} {
				compute := 0.2 + 0.6*dice.Float64()
				w := newWorld(8, Config{}, dice)
				j := newJob(t, w, pattern, 8, time.Duration(ms*1e6), compute, dice)
				j.jitter = 0.01
				jobs := []func(){j.millisecond}
				if chatty {
					jobs = append(jobs, w.chatter(dice))
				}
				w.play(time.Duration(max(6000, 7*ms))*time.Millisecond, jobs...)
				if len(w.top.Groups) == 0 {
					t.Errorf("%s of %v ms: no group", pattern, ms)
					continue
				}
				g := w.top.Groups[0].Goal
				truth := mean(j.lengths[max(0, len(j.lengths)-20):])
				off := math.Abs(float64(g.Period)/1e6/truth - 1)
				if worst = max(worst, off); off > 0.02 || g.Confidence < SureEnough {
					t.Errorf("%s of %.1f ms, computing %.0f %%, chatter %v: period %v with confidence %.2f", pattern, truth, 100*compute, chatty, g.Period, g.Confidence)
				}
			}
		}
	}
	t.Logf("at most %.2f %% off", 100*worst)
}

func TestThereIsNoPeriodWhereNothingRepeats(t *testing.T) {
	for name, send := range map[string]func(w *world, dice *rand.Rand){
		"a stream": func(w *world, _ *rand.Rand) { w.sends(0, 1, 12500) },
		"packets by chance": func(w *world, dice *rand.Rand) {
			if dice.IntN(5) == 0 {
				w.sends(0, 1, 1500*uint64(1+dice.IntN(3)))
			}
		},
		"bursts by chance": func(w *world, dice *rand.Rand) {
			if w.now%40 < int64(dice.IntN(40)) && dice.IntN(3) == 0 {
				w.sends(0, 1, 6000)
				w.sends(1, 2, uint64(dice.IntN(9000)))
			}
		},
	} {
		dice := rand.New(rand.NewPCG(4, 4))
		w := newWorld(4, Config{}, dice)
		last := dice.IntN(4)
		w.play(12*time.Second, func() {
			if name == "bursts by chance" && w.now%53 == 0 {
				last = dice.IntN(4)
			}
			if name != "bursts by chance" || last == 0 {
				send(w, dice)
			}
		})
		if g := w.top.Groups[0].Goal; g.Confidence >= SureEnough {
			t.Errorf("%s: period %v with confidence %.2f", name, g.Period, g.Confidence)
		}
	}
}

func TestTheGoalFollowsAnApplicationThatGetsFaster(t *testing.T) {
	dice := rand.New(rand.NewPCG(6, 2))
	w := newWorld(8, Config{}, dice)
	j := newJob(t, w, "hypercube", 8, 120*time.Millisecond, 0.4, dice)
	j.jitter = 0.02
	w.play(20*time.Second, j.millisecond)
	before := w.top.Groups[0].Goal
	var truth float64 // bytes/s, from the beginning of the first iteration
	for _, s := range w.sites {
		s.counter.Collect(func(_ Pair, tally Tally) { truth += float64(tally.DeliveredBytes) / 20 })
	}
	if off := before.Delivered/truth - 1; math.Abs(off) > 0.02 || math.Abs(before.Trend) > 0.02 {
		t.Errorf("before: %+v, delivered %.1f %% off", before, 100*off)
	}
	j.period = 80
	w.play(30*time.Second, j.millisecond)
	after := w.top.Groups[0].Goal
	if math.Abs(float64(after.Period)/80e6-1) > 0.02 || after.Trend > -0.25 {
		t.Errorf("after: %+v", after)
	}
}

func TestRequestsAndTheirRoundTripAreSeen(t *testing.T) {
	dice := rand.New(rand.NewPCG(2, 8))
	w := newWorld(3, Config{}, dice)
	next, answer := int64(10), int64(-1)
	requests, began := 0, int64(0)
	const there = 12 // ms each way, and the server takes 3
	w.play(20*time.Second, func() {
		c := func(at int) *Counter { return w.sites[at].counter }
		switch w.now {
		case next:
			c(0).Offered(w.vms[0], w.vms[1], 400, 1, false)
			answer = w.now + there + 3
			if w.now > 5000 {
				if began == 0 {
					began = w.now
				}
				requests++
			}
		case next + there:
			c(1).Delivered(w.vms[0], w.vms[1], 400, 1)
		case answer:
			c(1).Offered(w.vms[1], w.vms[0], 9000, 6, false)
		case answer + there:
			c(0).Delivered(w.vms[1], w.vms[0], 9000, 6)
			next = w.now + 20 + dice.Int64N(60) // the client thinks
		}
	})
	g := w.top.Groups[0].Goal
	rate := float64(requests) / (float64(w.now-began) / 1000)
	if math.Abs(g.Requests/rate-1) > 0.1 || (g.RoundTrip-27*time.Millisecond).Abs() > time.Millisecond {
		t.Errorf("%.1f requests/s with a round trip of %v; want %.1f and 27 ms", g.Requests, g.RoundTrip, rate)
	}
}

// A ring whose exchanges are ten seconds apart, while a neighbour of it goes on: its edges stay because the period is known.
func TestEdgesStayForThreePeriods(t *testing.T) {
	dice := rand.New(rand.NewPCG(7, 7))
	w := newWorld(4, Config{RemoveAfter: 2 * time.Second}, dice)
	j := newJob(t, w, "butterfly", 4, 6*time.Second, 0.2, dice)
	w.play(90*time.Second, j.millisecond)
	late := 0
	for _, line := range w.saw {
		var at float64
		fmt.Sscanf(line, "%f s", &at)
		if at > 25 {
			late++
		}
	}
	if late > 0 || len(w.top.Edges) != 4 {
		t.Errorf("after the period is known: %d changes\n%v", late, w.saw)
	}
}

// Alternation within the effective bound (here 10 s) reaches the union within two full periods and three changes, then none.
func TestAlternationReachesTheUnion(t *testing.T) {
	for _, turn := range []time.Duration{500 * time.Millisecond, 2 * time.Second, 4500 * time.Millisecond} {
		for _, with := range []string{"broadcast", "alltoall", "bus"} {
			dice := rand.New(rand.NewPCG(1, uint64(turn)))
			w := newWorld(8, Config{}, dice)
			a, b := newJob(t, w, "ring", 8, 50*time.Millisecond, 0.3, dice), newJob(t, w, with, 8, 50*time.Millisecond, 0.3, dice)
			w.play(20*turn+20*time.Second, func() {
				if w.now/turn.Milliseconds()%2 == 0 {
					a.millisecond()
				} else {
					b.millisecond()
				}
			})
			union := map[workload.Edge]bool{}
			for _, e := range append(a.schedule.Edges(), b.schedule.Edges()...) {
				union[e] = true
			}
			var last float64
			fmt.Sscanf(w.saw[len(w.saw)-1], "%f s", &last)
			if len(w.saw) > 3 || len(w.top.Edges) != len(union) || last > (4*turn).Seconds()+1 {
				t.Errorf("ring and %s every %v, %d edges together: %v", with, turn, len(union), w.saw)
			}
		}
	}
}

// A million source addresses in ten seconds, at the node of a VM of the application and over the inference's bound on pairs:
// memory stays bounded and the topology, published before and in the middle of the flood, is the application's.
func TestAMillionAddressesDoNotHideAnApplication(t *testing.T) {
	const flood, most = 1_000_000, 20_000
	dice := rand.New(rand.NewPCG(9, 1))
	w := newWorld(4, Config{MaxPairs: most}, dice)
	w.sites[0].counter = NewCounter(0)
	j := newJob(t, w, "ring", 4, 80*time.Millisecond, 0.5, dice)
	sent := 0
	w.play(14*time.Second, func() {
		for range 100 {
			if sent < flood {
				sent++
				w.sites[0].counter.Offered(ether.MAC{6, 1, byte(sent >> 24), byte(sent >> 16), byte(sent >> 8), byte(sent)}, w.vms[0], 60, 1, false)
			}
		}
		if w.now > 4000 { // it starts in the middle
			j.millisecond()
		}
		if n := len(w.in.flows); n > most {
			t.Fatalf("%d pairs remembered", n)
		}
	})
	if len(w.saw) != 1 || w.top.Name() != "ring of 4" {
		t.Errorf("published %v", w.saw)
	}
	t.Logf("%v; other %d frames of %d", w.saw, w.in.Other().OfferedFrames, sent)
	if g := w.top.Groups[0].Goal; math.Abs(float64(g.Period)/80e6-1) > 0.02 {
		t.Errorf("goal %+v", g)
	}
}
