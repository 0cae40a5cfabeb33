package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// application is the benchmark, one rank in each VM, and what its ranks print.
type application struct {
	view  *View
	procs []*lab.Proc // by rank

	mu         sync.Mutex // guards the following
	iterations []iteration
	summaries  []summary
	news       chan struct{} // closed and replaced at each line
	complaint  []*lines
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

// start runs one rank in each VM, dealt out in a shuffled order. Only the ranks know the pattern.
func start(l *lab.Lab, cfg Config, view *View) (*application, error) {
	a := &application{view: view, news: make(chan struct{})}
	ranks := cfg.ranks()
	peers := make([]string, cfg.VMs)
	for rank, vm := range ranks {
		peers[rank] = fmt.Sprintf("%s:%d", vmAddress(vm).Addr(), appPort)
	}
	for rank, vm := range ranks {
		complaint := &lines{}
		a.complaint = append(a.complaint, complaint)
		p, err := l.Command(vmName(vm), []string{
			lab.Self, "patterns", "--rank", fmt.Sprint(rank), "--peers", strings.Join(peers, ","),
			"--pattern", cfg.Pattern, "--bytes", fmt.Sprint(exchange), "--duration", (5 * time.Minute).String(), "--cc", "cubic", "--json",
		}, lab.CmdOptions{Name: "vnet", Stdout: &lines{take: a.line}, Stderr: complaint})
		if err != nil {
			return nil, err
		}
		a.procs = append(a.procs, p)
	}
	return a, nil
}

// line takes one line that a rank printed.
func (a *application) line(text string) {
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
		if it.Rank == 0 {
			a.view.iteration(it.MS)
		}
	}
	close(a.news)
	a.news = make(chan struct{})
}

// until waits for ok, which is called with mu held at every line.
func (a *application) until(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
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
		case <-a.anyEnded():
			return fmt.Errorf("cannot wait for %s: %w: %s", what, errStopped, a.said())
		case <-ctx.Done():
			return fmt.Errorf("cannot wait for %s: nothing more came within %v: %s", what, patience, a.said())
		}
	}
}

// anyEnded is closed when the first rank has ended; they end together.
func (a *application) anyEnded() <-chan struct{} { return a.procs[0].Done() }

func (a *application) said() string {
	var all []string
	for rank, c := range a.complaint {
		if text := c.String(); text != "" {
			all = append(all, fmt.Sprintf("rank %d: %s", rank, text))
		}
	}
	return strings.Join(all, "; ")
}

// began is when the first iteration started.
func (a *application) began(ctx context.Context) (first time.Time, err error) {
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

// await waits until every rank has finished n iterations that started after from.
func (a *application) await(ctx context.Context, from time.Time, n int) error {
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

// after is when rank 0 began the iteration that comes n after the one under way at t.
func (a *application) after(t time.Time, n int) time.Time {
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

func (a *application) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-a.anyEnded():
		return fmt.Errorf("cannot go on: %w: %s", errStopped, a.said())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// timing is the median over all ranks' iterations that lie within a time.
func (a *application) timing(from, to time.Time) Timing {
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
	return Timing{IterationMS: round(median(all)), Iterations: fewest}
}

// stop ends all ranks in the same iteration and checks that every byte was verified.
func (a *application) stop(ctx context.Context) (verified uint64, err error) {
	if err := a.procs[0].Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	for rank, p := range a.procs {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		select {
		case <-p.Done():
		case <-ctx.Done():
			return 0, fmt.Errorf("cannot stop rank %d: %w", rank, ctx.Err())
		}
		if exit, err := p.Wait(); err != nil || !exit.Success() {
			return 0, errors.Join(err, fmt.Errorf("rank %d failed: %v: %s", rank, exit, a.said()))
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
