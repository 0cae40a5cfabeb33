package main

import (
	"strings"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func interfacesCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "interfaces",
		Short: "The machine's network interfaces, and whether each may become a port",
		Long:  `The machine's network interfaces, and whether each may become a port: --lan of "vnet host" and "vnet proxy".`,
		Args:  cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			resp, err := ask(cmd, c.daemon().ListInterfaces, &api.ListInterfacesRequest{Node: c.node})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) {
				t.row("INTERFACE", "KIND", "MAC", "MTU", "OFFLOADS", "USE")
				for _, i := range resp.GetInterfaces() {
					use := word(i.GetUse(), "INTERFACE_USE_")
					switch i.GetUse() {
					case api.InterfaceUse_INTERFACE_USE_PORT:
						use += " " + i.GetPort()
					case api.InterfaceUse_INTERFACE_USE_REFUSED:
						use += ": " + i.GetWhy()
					}
					t.row(i.GetName(), i.GetKind(), i.GetMac(), i.GetMtuBytes(), strings.Join(i.GetOffloads(), " "), use)
				}
			})
		}),
	}
}
