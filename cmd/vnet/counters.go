package main

import (
	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func countersCommand(c *cli) *cobra.Command {
	req := &api.GetCountersRequest{}
	cmd := &cobra.Command{
		Use:   "counters",
		Short: "Conservation of frames: what entered must have left, or be counted as dropped",
		Long: `Conservation of frames: what entered at a port, and what was made by copying or cutting, must have left by a port, or have
been dropped for a reason, or have been lost on the wire. With --all what is left over of all nodes together is "not accounted
for": frames on their way, and otherwise 0. Nodes that are away are named.

Datagrams that reached no link are counted as well: forged are those that nobody with the link's keys sealed, or that were
damaged on the way; stray those of no link that is there, of one that ended or of a stranger.`,
		Example: "  vnet counters --all",
		Args:    cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			req.Node = c.node
			resp, err := ask(cmd, c.daemon().GetCounters, req)
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) {
				t.row("NODE", "IN", "MADE", "OUT", "DROPPED", "LINKS SENT", "LINKS RECEIVED", "WIRE LOST", "DUPLICATES", "HOP LIMIT", "FORGED", "STRAY")
				for _, n := range resp.GetNodes() {
					printCounters(t, n.GetNode(), n.GetCounters())
				}
				printCounters(t, "total", resp.GetTotal())
				switch silent := resp.GetSilent(); {
				case len(silent) > 0:
					t.line("not heard: %s; the total is without what they counted", list(silent))
				case req.GetAll():
					t.line("not accounted for: %d", remainder(resp.GetTotal()))
				}
			})
		}),
	}
	cmd.Flags().BoolVar(&req.All, "all", false, "all nodes, not only the one that answers")
	return cmd
}

func printCounters(t *table, name string, n *api.Counters) {
	t.row(name, n.GetEdgeIn(), n.GetCopies()+n.GetCuts(), n.GetEdgeOut(), drops(n.GetDrops()), n.GetLinkFramesSent(), n.GetLinkFramesReceived(),
		n.GetWireLost(), n.GetDuplicates(), n.GetHopLimitHits(), n.GetForged(), n.GetStrays())
}

// remainder is what conservation leaves over: frames under way, or lost without a trace.
func remainder(n *api.Counters) int64 {
	left := int64(n.GetEdgeIn() + n.GetCopies() + n.GetCuts() - n.GetEdgeOut() - n.GetWireLost())
	for _, d := range n.GetDrops() {
		left -= int64(d.GetFrames())
	}
	return left
}
