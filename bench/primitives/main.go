// Command primitives measures what one primitive costs a user: a call of the API, a command, a link.
//
// It does not measure many at once; see bench/reconfigure. docs/performance.md says what each row is.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/virtuoso-vnet/virtuoso/bench"
	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

const (
	// hosts make six pairs, so that six links can be added before any has to go.
	hosts = 4
	// warmUp is how long the load runs before anything is measured under it.
	warmUp = 2 * time.Second
)

func main() {
	lab.MaybeChild()
	switch filepath.Base(os.Args[0]) {
	case callsRole:
		os.Exit(bench.Serve(measureCalls))
	case commandsRole:
		os.Exit(bench.Serve(measureCommands))
	case linksRole:
		os.Exit(bench.Serve(measureLinks))
	}
	rounds := flag.Int("rounds", 5, "how many rounds of six links; calls and commands are made more often")
	csv := flag.String("csv", "", "write the results into this `file` too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *rounds, *csv); err != nil {
		fmt.Fprintln(os.Stderr, "primitives:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds int, csv string) error {
	var rows []bench.Row
	for _, spec := range []*lab.Spec{bench.Near(hosts), bench.City(hosts)} {
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

func measure(ctx context.Context, spec *lab.Spec, rounds int) (rows []bench.Row, err error) {
	w, err := bench.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer w.End()
	o := order{Lab: spec.Name, Rounds: rounds}
	for i := range hosts {
		o.Hosts = append(o.Hosts, fmt.Sprintf("host%d", i+1))
	}
	part := func(in, role string) error {
		var more []bench.Row
		if err := w.Role(ctx, in, role, o, &more); err != nil {
			return err
		}
		rows = append(rows, more...)
		return nil
	}
	for _, p := range [][2]string{{"proxy", callsRole}, {"host1", callsRole}, {"proxy", commandsRole}, {"host1", commandsRole}, {"proxy", linksRole}} {
		o.At = p[0]
		if err := part(p[0], p[1]); err != nil {
			return nil, err
		}
	}
	if err := saturate(w); err != nil {
		return nil, err
	}
	time.Sleep(warmUp)
	o.Load = ", the star saturated"
	return rows, part("proxy", linksRole)
}

// saturate fills the star for the rest of the lab's life: TCP both ways between the first two VMs, which have no fast path.
func saturate(w *bench.World) error {
	var out bytes.Buffer
	if _, err := w.Command("vm1", []string{"iperf3", "-s"}, lab.CmdOptions{Stdout: &out}); err != nil {
		return fmt.Errorf("cannot saturate the star: %w; install iperf3", err)
	}
	time.Sleep(warmUp / 4) // it listens by then
	_, err := w.Command("vm2", []string{"iperf3", "-c", w.Address("vm1").String(), "--bidir", "-t", "3600"}, lab.CmdOptions{})
	return err
}
