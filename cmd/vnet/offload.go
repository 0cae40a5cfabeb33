package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// offloadNames are what can be switched, on the command line and while running.
func offloadNames() []string {
	return []string{"gso", "gro", "csum", "tso", "tso4", "tso6", "uso", "queue"}
}

func offloadCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "offload [NAME on|off]",
		Short: "What the node leaves to the kernel, and the switch for each",
		Long: `Without arguments, tell what the node leaves to the kernel, and why it does not what it does not: by switch, or what the kernel
said when it was asked or when it refused. With a name, switch that offload on all sockets or ports of the node, until its
daemon ends; "vnet host --no-NAME" and "vnet proxy --no-NAME" start without. No frame is lost, only time.

  gso    several datagrams of a link sent in one call (UDP_SEGMENT)
  gro    several datagrams of a link received as one (UDP_GRO)
  csum   frames with unfinished checksums between guests and node; without it neither tso nor uso
  tso    super-frames of TCP between guests and node; tso4 and tso6 are its halves, for IPv4 and IPv6
  uso    super-frames of UDP between guests and node
  queue  what waits for the node in a TAP is bounded in bytes by a program in the kernel, and so short under super-frames, too`,
		Example: `  vnet offload
  vnet offload uso off --node host2`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return nil
			case len(args) != 2 || args[1] != "on" && args[1] != "off":
				return usagef("cannot switch an offload: want its name, then on or off")
			case !slices.Contains(offloadNames(), args[0]):
				return usagef("cannot switch offload %q: there are %s", args[0], list(offloadNames()))
			}
			return nil
		},
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				resp, err := ask(cmd, c.daemon().GetStatus, &api.GetStatusRequest{Node: c.node})
				if err != nil {
					return err
				}
				return c.show(&api.SetOffloadResponse{Offloads: resp.GetStatus().GetOffloads()}, func(t *table) { printOffloads(t, resp.GetStatus().GetOffloads()) })
			}
			resp, err := ask(cmd, c.daemon().SetOffload, &api.SetOffloadRequest{Node: c.node, Name: args[0], On: args[1] == "on"})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { printOffloads(t, resp.GetOffloads()) })
		}),
		ValidArgsFunction: completeFirst(offloadNames),
	}
}

func printOffloads(t *table, all []*api.Offload) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b *api.Offload) int { // what was switched keeps its place
		return cmp.Or(strings.Compare(a.GetPort(), b.GetPort()), cmp.Compare(slices.Index(offloadNames(), a.GetName()), slices.Index(offloadNames(), b.GetName())))
	})
	t.row("OFFLOAD", "OF", "STATE", "WHY")
	for _, o := range all {
		of, state := "links", "off"
		if o.GetPort() != "" {
			of = "port " + o.GetPort()
		}
		if o.GetOn() {
			state = "on"
		}
		t.row(o.GetName(), of, state, o.GetWhy())
	}
}

// offloadText is a line for each user of offloads: what is on, then what is off and why.
func offloadText(all []*api.Offload) []string {
	var lines []string
	for len(all) > 0 {
		n := slices.IndexFunc(all, func(o *api.Offload) bool { return o.GetPort() != all[0].GetPort() })
		if n < 0 {
			n = len(all)
		}
		of := "links"
		if p := all[0].GetPort(); p != "" {
			of = "port " + p
		}
		var on, off []string
		for _, o := range all[:n] {
			if o.GetOn() {
				on = append(on, o.GetName())
			} else {
				off = append(off, fmt.Sprintf("%s off: %s", o.GetName(), o.GetWhy()))
			}
		}
		if len(on) > 0 {
			off = append([]string{strings.Join(on, ", ") + " on"}, off...)
		}
		lines = append(lines, of+": "+strings.Join(off, "; "))
		all = all[n:]
	}
	return lines
}
