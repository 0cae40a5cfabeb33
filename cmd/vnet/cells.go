package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/cells"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/figures"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/trials"
)

// labFlags are those of experiments that run in the lab.
type labFlags struct {
	quick, json bool
	dir         string
	seed        uint64
	only        []string
}

func (f *labFlags) add(cmd *cobra.Command, only []string) {
	cmd.Flags().BoolVar(&f.quick, "quick", false, "a first look: half a minute")
	cmd.Flags().BoolVar(&f.json, "json", false, "print everything as JSON")
	cmd.Flags().StringVar(&f.dir, "out", ".", "`directory` for the table (CSV); rows of other cells that it holds stay")
	cmd.Flags().Uint64Var(&f.seed, "seed", 1, "of the dice: the order of the VMs")
	cmd.Flags().StringSliceVar(&f.only, "only", only, "`cells`, as cluster8/ring")
}

// ready says why an experiment cannot begin, as long as that costs nothing.
func (f *labFlags) ready() error {
	if err := readyDir(f.dir); err != nil {
		return err
	}
	return lab.Preflight()
}

func cellsCommand(c *cli) *cobra.Command {
	var f labFlags
	var runs int
	var span time.Duration
	cmd := &cobra.Command{
		Use:   "cells",
		Short: "Cells of the grid in the lab, beside what the simulator says",
		Long: `Repeat cells of the simulator's grid in the lab: the built program, namespaces, and the benchmark over real TCP. Each run
builds a lab and runs the application on the star, with the links an oracle would make, and with adaptation. All cells, three
runs each, take 25 minutes; the lab needs the machine for itself to be right with eight VMs.`,
		Example: "  vnet experiment cells --quick\n  vnet experiment cells --only metro4/bus,wide4/ring --out docs/experiments",
		Args:    cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			if err := f.ready(); err != nil {
				return err
			}
			if f.quick {
				f.only, runs, span = f.only[:1], 1, cells.QuickSpan
			}
			var all []cells.Cell
			for _, name := range f.only {
				cell, err := cells.Repeat(cmd.Context(), name, runs, f.seed, span)
				if err != nil {
					return fmt.Errorf("cannot finish cell %s: %w", name, err)
				}
				all = append(all, cell)
				if err := c.tabulate(&f, cellsTable(), [][]string{cell.Row()}, cell.Lab...); err != nil {
					return err
				}
			}
			return c.asJSON(&f, all)
		}),
	}
	f.add(cmd, cells.Names())
	cmd.Flags().DurationVar(&span, "span", cells.Span, "how long each policy runs the application; a minute's work follows from it")
	cmd.Flags().IntVar(&runs, "runs", 3, "of each cell, with the seed and those behind it")
	return cmd
}

func baselinesCommand(c *cli) *cobra.Command {
	var f labFlags
	var span time.Duration
	cmd := &cobra.Command{
		Use:   "baselines",
		Short: "Adaptation against what others do, in the same lab: star, full mesh, first packet, byte threshold, oracle, tinc",
		Long: `Run the same application by every policy in one lab: the star, a full mesh, a direct link for whoever talks, EVIO's trigger
(10 MB in 10 s, for 180 s), the links an oracle would make, and adaptation as it is; and over tinc in switch mode, where the
machine has it, in a second lab like it. Three minutes a cell.`,
		Example: "  vnet experiment baselines --only cluster4/ring",
		Args:    cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			if err := f.ready(); err != nil {
				return err
			}
			var all []cells.Trial
			for _, name := range f.only {
				t, failed := cells.Baselines(cmd.Context(), name, f.seed, span, f.quick)
				all = append(all, t)
				if err := c.tabulate(&f, baselinesTable(), t.BaselineRows(), t); err != nil {
					return err
				}
				if failed != nil {
					return fmt.Errorf("cannot finish the comparison in %s: %w", name, failed)
				}
			}
			return c.asJSON(&f, all)
		}),
	}
	f.add(cmd, []string{"cluster4/ring"})
	cmd.Flags().DurationVar(&span, "span", cells.BaselineSpan, "how long each policy runs the application")
	return cmd
}

func speedupCommand(c *cli) *cobra.Command {
	var f labFlags
	var bytes []int
	star, auto := cells.StarSpan, cells.AutoSpan
	cmd := &cobra.Command{
		Use:   "speedup",
		Short: "All-to-all of eight VMs in the lab: the same job on the star and with adaptation",
		Long: `Run an all-to-all in the lab, on the star and then for a minute with adaptation, inference included, and hold the running times
of the same job against each other and against the bound of arithmetic: as many times as there are VMs. Two minutes a size of
messages.`,
		Example: "  vnet experiment speedup --bytes 2000000",
		Args:    cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			if err := f.ready(); err != nil {
				return err
			}
			if f.quick {
				bytes, star, auto = bytes[len(bytes)-1:], 2*cells.QuickSpan, 2*cells.QuickSpan
			}
			var all []cells.Speedup
			for _, place := range f.only {
				for _, size := range bytes {
					s, err := cells.Measure(cmd.Context(), place, int64(size), star, auto, f.seed)
					if err != nil {
						return fmt.Errorf("cannot measure the speed-up: %w", err)
					}
					all = append(all, s)
					if err := c.tabulate(&f, speedupTable(), [][]string{s.Row()}, cells.Trial{Account: s.Account}); err != nil {
						return err
					}
				}
			}
			return c.asJSON(&f, all)
		}),
	}
	f.add(cmd, []string{"cluster8"})
	cmd.Flags().IntSliceVar(&bytes, "bytes", []int{2_000_000, 1_000_000, 250_000}, "of a message: `sizes`")
	return cmd
}

func alternationCommand(c *cli) *cobra.Command {
	var f labFlags
	var turns []time.Duration
	cmd := &cobra.Command{
		Use:   "alternation",
		Short: "An application that alternates between two topologies, in the lab",
		Long: `Run an application of four VMs that takes turns with a ring and a broadcast by the clock, on the star and with adaptation,
and count the changes that adaptation makes, and those that it takes back within the effective bound. Two minutes a period;
` + "`vnet experiment damping`" + ` sweeps them in the simulator.`,
		Example: "  vnet experiment alternation --turn 1s",
		Args:    cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			if err := f.ready(); err != nil {
				return err
			}
			var all []trials.Alternation
			least, lasts := 4, 30*time.Second
			if f.quick {
				turns, least, lasts = turns[:1], 2, 8*time.Second
			}
			for _, turn := range turns {
				a, account, err := cells.Alternate(cmd.Context(), turn, max(least, int(lasts/turn)), f.seed)
				if err != nil {
					return fmt.Errorf("cannot finish the alternation: %w", err)
				}
				all = append(all, a)
				if err := c.tabulate(&f, alternationTable(), [][]string{a.Row()}, cells.Trial{Account: account}); err != nil {
					return err
				}
			}
			return c.asJSON(&f, all)
		}),
	}
	f.add(cmd, nil)
	cmd.Flags().DurationSliceVar(&turns, "turn", []time.Duration{500 * time.Millisecond, 2 * time.Second, 15 * time.Second}, "`length` of a turn")
	cmd.Flags().MarkHidden("only")
	return cmd
}

// labTable is a table that runs in the lab add rows to.
type labTable struct {
	name, title   string
	head          []string
	key           int   // columns that tell rows apart
	labels, drawn []int // of the picture
}

func cellsTable() labTable {
	return labTable{"cells", "Speed-up over the star, a minute's work", cells.Head(), 1, []int{0}, []int{10, 11}}
}

func baselinesTable() labTable {
	return labTable{"baselines", "Milliseconds of an iteration, by policy", cells.BaselineHead(), 2, []int{0, 1}, []int{2}}
}

func speedupTable() labTable {
	return labTable{"speedup", "Running time of the same job, by bytes of a message and seed", cells.SpeedupHead(), 3, []int{0, 1, 2}, []int{4, 5}}
}

func alternationTable() labTable {
	head := trials.Alternation{}.Head()
	return labTable{"alternation", "Iterations, by the length of a turn in seconds", head, 1, []int{0}, []int{slices.Index(head, "iterations"), slices.Index(head, "on the star")}}
}

// tabulate prints rows, with the account of frames, and merges them into the table's files: numbers and a picture.
func (c *cli) tabulate(f *labFlags, table labTable, rows [][]string, labs ...cells.Trial) error {
	path := filepath.Join(f.dir, table.name+".csv")
	old, err := readTable(path)
	if err != nil {
		return err
	}
	if len(old) == 0 {
		old = [][]string{table.head}
	}
	old = cells.Merge(old, rows, table.key)
	if err := writeFile(path, func(w io.Writer) error { return csv.NewWriter(w).WriteAll(old) }); err != nil {
		return err
	}
	picture := figures.Tabled(table.name, table.title, old, table.labels, table.drawn)
	if err := writeFile(filepath.Join(f.dir, table.name+".svg"), picture.SVG); err != nil {
		return err
	}
	if f.json || c.output == "json" {
		return nil
	}
	t := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	for _, row := range append([][]string{table.head}, rows...) {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var sum lab.Account
	for _, trial := range labs {
		sum.FramesLost += trial.FramesLost
		sum.WireLost += trial.WireLost
		sum.Duplicates += trial.Duplicates
	}
	_, err = fmt.Fprintf(c.out, "seed %d; frames_lost %d, duplicates %d; %d dropped by full queues of the wires and sent again by TCP\n\n", f.seed, sum.FramesLost, sum.Duplicates, sum.WireLost)
	return err
}

func readTable(path string) ([][]string, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the table so far: %w", err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("cannot read the table so far, %s: %w", path, err)
	}
	return rows, nil
}

func (c *cli) asJSON(f *labFlags, all any) error {
	if !f.json && c.output != "json" {
		return nil
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode the results: %w", err)
	}
	_, err = fmt.Fprintf(c.out, "%s\n", text)
	return err
}
