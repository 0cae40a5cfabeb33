package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// oneSite is two hosts beside the Proxy, without limits.
const oneSite = `
name: one-site
sites: [{name: home}]
hosts: [{name: host1, site: home}, {name: host2, site: home}, {name: proxy, site: home}]
vms: [{name: vm1, host: host1}, {name: vm2, host: host2}]
overlay: {proxy: proxy}
`

// throughput is what TCP carries from vm1 to vm2 for two seconds, in bit/s.
func (w *world) throughput() float64 {
	w.Helper()
	server := w.spawn("vm2", lab.CmdOptions{}, "iperf3", "-s", "-1")
	time.Sleep(150 * time.Millisecond) // until it listens: it says nothing of it when its output is no terminal
	var r struct {
		End struct {
			Received struct {
				BPS float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	text := w.run("vm1", "iperf3", "-J", "-t", "2", "-O", "0.5", "-c", w.Address("vm2").String())
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		w.Fatalf("iperf3 said %q: %v", text, err)
	}
	server.Stop(time.Second)
	return r.End.Received.BPS
}

// What counting costs the application: TCP between two hosts in turn over an overlay that counts and one that does not, both
// there all the time, the order turning. The result is a ratio with its interval of 95 %; the paper's 1 % is only claimed
// where the interval allows it. E2E_LONG makes 5 × 8 pairs, each five of fresh labs.
func TestWhatCountingCosts(t *testing.T) {
	needs(t, "iperf3")
	labs, pairs := 1, 3
	if os.Getenv("E2E_LONG") != "" {
		labs, pairs = 5, 8
	}
	var logs []float64
	for round := range labs {
		t.Run(fmt.Sprint("labs ", round+1), func(t *testing.T) {
			with := start(t, oneSite)
			without := start(t, oneSite, "--uncounted")
			for _, w := range []*world{with, without} {
				w.vnet("proxy", "adapt", "observe") // the same way for both: over the star
				w.throughput()                      // neighbours, links, windows
			}
			if app := ask[appAnswer](without, "proxy", "app"); len(app.App.Groups) > 0 {
				t.Errorf("the overlay that does not count inferred %+v", app)
			}
			for pair := range pairs {
				order := []*world{with, without}
				if pair%2 == 1 {
					slices.Reverse(order)
				}
				rate := map[*world]float64{}
				for _, w := range order {
					rate[w] = w.throughput()
				}
				logs = append(logs, math.Log(rate[with]/rate[without]))
				t.Logf("counting %.0f Mbit/s, not %.0f Mbit/s", rate[with]/1e6, rate[without]/1e6)
			}
		})
	}
	if len(logs) < 2 {
		t.Fatal("too few pairs")
	}
	sum, square := 0.0, 0.0
	for _, l := range logs {
		sum += l
	}
	mean := sum / float64(len(logs))
	for _, l := range logs {
		square += (l - mean) * (l - mean)
	}
	student := 2.02 // 95 % two-sided, 39 degrees of freedom
	if len(logs) < 10 {
		student = 4.3 // 2 degrees
	}
	half := student * math.Sqrt(square/float64(len(logs)-1)/float64(len(logs)))
	t.Logf("%d pairs: throughput with counting is %+.2f %%, between %+.2f %% and %+.2f %% at 95 %%",
		len(logs), 100*(math.Exp(mean)-1), 100*(math.Exp(mean-half)-1), 100*(math.Exp(mean+half)-1))
	if mean+half < math.Log(0.85) {
		t.Errorf("counting costs more than 15 %%, beyond doubt")
	}
}
