// Package program runs the benchmark `patterns` in the VMs of a lab and collects what its ranks print.
//
// It knows nothing of the overlay: the demonstration and the cells of the experiments do.
package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

const (
	// port is where the ranks listen.
	port = 7000
	// Patience bounds every wait for the program.
	Patience = 40 * time.Second
)

// ErrStopped says that the program has ended before it was told to.
var ErrStopped = errors.New("the application has ended")

// Plan says what to run.
type Plan struct {
	Pattern   string
	Bytes     int64
	Seed      uint64        // of the random pattern
	In        []string      // by rank: the VM or host it runs in
	Addresses []netip.Addr  // by rank: where the others find it
	Args      []string      // more options for every rank
	Iteration func(float64) // told how many milliseconds each iteration of rank 0 took; may be nil
}

// Application is the benchmark, one rank in each VM, and what its ranks print.
type Application struct {
	told  func(float64)
	procs []*lab.Proc // by rank

	mu         sync.Mutex // guards the following
	iterations []iteration
	summaries  []summary
	news       chan struct{} // closed and replaced at each line
	complaint  []*Lines
}

// iteration is one line of one rank.
type iteration struct {
	Rank      int     `json:"rank"`
	Iteration int     `json:"iteration"`
	StartNS   int64   `json:"start_ns"`
	MS        float64 `json:"ms"`
	Summary   bool    `json:"summary"`
}

func (i iteration) start() time.Time { return time.Unix(0, i.StartNS) }
func (i iteration) end() time.Time {
	return i.start().Add(time.Duration(i.MS * float64(time.Millisecond)))
}

type summary struct {
	Rank          int    `json:"rank"`
	BytesReceived uint64 `json:"bytes_received"`
	BytesVerified uint64 `json:"bytes_verified"`
	Errors        int    `json:"errors"`
	Error         string `json:"error"`
}

// Start runs all ranks. Only they know the pattern.
func Start(l *lab.Lab, p Plan) (*Application, error) {
	a := &Application{told: p.Iteration, news: make(chan struct{})}
	var peers []string
	for _, at := range p.Addresses {
		peers = append(peers, netip.AddrPortFrom(at, port).String())
	}
	for rank, in := range p.In {
		complaint := &Lines{}
		a.complaint = append(a.complaint, complaint)
		argv := append([]string{
			lab.Self, "patterns", "--rank", fmt.Sprint(rank), "--peers", strings.Join(peers, ","), "--pattern", p.Pattern,
			"--bytes", fmt.Sprint(p.Bytes), "--seed", fmt.Sprint(p.Seed), "--cc", "cubic", "--json",
		}, p.Args...)
		proc, err := l.Command(in, argv, lab.CmdOptions{Name: "vnet", Crowd: true, Stdout: &Lines{Take: a.line}, Stderr: complaint})
		if err != nil {
			return nil, err
		}
		a.procs = append(a.procs, proc)
	}
	return a, nil
}

// line takes one line that a rank printed.
func (a *Application) line(text string) {
	var it iteration
	if err := json.Unmarshal([]byte(text), &it); err != nil {
		return // not for us
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if it.Summary {
		var s summary
		if json.Unmarshal([]byte(text), &s) == nil {
			a.summaries = append(a.summaries, s)
		}
	} else {
		a.iterations = append(a.iterations, it)
		if it.Rank == 0 && a.told != nil {
			a.told(it.MS)
		}
	}
	close(a.news)
	a.news = make(chan struct{})
}

// until waits for ok, which is called with mu held at every line.
func (a *Application) until(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	for {
		a.mu.Lock()
		done, news := ok(), a.news
		a.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-news:
		case <-a.Ended():
			return fmt.Errorf("cannot wait for %s: %w: %s", what, ErrStopped, a.Said())
		case <-ctx.Done():
			return fmt.Errorf("cannot wait for %s: nothing more came within %v: %s", what, Patience, a.Said())
		}
	}
}

// Ended is closed when the first rank has ended; they end together.
func (a *Application) Ended() <-chan struct{} { return a.procs[0].Done() }

// Said is what the ranks complained of.
func (a *Application) Said() string {
	var all []string
	for rank, c := range a.complaint {
		if text := c.String(); text != "" {
			all = append(all, fmt.Sprintf("rank %d: %s", rank, text))
		}
	}
	return strings.Join(all, "; ")
}

// Began is when the first iteration started.
func (a *Application) Began(ctx context.Context) (first time.Time, err error) {
	err = a.until(ctx, "the first iteration", func() bool {
		for _, it := range a.iterations {
			if first.IsZero() || it.start().Before(first) {
				first = it.start()
			}
		}
		return !first.IsZero()
	})
	return first, err
}

// Await waits until every rank has finished n iterations that started after from.
func (a *Application) Await(ctx context.Context, from time.Time, n int) error {
	return a.until(ctx, fmt.Sprintf("%d iterations", n), func() bool {
		by := make([]int, len(a.procs))
		for _, it := range a.iterations {
			if !it.start().Before(from) {
				by[it.Rank]++
			}
		}
		for _, got := range by {
			if got < n {
				return false
			}
		}
		return true
	})
}

// After is when rank 0 began the iteration that comes n after the one under way at t.
func (a *Application) After(t time.Time, n int) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, it := range a.iterations {
		if it.Rank == 0 && it.start().After(t) {
			if n == 0 {
				return it.start()
			}
			n--
		}
	}
	return time.Now()
}

// Wait lets so much time pass while the program runs.
func (a *Application) Wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-a.Ended():
		return fmt.Errorf("cannot go on: %w: %s", ErrStopped, a.Said())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Timing is the median over all ranks' iterations that lie within a time.
func (a *Application) Timing(from, to time.Time) (medianMS float64, iterations int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []float64
	ranks := map[int]int{}
	for _, it := range a.iterations {
		if !it.start().Before(from) && !it.end().After(to) {
			all = append(all, it.MS)
			ranks[it.Rank]++
		}
	}
	fewest := len(all)
	for rank := range a.procs {
		fewest = min(fewest, ranks[rank])
	}
	return Median(all), fewest
}

// Stop ends all ranks in the same iteration and checks that every byte was verified.
func (a *Application) Stop(ctx context.Context) (verified uint64, err error) {
	if err := a.procs[0].Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	return a.Finish(ctx, Patience)
}

// Finish waits until all ranks have ended by themselves and checks that every byte was verified.
func (a *Application) Finish(ctx context.Context, within time.Duration) (verified uint64, err error) {
	for rank, p := range a.procs {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		select {
		case <-p.Done():
		case <-ctx.Done():
			return 0, fmt.Errorf("cannot stop rank %d: %w", rank, ctx.Err())
		}
		if exit, err := p.Wait(); err != nil || !exit.Success() {
			return 0, errors.Join(err, fmt.Errorf("rank %d failed: %v: %s", rank, exit, a.Said()))
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.summaries) != len(a.procs) {
		return 0, fmt.Errorf("cannot check the application's bytes: %d of %d ranks told what they verified", len(a.summaries), len(a.procs))
	}
	for _, s := range a.summaries {
		if s.Errors > 0 || s.BytesVerified != s.BytesReceived {
			return verified, fmt.Errorf("rank %d verified %d of %d bytes: %s", s.Rank, s.BytesVerified, s.BytesReceived, s.Error)
		}
		verified += s.BytesVerified
	}
	return verified, nil
}

// Ran is what rank 0 saw: when its first iteration began, and when each ended.
func (a *Application) Ran() (began time.Time, ended []time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, it := range a.iterations {
		if it.Rank == 0 {
			if began.IsZero() {
				began = it.start()
			}
			ended = append(ended, it.end())
		}
	}
	return began, ended
}

// Median is the middle of the values; 0 of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
