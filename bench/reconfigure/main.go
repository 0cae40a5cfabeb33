// Command reconfigure measures how long an overlay of eight hosts takes from one topology to another: figure 9 of the paper.
//
// It does not measure what a change costs the traffic; the end-to-end tests do. See docs/performance.md for what each row is.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/virtuoso-vnet/virtuoso/bench"
	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

const (
	// hosts is how many daemons take part, with one VM each, as in the paper.
	hosts = 8
	// aim is what each change is to stay below, in milliseconds.
	aim = 100
)

func main() {
	lab.MaybeChild()
	switch filepath.Base(os.Args[0]) {
	case changeRole:
		os.Exit(bench.Serve(measureChanges))
	case watchRole:
		os.Exit(bench.Serve(awaitHosts))
	}
	rounds := flag.Int("rounds", 7, "how often each change is made")
	only := flag.String("lab", "", "near or city; both when empty")
	csv := flag.String("csv", "", "write the results into this `file` too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *rounds, *only, *csv); err != nil {
		fmt.Fprintln(os.Stderr, "reconfigure:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds int, only, csv string) error {
	var rows []bench.Row
	for _, spec := range []*lab.Spec{bench.Near(hosts), bench.City(hosts)} {
		if only != "" && only != spec.Name {
			continue
		}
		fmt.Fprintf(os.Stderr, "lab %s: %d rounds\n", spec.Name, rounds)
		more, err := measure(ctx, spec, rounds)
		if err != nil {
			return fmt.Errorf("lab %s: %w", spec.Name, err)
		}
		rows = append(rows, more...)
	}
	fmt.Println(bench.Machine())
	fmt.Println()
	bench.WriteTable(os.Stdout, rows)
	if csv != "" {
		return bench.WriteCSV(csv, rows)
	}
	return nil
}

func measure(ctx context.Context, spec *lab.Spec, rounds int) ([]bench.Row, error) {
	w, err := bench.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer w.End()
	var cold []float64
	for range rounds {
		took, err := startAll(ctx, w)
		if err != nil {
			return nil, err
		}
		cold = append(cold, took)
	}
	rows := []bench.Row{{Lab: spec.Name, What: "8 daemons started → star", Values: cold, Aim: aim, Paper: 940}}
	var changes []bench.Row
	if err := w.Role(ctx, "proxy", changeRole, order{Lab: spec.Name, VMs: vmsOf(w.Spec()), Rounds: rounds}, &changes); err != nil {
		return nil, err
	}
	return append(rows, changes...), nil
}

// vmsOf are the VMs in order of their hosts.
func vmsOf(s *lab.Spec) (list []vm) {
	for _, one := range s.VMs {
		list = append(list, vm{Host: one.Host, Port: one.Name, MAC: one.MAC.String()})
	}
	return list
}
