package patterns

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// remembered bounds how many iteration times the summary is made of: the last million, 8 MB.
const remembered = 1 << 20

// reporter prints what happens and sums it up. The rank's loop owns it.
type reporter struct {
	cfg    *config
	stdout io.Writer // each line is one write, so nothing waits in a buffer
	stderr io.Writer
	began  time.Time

	times   []time.Duration // of the last iterations, a ring once it is full
	sum     summary
	warned  bool
	control string // congestion control in use
}

// iterationLine is the JSON line of an iteration.
type iterationLine struct {
	Rank      int     `json:"rank"`
	Iteration uint64  `json:"iteration"`
	StartNS   int64   `json:"start_ns"` // Unix time
	MS        float64 `json:"ms"`
	Bytes     int64   `json:"bytes"`    // sent by this rank
	Received  int64   `json:"received"` // and verified, unless that is off
}

// summary is the last JSON line.
type summary struct {
	Summary       bool    `json:"summary"`
	Rank          int     `json:"rank"`
	Ranks         int     `json:"ranks"`
	Pattern       string  `json:"pattern"`
	Iterations    uint64  `json:"iterations"`
	Seconds       float64 `json:"seconds"`
	MedianMS      float64 `json:"median_ms"`
	P95MS         float64 `json:"p95_ms"`
	MinMS         float64 `json:"min_ms"`
	MaxMS         float64 `json:"max_ms"`
	BytesSent     int64   `json:"bytes_sent"`
	BytesReceived int64   `json:"bytes_received"`
	BytesVerified int64   `json:"bytes_verified"`
	Congestion    string  `json:"congestion,omitempty"`
	Interrupted   bool    `json:"interrupted"`
	Errors        int     `json:"errors"`
	Error         string  `json:"error,omitempty"`
}

func newReporter(cfg *config, stdout, stderr io.Writer) *reporter {
	return &reporter{cfg: cfg, stdout: stdout, stderr: stderr, began: time.Now()}
}

// congestion notes the congestion control of a connection, and says once if it is not the one wanted.
func (r *reporter) congestion(used, wanted string) {
	r.control = used
	if used == wanted || wanted == "" || r.warned {
		return
	}
	r.warned = true
	if used == "" {
		used = "the system's default"
	}
	fmt.Fprintf(r.stderr, "patterns: congestion control %s is not available here, using %s\n", wanted, used)
}

// iteration notes a finished iteration.
func (r *reporter) iteration(n uint64, start time.Time, took time.Duration, sent, received int64) {
	if len(r.times) < remembered {
		r.times = append(r.times, took)
	} else {
		r.times[r.sum.Iterations%remembered] = took
	}
	r.sum.Iterations++
	r.sum.BytesSent += sent
	r.sum.BytesReceived += received
	if r.cfg.json {
		r.line(iterationLine{r.cfg.rank, n, start.UnixNano(), millis(took), sent, received})
	}
}

// finish prints the summary.
func (r *reporter) finish(interrupted bool, failure error) {
	s := r.sum
	s.Summary, s.Rank, s.Ranks, s.Pattern = true, r.cfg.rank, len(r.cfg.peers), r.cfg.title()
	s.Seconds = time.Since(r.began).Seconds()
	s.Congestion, s.Interrupted = r.control, interrupted
	if r.cfg.verify {
		s.BytesVerified = s.BytesReceived
	}
	if failure != nil {
		s.Errors, s.Error = 1, failure.Error()
	}
	sorted := slices.Sorted(slices.Values(r.times))
	if len(sorted) > 0 {
		s.MedianMS, s.P95MS = quantile(sorted, 0.5), quantile(sorted, 0.95)
		s.MinMS, s.MaxMS = millis(sorted[0]), millis(sorted[len(sorted)-1])
	}
	if r.cfg.json {
		r.line(s)
		return
	}
	how := "done"
	switch {
	case failure != nil:
		how = "failed"
	case interrupted:
		how = "interrupted"
	}
	fmt.Fprintf(r.stdout, "rank %d of %d, %s: %s after %d iterations in %.1f s\n", s.Rank, s.Ranks, s.Pattern, how, s.Iterations, s.Seconds)
	fmt.Fprintf(r.stdout, "iteration: median %.3f ms, 95%% within %.3f ms, from %.3f to %.3f ms\n", s.MedianMS, s.P95MS, s.MinMS, s.MaxMS)
	fmt.Fprintf(r.stdout, "bytes: %d sent, %d received, %d verified\n", s.BytesSent, s.BytesReceived, s.BytesVerified)
}

// line prints one JSON line. A reader that has gone is not this program's failure.
func (r *reporter) line(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs of numbers and strings
	}
	_, _ = r.stdout.Write(append(b, '\n'))
}

// quantile is the smallest time that at least a share q of all is within.
func quantile(sorted []time.Duration, q float64) float64 {
	at := int(q*float64(len(sorted)) + 0.999999)
	return millis(sorted[min(max(at-1, 0), len(sorted)-1)])
}

// millis is a time in ms, to the microsecond.
func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
