package main

import (
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func boundCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "bound [DURATION|auto]",
		Short: "Show or set how long a change of the overlay takes at most",
		Long: `Show or set how long a change of the overlay takes at most: adaptation waits that long before it judges or reverses one. It is
measured, by an empty change at the start and every 10 minutes and by each real one: twice the 95th percentile (P95) of the last 50,
without those that failed (EXCLUDED). A duration sets it by hand, "auto" gives it back to the measurement.`,
		Example: `  vnet bound
  vnet bound 200ms
  vnet bound auto`,
		Args: cobra.MaximumNArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				resp, err := ask(cmd, c.daemon().GetBound, &api.GetBoundRequest{Node: c.node})
				if err != nil {
					return err
				}
				return c.show(resp, func(t *table) { printBound(t, resp.GetBound()) })
			}
			req := &api.SetBoundRequest{Node: c.node}
			if args[0] != "auto" {
				d, err := time.ParseDuration(args[0])
				if err != nil || d <= 0 {
					return usagef("cannot set the bound to %q: give a duration above zero, such as 200ms, or auto for the measured one", args[0])
				}
				req.Value = durationpb.New(d)
			}
			resp, err := ask(cmd, c.daemon().SetBound, req)
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { printBound(t, resp.GetBound()) })
		}),
	}
}

func printBound(t *table, b *api.Bound) {
	t.row("BOUND", "ORIGIN", "SAMPLES", "P50", "P95", "EXCLUDED", "MEASURED")
	t.row(duration(b.GetValue()), b.GetOrigin(), b.GetSamples(), duration(b.GetP50()), duration(b.GetP95()), b.GetExcluded(), since(b.GetMeasured()))
}
