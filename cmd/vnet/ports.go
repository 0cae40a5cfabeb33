package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func portsCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "ports",
		Short: "Where the node meets Ethernet",
		Long: `Where the node meets Ethernet. MACS are the addresses seen behind the port, or how many; LIMIT is what "vnet port" lets in. IN and
OUT count frames since the daemon started: in, from guests into the overlay. A super-frame counts as
the frames that it stands for. DROPPED are frames that came, or were to go, and did not, by reason.`,
		Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			resp, err := ask(cmd, c.daemon().ListPorts, &api.ListPortsRequest{Node: c.node})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) {
				t.row("PORT", "KIND", "INTERFACE", "STATE", "MTU", "QUEUES", "OFFLOADS", "MACS", "LIMIT", "IN", "OUT", "DROPPED")
				for _, p := range resp.GetPorts() {
					state := word(p.GetState(), "PORT_STATE_")
					if p.GetWhy() != "" {
						state += ": " + p.GetWhy()
					}
					limit := ""
					if p.GetLimit() != nil {
						limit = limitText(p.GetLimit())
					}
					t.row(p.GetName(), p.GetKind(), p.GetInterface(), state, p.GetMtuBytes(), p.GetQueues(),
						strings.Join(p.GetOffloads(), " "), some(p.GetMacs()), limit, p.GetFramesReceived(), p.GetFramesSent(), drops(slices.Concat(p.GetDrops(), p.GetRefused())))
				}
			})
		}),
	}
}

// someMACs is how many addresses of a port a line shows; vnet ports -o json has all.
const someMACs = 8

func some(macs []string) string {
	if len(macs) <= someMACs {
		return list(macs)
	}
	return fmt.Sprintf("%s … (%d in all)", list(macs[:someMACs]), len(macs))
}
