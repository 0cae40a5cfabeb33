package main

import (
	"fmt"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func statusCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "How the daemon is, and what needs a look",
		Long: `How the daemon is, on one screen: its star link (at the Proxy: to how many hosts), what it has, frames dropped since it started
by reason, and until when its certificate is good. What needs a look is a line that begins with "warning".`,
		Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			resp, err := ask(cmd, c.daemon().GetStatus, &api.GetStatusRequest{Node: c.node})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { printStatus(t, resp.GetStatus()) })
		}),
	}
}

func printStatus(t *table, s *api.Status) {
	t.row("node", fmt.Sprintf("%s (%s)", s.GetNode(), word(s.GetRole(), "ROLE_")))
	t.row("overlay", s.GetOverlay())
	t.row("version", fmt.Sprintf("%s, up %s", s.GetVersion(), duration(s.GetUptime())))
	if star := word(s.GetStar(), "LINK_STATE_"); star != "" {
		t.row("star", fmt.Sprintf("%s: %s", star, s.GetStarText()))
	}
	if s.GetRole() == api.Role_ROLE_PROXY { // a host knows of itself and the Proxy
		t.row("nodes", s.GetNodes())
	}
	t.row("ports", s.GetPorts())
	t.row("links", fmt.Sprintf("%d of %d up", s.GetLinksUp(), s.GetLinks()))
	t.row("rules", s.GetRules())
	if text := drops(s.GetDrops()); text != "" {
		t.row("dropped", text)
	}
	if s.GetAdaptation() != "" {
		t.row("adaptation", s.GetAdaptation())
	}
	if s.GetCertificateEnds() != nil {
		t.row("expires", since(s.GetCertificateEnds())+", renews itself")
	}
	for _, line := range offloadText(s.GetOffloads()) {
		t.row("offloads", line)
	}
	for _, warning := range s.GetWarnings() {
		t.row("warning", warning)
	}
}
