package proxy

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

// bulkJob is a bulk-synchronous program in guests: rank i runs in vms[i]. It speaks TCP over IPv4 as far as an observer
// can tell, acknowledgements without payload included.
type bulkJob struct {
	vms      []*guest
	schedule *workload.Schedule
	period   time.Duration
	compute  float64 // share of the period
	owed     map[[2]int]float64
}

const (
	// exchangeRate in bytes/s of each pair, in the mean of a period.
	exchangeRate = 200_000
	// segment in bytes is what a frame carries.
	segment = 1400
)

// millisecond sends what is due in the millisecond that ends now after the start.
func (a *bulkJob) millisecond(now time.Duration) {
	phases := a.schedule.Steps(int(now / a.period))
	busy := float64(a.period) * (1 - a.compute) / float64(len(phases))
	from := float64(now % a.period)
	for k, phase := range phases {
		begin, end := busy*float64(k), busy*float64(k+1)
		share := math.Min(from+float64(time.Millisecond), end) - math.Max(from, begin)
		if share <= 0 {
			continue
		}
		for _, x := range phase {
			pair := [2]int{x.From, x.To}
			a.owed[pair] += exchangeRate * a.period.Seconds() * share / busy
			over := from+float64(time.Millisecond) >= end
			for a.owed[pair] >= segment || over && a.owed[pair] >= 1 {
				n := min(int(a.owed[pair]), segment)
				a.owed[pair] -= float64(n)
				a.vms[x.From].say(a.vms[x.To], n)
				a.vms[x.To].say(a.vms[x.From], 0)
			}
		}
	}
}

// say sends a TCP segment with a payload of n bytes; a bare acknowledgement for 0.
func (g *guest) say(to *guest, n int) {
	f := make(ether.Frame, 54+n)
	copy(f[0:], to.mac[:])
	copy(f[6:], g.mac[:])
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	f[14], f[22], f[23] = 0x45, 64, 6
	binary.BigEndian.PutUint16(f[16:], uint16(40+n))
	f[46], f[47] = 0x50, 0x10 // a header of 20 bytes, ACK
	g.far.Write(0, []ether.Packet{{Frame: f}})
}

// shout sends a frame of n bytes to a group.
func (g *guest) shout(to ether.MAC, n int) {
	f := make(ether.Frame, n)
	copy(f[0:], to[:])
	copy(f[6:], g.mac[:])
	f[12], f[13] = 0x88, 0xb6 // local experimental EtherType 2 (IEEE 802)
	g.far.Write(0, []ether.Packet{{Frame: f}})
}

// chatter is what VMs say besides in a millisecond: ARP and mDNS, keystrokes, and a monitor that polls one after the other.
func chatter(vms []*guest, ms int, dice *rand.Rand) {
	n := len(vms)
	if ms%500 == 0 {
		from := vms[dice.IntN(n)]
		from.shout(broadcast, 42)
		from.shout(ether.MAC{1, 0, 0x5e, 0, 0, 251}, 200)
	}
	if ms%200 == 0 {
		vms[0].say(vms[n-1], 46)
		vms[n-1].say(vms[0], 96)
	}
	if monitor, each := vms[n/2], 10_000/n; ms%each < 10 && ms/each%n != n/2 {
		polled := vms[ms/each%n]
		monitor.say(polled, 6)
		polled.say(monitor, 350) // 3.5 kB of metrics
	}
}

// edges are those published, by name of the VMs' addresses, and the names of the first group.
func (w *world) edges() (ends []string, names []string) {
	resp, err := w.service().GetApp(context.Background(), &vnetv1.GetAppRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, g := range resp.GetApp().GetGroups() {
		if names == nil {
			names = g.Names
		}
		for _, e := range g.Edges {
			ends = append(ends, min(e.AMac, e.BMac)+" "+max(e.AMac, e.BMac))
		}
	}
	slices.Sort(ends)
	return ends, names
}

// shapes are all patterns at 4, 8 and 16 ranks, and those that do not exist.
func shapes(sizes ...int) (all []func(seed uint64) *workload.Schedule, missing []string) {
	for _, pattern := range workload.Names() {
		for _, n := range sizes {
			if !workload.Fits(pattern, n) {
				missing = append(missing, fmt.Sprintf("%s of %d", pattern, n))
				continue
			}
			all = append(all, func(seed uint64) *workload.Schedule {
				s, err := workload.New(pattern, n, workload.Options{Seed: seed})
				if err != nil {
					panic(err) // it fits
				}
				return s
			})
		}
	}
	return all, missing
}

// Every pattern over the simulated network: real nodes and the real Proxy, links made of memory with a delay, frames that are
// sealed, forwarded over the star, counted, reported and judged with the defaults. SIMNET_RUNS sets the number of runs;
// `make accuracy` does 1,000 at 4, 8 and 16 VMs, the short form 16 at 4 and 8.
func TestEveryPatternIsRecoveredOverTheSimulatedNetwork(t *testing.T) {
	runs, sizes := 16, []int{4, 8}
	if n, err := strconv.Atoi(os.Getenv("SIMNET_RUNS")); err == nil {
		runs, sizes = n, []int{4, 8, 16}
	}
	most := slices.Max(sizes)
	all, missing := shapes(sizes...)
	p := issuePapers(t, most)
	synctest.Test(t, func(t *testing.T) {
		hosts := make([]int, most+1)
		for i := range most {
			hosts[i+1] = 1
		}
		w := newWorld(t, p, 5, wan.Path{Delay: 2 * time.Millisecond}, hosts...)
		defer w.stop()
		w.settle()
		exact, named := 0, 0
		for run := range runs {
			text, right, known := w.recover(all[run*7%len(all)](uint64(run)), uint64(run)) // 7: all of them in turn, sizes mixed
			if exact += right; right == 0 {
				t.Logf("not exact: %s", text)
				continue
			}
			if named += known; known == 0 {
				t.Logf("not named: %s", text)
			}
		}
		t.Logf("%d runs: %d exact (%.1f %%), of these %d named; do not exist: %v", runs, exact, 100*float64(exact)/float64(runs), named, missing)
		if float64(exact) < 0.99*float64(runs) || float64(named) < 0.99*float64(exact) {
			t.Errorf("less than 99 %%")
		}
	})
}

// recover runs an application from a seed for two seconds and three periods, and compares what is inferred.
func (w *world) recover(s *workload.Schedule, seed uint64) (text string, right, known int) {
	dice := rand.New(rand.NewPCG(seed, 5))
	a := &bulkJob{
		schedule: s, owed: map[[2]int]float64{},
		period: time.Duration(20e6 * math.Exp(dice.Float64()*math.Log(100))), compute: 0.9 * dice.Float64(), // 20 ms to 2 s
	}
	for _, i := range dice.Perm(len(w.guests))[:s.Ranks()] {
		a.vms = append(a.vms, w.guests[i])
	}
	if _, err := w.service().SetInference(context.Background(), &vnetv1.SetInferenceRequest{Defaults: true}); err != nil {
		w.t.Fatal(err)
	}
	chatty := seed%2 == 1
	for ms := range int((2*time.Second + 3*a.period) / time.Millisecond) {
		a.millisecond(time.Duration(ms) * time.Millisecond)
		if chatty {
			chatter(a.vms, ms, dice)
		}
		time.Sleep(time.Millisecond)
	}
	got, names := w.edges()
	var want []string
	for _, e := range s.Edges() {
		x, y := a.vms[e.A].mac.String(), a.vms[e.B].mac.String()
		want = append(want, min(x, y)+" "+max(x, y))
	}
	slices.Sort(want)
	time.Sleep(300 * time.Millisecond) // what is still under way is the old application's
	if right = 0; slices.Equal(got, want) {
		right = 1
	}
	if s.Name() == "random" || slices.Contains(names, s.Name()) {
		known = 1
	}
	return fmt.Sprintf("%s of %d, period %v, computing %.0f %%, chatter %v, seed %d: %d edges of %d, %v", s.Name(), s.Ranks(),
		a.period.Round(time.Millisecond), 100*a.compute, chatty, seed, len(got), len(want), names), right, known
}
