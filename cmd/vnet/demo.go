package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/demo"
)

func demoCommand(c *cli) *cobra.Command {
	var cfg demo.Config
	var keep, asJSON bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch a star turn into the application's shape, and the application get faster: no root, no configuration",
		Long: `Build a small internet of namespaces on this machine: hosts with 100 Mbit/s lines and the Proxy a city away. Run the
real daemons and, in a VM on each host, a bulk-synchronous program that knows nothing of the overlay. It starts on the star;
the overlay infers what the program does, opens the links it wants, and the program gets faster.

Nothing is left behind. It ends with an error when the program did not get faster.`,
		Example: "  vnet demo\n  vnet demo --vms 8 --pattern hypercube\n  vnet demo --json",
		Args:    cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			asJSON = asJSON || c.output == "json"
			d, err := demo.New(cfg)
			if err != nil {
				return usageError{err}
			}
			if err := lab.Preflight(); err != nil {
				return err
			}
			result, err := c.tell(cmd.Context(), d, keep, asJSON)
			if err != nil {
				return err
			}
			return c.conclude(result, asJSON)
		}),
	}
	cmd.Flags().IntVar(&cfg.VMs, "vms", 4, "how many VMs, each on a host of its own")
	cmd.Flags().StringVar(&cfg.Pattern, "pattern", "ring", "what the program's ranks exchange; see: patterns --list")
	cmd.Flags().Uint64Var(&cfg.Seed, "seed", 0, "of the order of the VMs (default: by the clock)")
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the lab until Ctrl-C, for: vnet lab exec")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object at the end, and nothing else")
	return cmd
}

// tell runs the demo, drawn on a terminal, as a log elsewhere.
func (c *cli) tell(ctx context.Context, d *demo.Demo, keep, asJSON bool) (demo.Result, error) {
	var hold func(*lab.Lab) error
	if keep {
		hold = func(l *lab.Lab) error {
			d.View.Say("keeping the lab; try: vnet lab exec --lab demo proxy -- vnet status (Ctrl-C ends it)")
			err := l.Serve(ctx)
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	out, isFile := c.out.(*os.File)
	if !asJSON && isFile && term.IsTerminal(int(out.Fd())) && os.Getenv("TERM") != "dumb" {
		screen := newScreen(out, d.View, os.Getenv("NO_COLOR") == "")
		defer screen.stop()
	} else if !asJSON {
		d.View.OnLine(func(l demo.Line) { fmt.Fprintf(c.out, "%6.1fs  %s\n", l.At.Seconds(), l.Text) })
	}
	return d.Run(ctx, hold)
}

// conclude prints what was measured and judges it.
func (c *cli) conclude(r demo.Result, asJSON bool) error {
	if asJSON {
		if err := json.NewEncoder(c.out).Encode(r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(c.out, `
%d VMs, %s: an iteration took %.1f ms on the star and takes %.1f ms now: %.2f times as fast (the wires allow %.2f).
Inferred as %s after %.2f s of traffic; %d links added within %.2f s of being allowed to.
%d MB exchanged, every byte verified; %d frames lost by the overlay, %d dropped by full queues of the wires and sent again, %d duplicates.
`, r.VMs, r.Pattern, r.Star.IterationMS, r.Adapted.IterationMS, r.Speedup, r.SpeedupBound,
			r.Topology.Name, r.InferenceS, r.LinksAdded, r.AdaptationS,
			r.Bytes/1_000_000, r.FramesLost, r.WireLost, r.Duplicates)
	}
	switch {
	case r.FramesLost != 0:
		return fmt.Errorf("cannot account for %d frames: this is a bug", r.FramesLost)
	case r.Speedup <= 1:
		return errors.New("cannot show a gain: the application did not get faster; is the machine busy with something else?")
	}
	return nil
}
