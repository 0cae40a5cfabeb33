package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/virtuoso-vnet/virtuoso/internal/lab/trials"
)

// trialCommand runs an experiment in the simulator.
func trialCommand(c *cli, e trials.Experiment) *cobra.Command {
	var quick, asJSON bool
	var dir string
	var seed uint64
	cmd := &cobra.Command{
		Use:   e.Name,
		Short: e.Short,
		Long: e.Short + `, in the
simulator: the real nodes and the real Proxy on a network made of memory, in virtual time; the application's bytes are a model
of TCP (docs/experiments.md). It prints a table beside the paper's numbers and writes it as CSV, with pictures (SVG) of it.`,
		Example: "  vnet experiment " + e.Name + " --quick\n  vnet experiment " + e.Name + " --out docs/experiments --seed 1",
		Args:    cobra.NoArgs,
		RunE: c.do(func(*cobra.Command, []string) error {
			if err := readyDir(dir); err != nil {
				return err
			}
			if seed == 0 {
				seed = uint64(time.Now().UnixNano())
			}
			// Worlds come and go by the hundred: memory is cheaper than collecting it.
			defer debug.SetGCPercent(debug.SetGCPercent(400))
			report, err := e.Run(trials.Options{Seed: seed, Quick: quick})
			if err != nil {
				return fmt.Errorf("cannot finish %s (seed %d): %w", e.Name, seed, err)
			}
			if err := writeReport(dir, report); err != nil {
				return err
			}
			if asJSON || c.output == "json" {
				text, err := json.MarshalIndent(report, "", "  ")
				if err != nil {
					return fmt.Errorf("cannot encode the report: %w", err)
				}
				_, err = fmt.Fprintf(c.out, "%s\n", text)
				return err
			}
			return report.Table(c.out)
		}),
	}
	cmd.Flags().BoolVar(&quick, "quick", false, "fewer points: seconds")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	cmd.Flags().StringVar(&dir, "out", ".", "`directory` for the files")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "of the dice: the order of the VMs, and the random pattern; 0 takes one from the clock")
	return cmd
}

func writeReport(dir string, r trials.Report) error {
	if err := writeFile(filepath.Join(dir, r.Name+".csv"), r.CSV); err != nil {
		return err
	}
	for name, draw := range r.Pictures {
		if err := writeFile(filepath.Join(dir, name), draw); err != nil {
			return err
		}
	}
	return nil
}
