package main

import (
	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func nodesCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "nodes",
		Short: "The nodes of the overlay and the VMs behind them",
		Args:  cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			resp, err := ask(cmd, c.daemon().ListNodes, &api.ListNodesRequest{Node: c.node})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) {
				t.row("NODE", "ROLE", "STATE", "SINCE", "VERSION", "ADDRESSES", "VMS")
				for _, n := range resp.GetNodes() {
					t.row(n.GetName(), word(n.GetRole(), "ROLE_"), word(n.GetState(), "NODE_STATE_"), since(n.GetSince()), n.GetVersion(), list(n.GetAddresses()), list(vmTexts(n.GetVms())))
				}
			})
		}),
	}
}

// vmTexts names VMs with their addresses.
func vmTexts(vms []*api.VM) []string {
	var out []string
	for _, vm := range vms {
		text := vm.GetMac()
		if vm.GetName() != "" {
			text = vm.GetName() + " " + text
		}
		out = append(out, text)
	}
	return out
}
