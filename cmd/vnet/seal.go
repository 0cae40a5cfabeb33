package main

import (
	"fmt"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func sealCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "seal",
		Short: "Frames sealed from host to host, so that no node between them reads them",
		Long: `Frames between the guests of two hosts can be sealed from one host to the other: nodes on the way, the Proxy included, see
the guests' MAC addresses, lengths and times, and nothing else, and cannot alter a frame unnoticed. Broadcast and multicast
stay open, and so does what is for a guest of a host that does not seal. Off until it is switched on.

Without a word behind it, the command lists the hosts with which the node seals. Compare KEY with what the other host says
of itself (vnet nodes fingerprint): the Proxy signs certificates and could pass itself off as a host at first sight.`,
		Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			resp, err := ask(cmd, c.daemon().GetStatus, &api.GetStatusRequest{Node: c.node})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { printSealed(t, resp.GetStatus()) })
		}),
	}
	cmd.AddCommand(sealSetCommand(c, "on", true), sealSetCommand(c, "off", false))
	return cmd
}

func printSealed(t *table, s *api.Status) {
	if s.GetSealedOnly() {
		t.line("%s sends guests elsewhere nothing in the clear, and takes nothing (--sealed)", s.GetNode())
	}
	if len(s.GetSealed()) == 0 {
		t.line("%s seals with nobody", s.GetNode())
		return
	}
	t.row("HOST", "STATE", "KEY AGREED", "KEY", "SEALED", "OPENED", "REFUSED")
	for _, p := range s.GetSealed() {
		state := "sealed"
		if !p.GetReady() {
			state = "not yet: " + p.GetWhy()
		}
		t.row(p.GetName(), state, since(p.GetSince()), p.GetKey(), fmt.Sprint(p.GetFramesSealed()), fmt.Sprint(p.GetFramesOpened()), fmt.Sprint(p.GetFramesRefused()))
	}
}

func sealSetCommand(c *cli, word string, on bool) *cobra.Command {
	short := "Seal frames between two hosts, or between any two"
	if !on {
		short = "Leave frames between two hosts open again, or between all"
	}
	return &cobra.Command{
		Use:     word + " [HOST HOST]",
		Short:   short + "; asked of the Proxy",
		Example: "  vnet seal " + word + " host1 host2\n  vnet seal " + word,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 {
				return usagef("name two hosts, or none for all")
			}
			return nil
		},
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			req := &api.SetSealRequest{Node: c.node, On: on}
			if len(args) == 2 {
				req.A, req.B = args[0], args[1]
			}
			resp, err := ask(cmd, c.daemon().SetSeal, req)
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) {
				t.line("told: %s", list(resp.GetTold()))
				for _, m := range resp.GetNotTold() {
					t.line("not told: %s: %s", m.GetNode(), m.GetWhy())
				}
			})
		}),
		ValidArgsFunction: completeFirst(c.nodeNames),
	}
}
