package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/virtuoso-vnet/virtuoso/internal/proxy"
)

func replayCommand(c *cli) *cobra.Command {
	var quiet bool
	var policy, told string
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Feed a recording to inference and planner again, or a recording or a journal to another policy",
		Long: `Feed a recording of "vnet traffic record" to a fresh inference and planner, print each decision, and compare it bit for bit
with the recorded one; the exit code is 1 when one differs.

With --policy, ask another policy what it would have done: at each decision of a journal ("vnet adapt history --export FILE"),
with all that was known then; or in the course of a recording, as if its own changes had been made at once. No daemon is needed.`,
		Example: `  vnet replay today.trace
  vnet replay --policy byte-threshold journal.jsonl`,
		Args: cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			file, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("cannot replay: %w", err)
			}
			defer file.Close()
			if cmd.Flags().Changed("policy") || cmd.Flags().Changed("told") {
				return c.replan(file, policy, told, quiet)
			}
			return c.replay(file, quiet)
		}),
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "only the summary")
	cmd.Flags().StringVar(&policy, "policy", "", "ask this `policy` instead: fastpath, star, mesh, first-packet, byte-threshold or oracle")
	cmd.Flags().StringVar(&told, "told", "", "what policy oracle is told, as vm1=vm2,vm2=vm3")
	return cmd
}

// replay compares decisions with the recorded ones.
func (c *cli) replay(file io.Reader, quiet bool) error {
	see := func(text []byte) { fmt.Fprintf(c.out, "%s\n", text) }
	if quiet {
		see = nil
	}
	got, err := proxy.Replay(file, see)
	if err != nil {
		return err
	}
	if got.Different != "" {
		return fmt.Errorf("cannot replay to the same decisions: %d of %d are the same, then %s", got.Same, got.Decisions, got.Different)
	}
	fmt.Fprintf(c.out, "%d reports over %s, %d decisions, each the same to the last bit\n", got.Reports, round(got.Duration), got.Decisions)
	return nil
}

// replan shows what another policy would have done.
func (c *cli) replan(file io.Reader, policy, told string, quiet bool) error {
	var failed error
	got, err := proxy.Replan(file, policy, told, func(d proxy.Decision) {
		switch {
		case quiet || failed != nil:
		case c.output == "json":
			text, err := json.Marshal(d)
			if failed = err; err == nil {
				fmt.Fprintf(c.out, "%s\n", text)
			}
		default:
			c.showDecision(d)
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil || c.output == "json" {
		return err
	}
	if got.Journal {
		fmt.Fprintf(c.out, "%d decisions; at %d of them it does the same\n", got.Decisions, got.Same)
		if got.Unseen > 0 {
			fmt.Fprintf(c.out, "%d entries hold no view: the overlay was too large\n", got.Unseen)
		}
		return nil
	}
	fmt.Fprintf(c.out, "%d decisions\n", got.Decisions)
	return nil
}

func (c *cli) showDecision(d proxy.Decision) {
	fmt.Fprintf(c.out, "%s  ", d.At.UTC().Format(time.RFC3339))
	switch {
	case d.Same:
		fmt.Fprintf(c.out, "the same: %s\n", d.Now)
		return
	case d.Was != "":
		fmt.Fprintf(c.out, "was: %s; now: %s\n", d.Was, d.Now)
	default:
		fmt.Fprintf(c.out, "%s\n", d.Now)
	}
	for _, s := range d.Steps {
		fmt.Fprintf(c.out, "    %s %s: %s\n", s.Kind, s.What, s.Reason)
	}
}
