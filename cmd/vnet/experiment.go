package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/virtuoso-vnet/virtuoso/internal/lab/figures"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/trials"
)

func experimentCommand(c *cli) *cobra.Command {
	all := []*cobra.Command{
		figureCommand(c, "fig6", "How often the inference says that the topology changed, by how often it does", figures.Damping),
		figureCommand(c, "fig7", "How many patterns are recovered exactly, by the detection threshold", figures.Threshold),
	}
	for _, e := range trials.Experiments() {
		all = append(all, trialCommand(c, e))
	}
	all = append(all, cellsCommand(c), speedupCommand(c), baselinesCommand(c), alternationCommand(c))
	return c.group("experiment", "Repeat the experiments of the paper", all...)
}

func figureCommand(c *cli, name, short string, measure func(seed, quick bool) figures.Figure) *cobra.Command {
	var quick, asJSON bool
	var dir string
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Long: short + `,
with the parameters of the paper and with the defaults. It writes a picture (SVG) and its numbers (CSV) for each. No daemon,
no lab: the inference alone, in virtual time.`,
		Example: "  vnet experiment " + name + " --out docs/experiments",
		Args:    cobra.NoArgs,
		RunE: c.do(func(*cobra.Command, []string) error {
			if err := readyDir(dir); err != nil {
				return err
			}
			all := []figures.Figure{measure(true, quick), measure(false, quick)}
			for _, f := range all {
				for ext, write := range map[string]func(io.Writer) error{".svg": f.SVG, ".csv": f.CSV} {
					if err := writeFile(filepath.Join(dir, f.Name+ext), write); err != nil {
						return err
					}
				}
			}
			if asJSON || c.output == "json" {
				text, err := json.MarshalIndent(all, "", "  ")
				if err != nil {
					return fmt.Errorf("cannot encode the figures: %w", err)
				}
				_, err = fmt.Fprintf(c.out, "%s\n", text)
				return err
			}
			for _, f := range all {
				fmt.Fprintf(c.out, "%s: %s\n", f.Name, f.Title)
				for _, note := range f.Notes {
					fmt.Fprintf(c.out, "  %s\n", note)
				}
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&quick, "quick", false, "fewer points: seconds instead of a minute")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print all points as JSON")
	cmd.Flags().StringVar(&dir, "out", ".", "`directory` for the files")
	return cmd
}

// readyDir makes the directory for an experiment's files and sees that it can be written to: before minutes are measured.
func readyDir(dir string) error {
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(dir, ".vnet-*"); err == nil {
			f.Close()
			err = os.Remove(f.Name())
		}
	}
	if err != nil {
		return fmt.Errorf("cannot keep what is measured: %w; name another directory with --out", err)
	}
	return nil
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("cannot write the figure: %w", err)
	}
	if err := write(f); err != nil {
		f.Close()
		return fmt.Errorf("cannot write the figure: %w", err)
	}
	return f.Close()
}
