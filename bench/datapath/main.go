// Command datapath measures the data path side by side with the kernel's own and with user-space overlays of other people.
//
// It builds two hosts, network namespaces joined by a veth, sets every peer up between them, and measures all in interleaved
// rounds, so that the machine's moods meet all alike. docs/performance.md says what each figure is.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/virtuoso-vnet/virtuoso/bench"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/peers"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/report"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/stage"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/trials"
)

// options are the command line.
type options struct {
	rounds  int
	quick   bool
	json    bool
	only    string // names of peers
	figures string // names of instruments
	trials  string // names of trials
	folder  string // of programs
	doc     string
	merge   bool
	files   []string
}

func main() {
	o := options{}
	flag.IntVar(&o.rounds, "rounds", 5, "interleaved rounds")
	flag.BoolVar(&o.quick, "quick", false, "one short round, in under a minute: to steer by, not to quote")
	flag.BoolVar(&o.json, "json", false, "print samples as JSON, which -merge reads")
	flag.StringVar(&o.only, "only", "", "measure only these `peers`, separated by commas: "+strings.Join(names(peers.All()), ", "))
	flag.StringVar(&o.figures, "figures", "", "measure only these `figures`, separated by commas: "+strings.Join(instrumentNames(), ", "))
	flag.StringVar(&o.trials, "trials", "all", "after the rounds make these `trials` of ours alone (none with -quick), or none: "+strings.Join(trialNames(), ", "))
	flag.StringVar(&o.folder, "programs", "bin/datapath", "`folder` for the programs that are built")
	flag.StringVar(&o.doc, "doc", "", "write the tables into the marked section of this `file` too, such as docs/performance.md")
	flag.BoolVar(&o.merge, "merge", false, "measure nothing: merge the JSON `files` that follow")
	flag.Parse()
	o.files = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "datapath:", err)
		code = 1
	}
	os.Exit(code)
}

func run(ctx context.Context, o options) (int, error) {
	if o.merge {
		all, err := merge(o.files)
		if err != nil {
			return 1, err
		}
		return 0, o.print(os.Stdout, all)
	}
	chosen, err := o.peers()
	if err != nil {
		return 1, err
	}
	folder, err := filepath.Abs(o.folder)
	if err != nil {
		return 1, err
	}
	programs, lacking := peers.Provide(ctx, folder, chosen, !stage.Inside())
	if !stage.Inside() {
		return stage.Enter(ctx)
	}
	result, err := measure(ctx, o, chosen, programs, lacking)
	if err != nil {
		return 1, err
	}
	return 0, o.print(os.Stdout, result)
}

// pace is how long each thing takes.
func (o options) pace() pace {
	if o.quick {
		return quick()
	}
	return thorough()
}

func (o options) peers() ([]peers.Peer, error) {
	all := peers.All()
	if o.only == "" {
		return all, nil
	}
	var chosen []peers.Peer
	for name := range strings.SplitSeq(o.only, ",") {
		i := slices.Index(names(all), name)
		if i < 0 {
			return nil, fmt.Errorf("cannot measure %q: there are %s", name, strings.Join(names(all), ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func (o options) instruments() ([]instrument, error) {
	all := instruments()
	if o.figures == "" {
		return all, nil
	}
	var chosen []instrument
	for name := range strings.SplitSeq(o.figures, ",") {
		i := slices.Index(instrumentNames(), name)
		if i < 0 {
			return nil, fmt.Errorf("cannot measure %q: there are %s", name, strings.Join(instrumentNames(), ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// chosenTrials are the trials that were asked for.
func (o options) chosenTrials() ([]trials.Trial, error) {
	switch {
	case o.trials == "none", o.trials == "all" && o.quick:
		return nil, nil
	case o.trials == "all":
		return trials.All(), nil
	}
	var chosen []trials.Trial
	for name := range strings.SplitSeq(o.trials, ",") {
		i := slices.Index(trialNames(), name)
		if i < 0 {
			return nil, fmt.Errorf("cannot try %q: there are %s", name, strings.Join(trialNames(), ", "))
		}
		chosen = append(chosen, trials.All()[i])
	}
	return chosen, nil
}

// print writes a result as asked: JSON for programs, tables for people and for the document.
func (o options) print(w io.Writer, r report.Result) error {
	if o.json {
		return json.NewEncoder(w).Encode(r)
	}
	write(w, r)
	if o.doc == "" {
		return nil
	}
	return report.Replace(o.doc, "datapath", func(w io.Writer) { write(w, r) })
}

func write(w io.Writer, r report.Result) {
	fmt.Fprintf(w, "%s. %d interleaved rounds.\n", r.Machine, r.Rounds)
	if len(r.Samples) > 0 {
		fmt.Fprintln(w)
		r.WriteAims(w, aims(), yardsticks())
		fmt.Fprintln(w)
		r.WriteTables(w, figures(), yardsticks())
	}
	if len(r.Findings) > 0 {
		fmt.Fprintln(w)
		r.WriteFindings(w)
	}
}

func merge(files []string) (report.Result, error) {
	var results []report.Result
	for _, name := range files {
		var r report.Result
		text, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		if err != nil {
			return r, fmt.Errorf("cannot merge %s: %w", name, err)
		}
		results = append(results, r)
	}
	return report.Merge(results), nil
}

func names(all []peers.Peer) (list []string) {
	for _, p := range all {
		list = append(list, p.Name)
	}
	return list
}

func trialNames() (list []string) {
	for _, t := range trials.All() {
		list = append(list, t.Name)
	}
	return list
}

func instrumentNames() (list []string) {
	for _, i := range instruments() {
		list = append(list, i.name)
	}
	return list
}

func figures() (list []report.Figure) {
	for _, i := range instruments() {
		list = append(list, i.figures...)
	}
	return list
}

// yardsticks are the kernel's own paths, and the best user-space peer.
func yardsticks() report.Yardsticks {
	y := report.Yardsticks{Ceiling: "veth", Bridge: "vxlan"}
	for _, p := range peers.All() {
		if p.Kind == peers.Userspace {
			y.Peers = append(y.Peers, p.Name)
		}
	}
	return y
}

// trialTime is how long each thing in a trial is measured.
const trialTime = 3 * time.Second

// trialNr is the number of the first overlay of the trials: those of the peers are below.
const trialNr = 20

// measure sets every peer up, checks that it carries what it is given, and measures all in turn.
func measure(ctx context.Context, o options, chosen []peers.Peer, programs peers.Programs, lacking map[string]error) (r report.Result, err error) {
	tools, err := o.instruments()
	if err != nil {
		return r, err
	}
	after, err := o.chosenTrials()
	if err != nil {
		return r, err
	}
	s, err := stage.New()
	if err != nil {
		return r, err
	}
	defer s.End()
	if err := peers.Underlay(ctx, s); err != nil {
		return r, err
	}
	r = report.Result{Machine: bench.Machine(), Rounds: o.rounds}
	if o.quick {
		r.Rounds = 1
	}
	b := &board{pace: o.pace(), result: &r, running: map[string]*peers.Running{}}
	for nr, p := range chosen {
		if r.Rounds > 0 {
			b.setUp(ctx, s, p, programs, lacking, nr)
		}
	}
	for round := range r.Rounds {
		bench.Quiet()
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, r.Rounds)
		for _, t := range tools {
			for i := range chosen { // whoever is first in one round is last in another
				b.read(ctx, t, chosen[(i+round)%len(chosen)].Name, round)
			}
			if ctx.Err() != nil {
				return r, nil // interrupted: what was measured until now counts
			}
		}
	}
	for i, trial := range after {
		fmt.Fprintln(os.Stderr, "trial:", trial.Name)
		t := &trials.Table{Stage: s, Programs: programs, Nr: trialNr + i*10, Long: trialTime}
		if err := t.Do(ctx, trial); err != nil {
			b.fail("trial", err)
		}
		r.AddFindings(t.Findings)
	}
	return r, b.err
}
