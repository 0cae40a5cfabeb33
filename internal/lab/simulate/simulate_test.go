package simulate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/experiments"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

func cluster(t *testing.T) *lab.Spec {
	t.Helper()
	data, err := experiments.Files.ReadFile("cluster4.yaml")
	if err != nil {
		t.Fatal(err)
	}
	spec, err := lab.Parse(data, "cluster4.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func ring(t *testing.T) *workload.Schedule {
	t.Helper()
	s, err := workload.New("ring", 4, workload.Options{Bytes: 250_000})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// On the star everything crosses the Proxy's wire; with fast paths a host's own wire is the limit. The arithmetic of both is
// known, and the model must agree with it.
func TestIterationsTakeWhatTheWiresAllow(t *testing.T) {
	for _, c := range []struct {
		mode     adapt.Mode
		messages float64 // that cross the fullest wire in an iteration
	}{{adapt.Observe, 8}, {adapt.Auto, 2}} {
		t.Run(c.mode.String(), func(t *testing.T) {
			err := Run(cluster(t), Config{Seed: 1, Adapt: adapt.Config{Mode: c.mode}}, func(w *World) error {
				app := w.Start([]int{2, 0, 3, 1}, 0, 0, ring(t))
				if err := w.Pass(20*time.Second, nil); err != nil {
					return err
				}
				n := app.Iterations() - 1
				got := app.FinishedAt(n).Sub(app.FinishedAt(n-20)).Seconds() / 20
				want := c.messages * 250_000 / (100e6 / 8 * framing)
				if got < want || got > want*1.1 {
					t.Errorf("an iteration takes %.4f s, the wires allow %.4f", got, want)
				}
				a, err := w.Account()
				if a.Probes == 0 || a.Lost != 0 || a.Twice != 0 || a.FramesLost != 0 {
					t.Errorf("%+v", a)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// An application with a number of iterations ends, and one that is stopped ends with all ranks after the same.
func TestApplicationsEnd(t *testing.T) {
	err := Run(cluster(t), Config{Seed: 1}, func(w *World) error {
		counted, stopped := w.Start([]int{0, 1, 2, 3}, 7, 0, ring(t)), w.Start([]int{3, 2, 1, 0}, 0, 0, ring(t))
		if err := w.Pass(10*time.Second, counted.Done); err != nil {
			return err
		}
		stopped.Stop()
		if err := w.Pass(10*time.Second, stopped.Done); err != nil {
			return err
		}
		if !counted.Done() || !stopped.Done() || counted.Iterations() != 7 {
			t.Errorf("done: %v and %v, after %d iterations", counted.Done(), stopped.Done(), counted.Iterations())
		}
		for _, r := range stopped.ranks {
			if len(r.finished) != stopped.Iterations() {
				t.Errorf("rank %d ended after %d iterations, rank 0 after %d", r.number, len(r.finished), stopped.Iterations())
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Max-min fairness: no wire carries more than it can, and a flow that gets less than its window allows crosses a full wire on
// which nobody gets more.
func TestSharesAreMaxMinFair(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var pipes []*pipe
		for range 1 + dice.IntN(8) {
			pipes = append(pipes, &pipe{rate: 1e6 * (1 + 10*dice.Float64())})
		}
		var flows []*flow
		for range 1 + dice.IntN(20) {
			f := &flow{delay: time.Duration(1+dice.IntN(20)) * time.Millisecond, window: window{bytes: mss * float64(2+dice.IntN(100)), threshold: math.Inf(1)}}
			for _, i := range dice.Perm(len(pipes))[:1+dice.IntN(len(pipes))] {
				f.path = append(f.path, pipes[i])
			}
			flows = append(flows, f)
		}
		share(flows, pipes)
		load, top := map[*pipe]float64{}, map[*pipe]float64{}
		for _, f := range flows {
			for _, p := range f.path {
				load[p] += f.rate
				top[p] = max(top[p], f.rate)
			}
		}
		for p, l := range load {
			if l > p.rate*(1+1e-6) {
				t.Fatalf("a wire of %.0f carries %.0f", p.rate, l)
			}
		}
		for _, f := range flows {
			if f.squeezed() && !slices.ContainsFunc(f.path, func(p *pipe) bool {
				return load[p] > p.rate*(1-1e-6) && f.rate > top[p]*(1-1e-6)
			}) {
				t.Fatalf("a flow gets %.0f and could have more", f.rate)
			}
		}
	}
}

func TestWindowsGrowAndRest(t *testing.T) {
	now, rtt := time.Unix(0, 0), 20*time.Millisecond
	w := newWindow(now)
	w.wake(now, rtt)
	w.grow(now.Add(2*rtt), rtt, false, 0)
	if math.Abs(w.bytes-4*firstWindow) > 1 {
		t.Errorf("two round trips of slow start: %.0f bytes, want %.0f", w.bytes, 4*firstWindow)
	}
	w.grow(now.Add(3*rtt), rtt, true, 3*firstWindow)
	if w.bytes != 3*firstWindow {
		t.Errorf("a full queue: %.0f bytes, want %.0f", w.bytes, 3*firstWindow)
	}
	w.grow(now.Add(4*rtt), rtt, false, 0)
	if slow := w.bytes - 3*firstWindow; slow <= 0 || slow > mss {
		t.Errorf("behind a loss it grows by %.0f bytes in a round trip", slow)
	}
	w.idle = now.Add(4 * rtt)
	w.wake(now.Add(4*rtt+2*time.Second), rtt)
	if w.bytes != firstWindow {
		t.Errorf("after 2 s of rest: %.0f bytes, want %.0f", w.bytes, firstWindow)
	}
}
