package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func appCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "app",
		Short: "The application topology as inferred from the frames",
		Args:  cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			resp, err := ask(cmd, c.daemon().GetApp, &api.GetAppRequest{Node: c.node})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { printApp(t, resp.GetApp()) })
		}),
	}
}

func printApp(t *table, app *api.App) {
	if len(app.GetGroups()) == 0 {
		t.line("no group of VMs talks together")
	}
	for _, g := range app.GetGroups() {
		t.line("%s", groupText(g, app))
		t.row("A", "B", "WEIGHT", "RATE", "SINCE")
		for _, e := range g.GetEdges() {
			t.row(cmp.Or(e.GetA(), e.GetAMac()), cmp.Or(e.GetB(), e.GetBMac()), fmt.Sprintf("%.2f", e.GetWeight()), bitrate(e.GetRateBps()), since(e.GetSince()))
		}
	}
}

// groupText is one line about a group: its shape, how sure, and the VMs in the order that shows it.
func groupText(g *api.Group, app *api.App) string {
	text := fmt.Sprintf("%s of %d VMs since %s (confidence %.2f): %s",
		cmp.Or(g.GetName(), "no known pattern"), len(g.GetOrder()), since(app.GetSince()), g.GetConfidence(), strings.Join(g.GetOrder(), " "))
	if len(g.GetNames()) > 1 {
		text += "; also a " + strings.Join(g.GetNames()[1:], ", ")
	}
	return text
}
