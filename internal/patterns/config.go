package patterns

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

// The defaults of the options, each with its reason.
const (
	defaultBytes   = "250k"           // of an exchange: the demonstration's, 20 ms at 100 Mbit/s
	defaultStart   = 60 * time.Second // VMs of one run may boot a minute apart
	defaultStall   = 30 * time.Second // a changing overlay may hold TCP up for seconds, and its backed-off timer for some more
	defaultControl = "cubic"          // what most machines use, so that results compare
)

// config is the command line, checked. All ranks of a run must be given the same, but for the rank.
type config struct {
	rank       int
	peers      []netip.AddrPort // address of each rank
	pattern    string
	other      string // second pattern to alternate with, empty = none
	bytes      int64
	seed       uint64
	density    float64
	compute    time.Duration // before the exchanges of each iteration
	iterations uint64        // 0 = until duration
	duration   time.Duration // 0 = until iterations
	turnTime   time.Duration // alternate by the clock, 0 = not
	turnIters  int           // alternate by count, 0 = not
	json       bool
	verify     bool
	nodelay    bool
	control    string        // TCP congestion control
	start      time.Duration // to find all peers
	stall      time.Duration // with no byte moving
}

const usage = `usage: patterns --rank R --peers IP:PORT,IP:PORT,… --pattern NAME [options]
       patterns --list

A bulk-synchronous benchmark: every rank runs this program with the same options but
its own --rank. Each iteration computes, then exchanges messages as the pattern says.

  patterns --rank 0 --peers 10.0.0.1:7000,10.0.0.2:7000,10.0.0.3:7000 --pattern ring --duration 30s

options:
`

// errListed says that --list or --help was answered and there is nothing to run.
var errListed = errors.New("listed")

// parse reads the command line. Usage and the list of patterns go to stdout when they were asked for.
func parse(args []string, stdout io.Writer) (config, error) {
	var c config
	var peers, size, period string
	var list bool
	f := flag.NewFlagSet("patterns", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.IntVar(&c.rank, "rank", -1, "number of this process, from 0")
	f.StringVar(&peers, "peers", "", "address of every rank, in order, `IP:PORT,…`")
	f.StringVar(&c.pattern, "pattern", "", "who exchanges with whom: `NAME` from --list")
	f.StringVar(&size, "bytes", defaultBytes, "of each exchange: `N`, with k, M, G (1000) or Ki, Mi, Gi (1024)")
	f.DurationVar(&c.compute, "compute", 0, "idle time in front of the exchanges of each iteration")
	f.Uint64Var(&c.iterations, "iterations", 0, "end after `N` iterations")
	f.DurationVar(&c.duration, "duration", 0, "end after about this time, all ranks in the same iteration")
	f.StringVar(&c.other, "alternate", "", "take turns with a second pattern `NAME`")
	f.StringVar(&period, "period", "", "length of a turn: `T`, a time with --duration, a number of iterations with --iterations")
	f.Uint64Var(&c.seed, "seed", 1, "which graph, for random")
	f.Float64Var(&c.density, "density", 0, "share of all pairs, for random; 0 = 0.3")
	f.BoolVar(&c.json, "json", false, "print a JSON line for each iteration and for the summary")
	f.BoolVar(&c.verify, "verify", true, "compare every received byte with what must have been sent")
	f.BoolVar(&c.nodelay, "nodelay", true, "set TCP_NODELAY")
	f.StringVar(&c.control, "cc", defaultControl, "TCP congestion control of the sockets; empty = the system's")
	f.DurationVar(&c.start, "start-timeout", defaultStart, "how long to wait for the other ranks")
	f.DurationVar(&c.stall, "stall-timeout", defaultStall, "fail when no byte moves for so long")
	f.BoolVar(&list, "list", false, "list the patterns and the sizes they exist in")
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		printOptions(f, stdout)
		return c, errListed
	case err != nil:
		return c, err
	case list:
		for _, name := range workload.Names() {
			what, sizes := workload.About(name)
			fmt.Fprintf(stdout, "%-11s %s; %s\n", name, what, sizes)
		}
		return c, errListed
	case f.NArg() > 0:
		return c, fmt.Errorf("unexpected %q: options start with --", f.Arg(0))
	}
	if c.bytes, err = parseBytes(size); err != nil {
		return c, err
	}
	if c.peers, err = parsePeers(peers); err != nil {
		return c, err
	}
	if err := c.parsePeriod(period); err != nil {
		return c, err
	}
	return c, c.validate()
}

// printOptions lists the options, one a line.
func printOptions(f *flag.FlagSet, w io.Writer) {
	f.VisitAll(func(o *flag.Flag) {
		value, what := flag.UnquoteUsage(o)
		if o.DefValue != "" && o.DefValue != "0" && o.DefValue != "-1" && o.DefValue != "0s" && o.DefValue != "false" {
			what += " (default " + o.DefValue + ")"
		}
		fmt.Fprintf(w, "  %-24s %s\n", "--"+strings.TrimSpace(o.Name+" "+value), what)
	})
}

// parseBytes reads a size such as 250k or 64Ki.
func parseBytes(s string) (int64, error) {
	digits := strings.TrimRight(s, "kKMGiB")
	n, err := strconv.ParseInt(digits, 10, 64)
	factor, ok := map[string]int64{
		"": 1, "B": 1, "k": 1e3, "kB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9,
		"Ki": 1 << 10, "KiB": 1 << 10, "Mi": 1 << 20, "MiB": 1 << 20, "Gi": 1 << 30, "GiB": 1 << 30,
	}[s[len(digits):]]
	const most = int64(1) << 40 // bytes: a message of a terabyte is a typing error
	if err != nil || !ok || n < 0 || n > most/factor {
		return 0, fmt.Errorf("cannot read the size %q: give a number of bytes, with k, M, G, Ki, Mi or Gi", s)
	}
	return n * factor, nil
}

// parsePeers reads the list of addresses.
func parsePeers(s string) ([]netip.AddrPort, error) {
	if s == "" {
		return nil, errors.New("no --peers: give the address of every rank as IP:PORT,IP:PORT,…")
	}
	var peers []netip.AddrPort
	seen := map[netip.AddrPort]bool{}
	for _, one := range strings.Split(s, ",") {
		at, err := netip.ParseAddrPort(strings.TrimSpace(one))
		switch {
		case err != nil || at.Port() == 0 || at.Addr().IsUnspecified():
			return nil, fmt.Errorf("cannot read the peer %q: give IP:PORT, for example 10.0.0.1:7000", one)
		case seen[at]:
			return nil, fmt.Errorf("two ranks have the address %s: each needs its own", at)
		}
		seen[at] = true
		peers = append(peers, at)
	}
	return peers, nil
}

// parsePeriod reads the length of a turn, whose unit is that of the end.
func (c *config) parsePeriod(s string) error {
	switch {
	case c.other == "" && s == "":
		return nil
	case c.other == "":
		return errors.New("--period has no meaning without --alternate PATTERN")
	case c.iterations > 0:
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return fmt.Errorf("--period %q: with --iterations give a number of iterations, for example 50", s)
		}
		c.turnIters = n
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return fmt.Errorf("--period %q: with --duration give a time, for example 2s", s)
	}
	c.turnTime = d
	return nil
}

// validate checks what the options mean together.
func (c *config) validate() error {
	switch {
	case c.rank < 0 || c.rank >= len(c.peers):
		return fmt.Errorf("--rank %d: give a number from 0 to %d, the place of this process in --peers", c.rank, len(c.peers)-1)
	case c.pattern == "":
		return errors.New("no --pattern: patterns --list shows what there is")
	case (c.iterations == 0) == (c.duration <= 0):
		return errors.New("give either --iterations N or --duration T")
	case c.compute < 0 || c.start <= 0 || c.stall <= 0:
		return errors.New("--compute must not be negative, and timeouts must be positive")
	}
	_, err := c.schedules()
	return err
}

// schedules returns the schedule of each kind of turn.
func (c *config) schedules() ([]*workload.Schedule, error) {
	opts := workload.Options{Bytes: c.bytes, Seed: c.seed, Density: c.density}
	names := []string{c.pattern}
	switch {
	case c.turnIters > 0:
		opts.First, opts.Alternate, opts.Period = c.pattern, c.other, c.turnIters
		names = []string{"alternate"}
	case c.turnTime > 0:
		names = append(names, c.other)
	}
	var all []*workload.Schedule
	for _, name := range names {
		s, err := workload.New(name, len(c.peers), opts)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// title names the pattern in output.
func (c *config) title() string {
	if c.other == "" {
		return c.pattern
	}
	return c.pattern + "+" + c.other
}

// fingerprint is equal at two ranks if their options describe the same run.
func (c *config) fingerprint() uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, c.peers, c.pattern, c.other, c.bytes, c.seed, c.density, c.iterations, c.duration, c.turnTime, c.turnIters)
	return h.Sum64()
}
