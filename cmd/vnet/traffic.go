package main

import (
	"cmp"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func trafficCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "traffic",
		Short: "The traffic matrix: what VMs offered to each other, and what arrived",
		Args:  cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			resp, err := ask(cmd, c.daemon().GetTraffic, &api.GetTrafficRequest{Node: c.node})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) {
				t.row("SRC", "DST", "OFFERED", "DELIVERED", "FRAMES", "DELIVERED")
				for _, e := range resp.GetEntries() {
					t.row(cmp.Or(e.GetSrc(), e.GetSrcMac()), cmp.Or(e.GetDst(), e.GetDstMac()), bitrate(e.GetOfferedBps()), bitrate(e.GetDeliveredBps()), e.GetOfferedFrames(), e.GetDeliveredFrames())
				}
			})
		}),
	}
}
