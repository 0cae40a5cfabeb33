package patterns

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// addresses finds a free address of its own in 127/8 for each rank.
func addresses(t *testing.T, ranks int) []string {
	t.Helper()
	var peers []string
	for i := range ranks {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.%d.%d:0", 1+i/250, 1+i%250))
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, l.Addr().String())
		l.Close()
	}
	return peers
}

// outcome is what one rank printed and returned.
type outcome struct {
	code           int
	stdout, stderr bytes.Buffer
	lines          []iterationLine
	sum            summary
}

// runAll runs every rank with --json in this process; contexts[i], if there, is rank i's signal.
func runAll(t *testing.T, peers []string, contexts map[int]context.Context, args ...string) []*outcome {
	t.Helper()
	all := make([]*outcome, len(peers))
	var wg sync.WaitGroup
	for i := range peers {
		all[i] = &outcome{}
		ctx := contexts[i]
		if ctx == nil {
			ctx = context.Background()
		}
		wg.Go(func() {
			o := all[i]
			line := append([]string{"--rank", fmt.Sprint(i), "--peers", strings.Join(peers, ","), "--json"}, args...)
			o.code = mainWith(ctx, line, &o.stdout, &o.stderr)
		})
	}
	wg.Wait()
	for i, o := range all {
		for line := range strings.Lines(o.stdout.String()) {
			if strings.Contains(line, `"summary":true`) {
				if err := json.Unmarshal([]byte(line), &o.sum); err != nil {
					t.Fatalf("rank %d printed %q: %v", i, line, err)
				}
				continue
			}
			var l iterationLine
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("rank %d printed %q: %v", i, line, err)
			}
			o.lines = append(o.lines, l)
		}
	}
	return all
}

// checkBytes compares what each rank moved with what the schedule says for the iterations it did.
func checkBytes(t *testing.T, all []*outcome, scheduleAt func(iteration int) *workload.Schedule) {
	t.Helper()
	for i, o := range all {
		if o.code != exitOK {
			t.Fatalf("rank %d: exit %d: %s", i, o.code, &o.stderr)
		}
		var sent, received int64
		for n := range int(o.sum.Iterations) {
			for _, phase := range scheduleAt(n).Steps(n) {
				for _, e := range phase {
					if e.From == i {
						sent += e.Bytes
					}
					if e.To == i {
						received += e.Bytes
					}
				}
			}
		}
		if o.sum.BytesSent != sent || o.sum.BytesVerified != received || o.sum.Errors != 0 {
			t.Errorf("rank %d: %+v, want %d sent and %d verified", i, o.sum, sent, received)
		}
		if o.sum.Iterations != all[0].sum.Iterations || len(o.lines) != int(o.sum.Iterations) {
			t.Errorf("rank %d did %d iterations and printed %d, rank 0 did %d", i, o.sum.Iterations, len(o.lines), all[0].sum.Iterations)
		}
	}
}

func TestEveryPatternMovesItsBytes(t *testing.T) {
	for _, name := range workload.Names() {
		for _, ranks := range []int{2, 3, 4, 8, 9, 27} {
			if !workload.Fits(name, ranks) || ranks == 27 && name != "torus3d" {
				continue
			}
			t.Run(fmt.Sprintf("%s%d", name, ranks), func(t *testing.T) {
				t.Parallel()
				s, err := workload.New(name, ranks, workload.Options{Bytes: 5003, Seed: 1})
				if err != nil {
					t.Fatal(err)
				}
				all := runAll(t, addresses(t, ranks), nil, "--pattern", name, "--bytes", "5003", "--iterations", "7")
				checkBytes(t, all, func(int) *workload.Schedule { return s })
				if all[0].sum.Iterations != 7 {
					t.Errorf("%d iterations, want 7", all[0].sum.Iterations)
				}
			})
		}
	}
}

func TestDurationEndsAllRanksInTheSameIteration(t *testing.T) {
	for _, tc := range []struct {
		name, size string
		ranks      int
		more       []string
	}{
		{"ring", "300k", 5, nil},
		{"tree", "1000", 6, nil},
		{"broadcast", "0", 4, nil},
		{"bus", "10", 8, []string{"--compute", "5ms"}},
		{"ring", "1", 4, []string{"--duration", "1ms"}}, // over before it began
	} {
		t.Run(tc.name+tc.size, func(t *testing.T) {
			t.Parallel()
			bytes, err := parseBytes(tc.size)
			if err != nil {
				t.Fatal(err)
			}
			s, err := workload.New(tc.name, tc.ranks, workload.Options{Bytes: bytes})
			if err != nil {
				t.Fatal(err)
			}
			args := append([]string{"--pattern", tc.name, "--bytes", tc.size, "--duration", "300ms"}, tc.more...)
			checkBytes(t, runAll(t, addresses(t, tc.ranks), nil, args...), func(int) *workload.Schedule { return s })
		})
	}
}

func TestAlternateByCount(t *testing.T) {
	s, err := workload.New("alternate", 6, workload.Options{Bytes: 100, First: "tree", Alternate: "ring", Period: 3})
	if err != nil {
		t.Fatal(err)
	}
	all := runAll(t, addresses(t, 6), nil, "--pattern", "tree", "--alternate", "ring", "--period", "3", "--bytes", "100", "--iterations", "20")
	checkBytes(t, all, func(int) *workload.Schedule { return s })
}

// With turns by the clock nobody knows beforehand which iteration belongs to which pattern, so the test
// reads it off rank 3 of a bus of four beside a broadcast: it sends in the one and not in the other.
func TestAlternateByTheClock(t *testing.T) {
	opts := workload.Options{Bytes: 100}
	first, err := workload.New("bus", 4, opts)
	if err != nil {
		t.Fatal(err)
	}
	second, err := workload.New("broadcast", 4, opts)
	if err != nil {
		t.Fatal(err)
	}
	all := runAll(t, addresses(t, 4), nil, "--pattern", "bus", "--alternate", "broadcast", "--period", "50ms",
		"--bytes", "100", "--duration", "230ms", "--compute", "1ms")
	turns, last := 0, int64(-1)
	for _, l := range all[3].lines {
		if l.Bytes != last {
			turns++
			last = l.Bytes
		}
	}
	if turns < 2 || turns > 5 { // fewer on a machine so busy that the seven iterations of the shortest turn take longer
		t.Errorf("%d turns of 50 ms in 230 ms, want 5", turns)
	}
	checkBytes(t, all, func(n int) *workload.Schedule {
		if n < len(all[3].lines) && all[3].lines[n].Bytes == 0 {
			return second
		}
		return first
	})
}

func TestStopRequestEndsAllRanksTogether(t *testing.T) {
	for _, pattern := range []string{"ring", "tree"} {
		t.Run(pattern, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			s, err := workload.New(pattern, 4, workload.Options{Bytes: 1000})
			if err != nil {
				t.Fatal(err)
			}
			all := runAll(t, addresses(t, 4), map[int]context.Context{2: ctx}, "--pattern", pattern, "--bytes", "1000", "--duration", "1h")
			checkBytes(t, all, func(int) *workload.Schedule { return s })
			for i, o := range all {
				if !o.sum.Interrupted || o.sum.Iterations == 0 {
					t.Errorf("rank %d: %+v, want an interrupted run", i, o.sum)
				}
			}
		})
	}
}

func TestStopWhileConnectingIsClean(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	var out, errs bytes.Buffer
	peers := strings.Join(addresses(t, 2), ",")
	if code := mainWith(ctx, []string{"--rank", "0", "--peers", peers, "--pattern", "bus", "--iterations", "1"}, &out, &errs); code != exitOK {
		t.Errorf("exit %d: %s", code, &errs)
	}
	if !strings.Contains(out.String(), "interrupted after 0 iterations") {
		t.Errorf("printed %q", &out)
	}
}

func TestUnknownCongestionControlIsSaidAndLeftOut(t *testing.T) {
	all := runAll(t, addresses(t, 2), nil, "--pattern", "bus", "--iterations", "3", "--cc", "moon")
	for i, o := range all {
		if o.code != exitOK || !strings.Contains(o.stderr.String(), "congestion control moon is not available here, using "+o.sum.Congestion) {
			t.Errorf("rank %d: exit %d, %+v: %s", i, o.code, o.sum, &o.stderr)
		}
	}
}

func TestMissingPeerIsNamed(t *testing.T) {
	var out, errs bytes.Buffer
	peers := strings.Join(addresses(t, 3), ",")
	args := []string{"--rank", "0", "--peers", peers, "--pattern", "ring", "--iterations", "1", "--start-timeout", "200ms"}
	if code := mainWith(t.Context(), args, &out, &errs); code != exitFailure || !strings.Contains(errs.String(), "ranks [1 2] did not answer within 200ms") {
		t.Errorf("exit %d: %s", code, &errs)
	}
}

func TestOtherOptionsAreNoticed(t *testing.T) {
	peers := addresses(t, 2)
	var codes [2]int
	var errs [2]bytes.Buffer
	var wg sync.WaitGroup
	for i, size := range []string{"10", "11"} {
		wg.Go(func() {
			codes[i] = mainWith(t.Context(), []string{"--rank", fmt.Sprint(i), "--peers", strings.Join(peers, ","),
				"--pattern", "bus", "--iterations", "1", "--bytes", size}, &bytes.Buffer{}, &errs[i])
		})
	}
	wg.Wait()
	for i := range codes {
		if codes[i] != exitFailure || !strings.Contains(errs[i].String(), "runs with other options") {
			t.Errorf("rank %d: exit %d: %s", i, codes[i], &errs[i])
		}
	}
}

// impostor connects as rank 0 of a bus of two and returns its side of the connection.
func impostor(t *testing.T, peers []string, args ...string) net.Conn {
	t.Helper()
	cfg, err := parse(append([]string{"--rank", "0", "--peers", strings.Join(peers, ","), "--pattern", "bus"}, args...), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	m := &meeting{cfg: &cfg}
	for {
		conn, err := m.attempt(t.Context(), sockets{own: cfg.peers[0]}, 1)
		if err == nil {
			return conn
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestFailuresOfAPeer(t *testing.T) {
	for _, tc := range []struct {
		name string
		act  func(p *peer, buf []byte)
		want string
	}{
		{"damaged content", func(p *peer, buf []byte) {
			h := header{Kind: kindData, Length: 100_000, Until: unknown, To: 1}
			h.put(buf)
			fill(buf[headerLen:], contentSeed(0, 1, 0, 0), 0)
			_, _ = p.conn.Write(buf[:headerLen+chunk])
			fill(buf, contentSeed(0, 1, 0, 0), chunk)
			buf[77] ^= 1
			_, _ = p.conn.Write(buf[:100_000-chunk])
		}, "content from rank 0 differs in iteration 0, phase 0, at byte 65613 of 100000"},
		{"hangs up", func(p *peer, _ []byte) { p.conn.Close() }, "lost a peer: rank 0 hung up"},
		{"out of step", func(p *peer, buf []byte) {
			_ = p.writeMessage(buf, header{Kind: kindData, Iteration: 1, Length: 100_000, Until: unknown})
		}, "rank 0 is out of step"},
		{"wrong length", func(p *peer, buf []byte) {
			_ = p.writeMessage(buf, header{Kind: kindData, Length: 10, Until: unknown})
		}, "announces 10 bytes instead of 100000"},
		{"a stranger's words", func(p *peer, _ []byte) { _, _ = p.conn.Write(bytes.Repeat([]byte("GET /"), 20)) }, "does not speak the protocol"},
		{"silence", func(*peer, []byte) {}, "stalled: no byte moved for 300ms while waiting for rank 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			peers := addresses(t, 2)
			options := []string{"--bytes", "100k", "--iterations", "3"}
			done := make(chan struct{})
			var errs bytes.Buffer
			var code int
			go func() {
				defer close(done)
				args := append([]string{"--rank", "1", "--peers", strings.Join(peers, ","), "--pattern", "bus", "--stall-timeout", "300ms"}, options...)
				code = mainWith(t.Context(), args, &bytes.Buffer{}, &errs)
			}()
			conn := impostor(t, peers, options...)
			defer conn.Close()
			p := newPeer(1, conn, &config{bytes: 100_000}, new(atomic.Uint64), nil)
			tc.act(p, make([]byte, headerLen+chunk))
			<-done
			if code != exitFailure || !strings.Contains(errs.String(), tc.want) {
				t.Errorf("exit %d: %s, want %q", code, &errs, tc.want)
			}
		})
	}
}

func TestCommandLine(t *testing.T) {
	const two = "127.0.0.1:7000,127.0.0.2:7000"
	for _, tc := range []struct {
		args string
		code int
		want string
	}{
		{"--list", exitOK, "torus3d"},
		{"--help", exitOK, "--pattern ring --duration 30s"},
		{"--help", exitOK, "  --stall-timeout duration fail when no byte moves for so long (default 30s)\n"},
		{"", exitUsage, "no --peers"},
		{"--nonsense", exitUsage, "hint: patterns --help"},
		{"ring", exitUsage, `unexpected "ring"`},
		{"--peers here:1", exitUsage, "10.0.0.1:7000"},
		{"--peers 127.0.0.1:1,127.0.0.1:1", exitUsage, "two ranks have the address"},
		{"--peers " + two, exitUsage, "from 0 to 1"},
		{"--rank 0 --peers " + two, exitUsage, "no --pattern"},
		{"--rank 0 --pattern bus --peers " + two, exitUsage, "either --iterations N or --duration T"},
		{"--rank 0 --pattern ring --iterations 1 --peers " + two, exitUsage, "3 ranks or more"},
		{"--rank 0 --pattern bus --iterations 1 --bytes 5x --peers " + two, exitUsage, "cannot read the size"},
		{"--rank 0 --pattern bus --iterations 1 --bytes= --peers " + two, exitUsage, "cannot read the size"},
		{"--rank 0 --pattern bus --iterations 1 --period 3 --peers " + two, exitUsage, "without --alternate"},
		{"--rank 0 --pattern bus --iterations 9 --alternate tree --period 1s --peers " + two, exitUsage, "number of iterations"},
		{"--rank 0 --pattern bus --duration 9s --alternate tree --period 9 --peers " + two, exitUsage, "give a time"},
		{"--rank 0 --pattern bus --duration 9s --alternate moon --period 9s --peers " + two, exitUsage, "unknown pattern"},
	} {
		var out bytes.Buffer
		if code := mainWith(t.Context(), strings.Fields(tc.args), &out, &out); code != tc.code || !strings.Contains(out.String(), tc.want) {
			t.Errorf("patterns %s: exit %d, %q; want %d, %q", tc.args, code, &out, tc.code, tc.want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "17": 17, "250k": 250_000, "2M": 2_000_000, "1Ki": 1024, "3MiB": 3 << 20, "1GB": 1e9} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("parseBytes(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "k", "-1", "1kk", "9999999G", "1.5M"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("parseBytes(%q) = %d, want an error", text, got)
		}
	}
}
