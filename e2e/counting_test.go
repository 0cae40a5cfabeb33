package e2e

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
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

// flowing is TCP from vm1 to vm2 that is stopped and goes on as told.
type flowing struct {
	*world
	client *lab.Proc
}

func (w *world) flow() *flowing {
	w.Helper()
	w.spawn("vm2", lab.CmdOptions{}, "iperf3", "-s", "-1")
	time.Sleep(200 * time.Millisecond) // until it listens: it says nothing of it when its output is no terminal
	f := &flowing{w, w.spawn("vm1", lab.CmdOptions{}, "iperf3", "-t", "600", "-c", w.Address("vm2").String())}
	time.Sleep(2 * time.Second) // neighbours, links, windows
	f.client.Signal(syscall.SIGSTOP)
	return f
}

// arrived is how many bytes vm2 received so far.
func (f *flowing) arrived() float64 {
	f.Helper()
	n, err := strconv.ParseFloat(strings.TrimSpace(f.run("vm2", "cat", "/sys/class/net/eth0/statistics/rx_bytes")), 64)
	if err != nil {
		f.Fatal(err)
	}
	return n
}

// slice lets it go on for a moment, and tells the throughput in bit/s once it is at its speed.
func (f *flowing) slice() float64 {
	f.Helper()
	f.client.Signal(syscall.SIGCONT)
	time.Sleep(60 * time.Millisecond)
	began, before := time.Now(), f.arrived()
	time.Sleep(250 * time.Millisecond)
	took, after := time.Since(began), f.arrived()
	f.client.Signal(syscall.SIGSTOP)
	time.Sleep(20 * time.Millisecond) // until what is on its way has arrived
	return 8 * (after - before) / took.Seconds()
}

// What counting costs the application: TCP between two hosts in turn over an overlay that counts and one that does not, both
// there all the time, a quarter of a second each, the order turning. COUNTING_LABS fresh labs (default 1) of 30 pairs of
// slices. COUNTING_OUT names a file of earlier pairs that these are added to; the interval is of all of them.
func TestWhatCountingCosts(t *testing.T) {
	needs(t, "iperf3")
	labs, pairs := 1, 10
	if n, err := strconv.Atoi(os.Getenv("COUNTING_LABS")); err == nil {
		labs, pairs = n, 30
	}
	var rows strings.Builder
	for range labs {
		t.Run("labs", func(t *testing.T) { rows.WriteString(countingPairs(t, pairs)) })
	}
	text := rows.String()
	if name := os.Getenv("COUNTING_OUT"); name != "" {
		before, _ := os.ReadFile(name) // none yet
		text = string(before) + text
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ratios := logRatios(t, text)
	mean, half := interval(slices.Concat(ratios...))
	n := len(slices.Concat(ratios...))
	var means []float64
	for _, of := range ratios {
		m, _ := interval(of)
		means = append(means, m)
	}
	if _, between := interval(means); len(means) > 2 {
		half = max(half, between) // labs may differ by more than their pairs do
	}
	percent := func(l float64) float64 { return 100 * (math.Exp(l) - 1) }
	t.Logf("%d pairs in %d labs: throughput with counting is %+.2f %%, between %+.2f %% and %+.2f %% at 95 %%", n, len(means), percent(mean), percent(mean-half), percent(mean+half))
	if mean+half < math.Log(0.85) {
		t.Errorf("counting costs more than 15 %%, beyond doubt")
	}
}

// countingPairs measures pairs of slices in two fresh labs: a line each, bit/s with and without counting, and an empty line.
func countingPairs(t *testing.T, pairs int) (rows string) {
	with := start(t, oneSite)
	without := start(t, oneSite, "--uncounted")
	for _, w := range []*world{with, without} {
		w.vnet("proxy", "adapt", "observe") // the same way for both: over the star
	}
	a, b := with.flow(), without.flow()
	if app := ask[appAnswer](without, "proxy", "app"); len(app.App.Groups) > 0 {
		t.Errorf("the overlay that does not count inferred %+v", app)
	}
	for pair := range pairs {
		var x, y float64
		if pair%2 == 0 {
			x = a.slice()
			y = b.slice()
		} else {
			y = b.slice()
			x = a.slice()
		}
		rows += fmt.Sprintf("%.0f,%.0f\n", x, y)
	}
	return rows + "\n"
}

// logRatios reads pairs, by lab.
func logRatios(t *testing.T, text string) (all [][]float64) {
	t.Helper()
	for lab := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		var logs []float64
		for line := range strings.Lines(lab) {
			var with, without float64
			if _, err := fmt.Sscanf(line, "%f,%f", &with, &without); err != nil || with <= 0 || without <= 0 {
				t.Fatalf("cannot read the pair %q: %v", line, err)
			}
			logs = append(logs, math.Log(with/without))
		}
		all = append(all, logs)
	}
	return all
}

// interval is the mean of values, and half of its interval of 95 % (Student's).
func interval(values []float64) (mean, half float64) {
	sum, square := 0.0, 0.0
	for _, v := range values {
		sum += v
	}
	n := float64(len(values))
	mean = sum / n
	for _, v := range values {
		square += (v - mean) * (v - mean)
	}
	const z = 1.96
	free := n - 1 // Student's quantile by Cornish and Fisher's series
	student := z + (z*z*z+z)/(4*free) + (5*math.Pow(z, 5)+16*z*z*z+3*z)/(96*free*free)
	return mean, student * math.Sqrt(square/free/n)
}
