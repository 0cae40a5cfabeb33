package main

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

func portCommand(c *cli) *cobra.Command {
	return c.group("port", "Change what a port lets in",
		portMACsCommand(c), portStormCommand(c), portSpoofCommand(c), portFixedCommand(c))
}

func portMACsCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "macs PORT any|VM…",
		Short: "Let in frames of some addresses only",
		Long: "Let in frames of some addresses only, given as MAC addresses or as names of VMs. Others' are dropped and counted, and no other\n" +
			"port may claim these addresses, unless it is limited to them too: that declares where they may move.",
		Example: "  vnet port macs vm1 02:00:00:00:00:01\n  vnet port macs vm1 any",
		Args:    cobra.MinimumNArgs(2),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			macs := args[1:]
			if slices.Contains(macs, "any") {
				if len(macs) > 1 {
					return usagef("cannot limit the port: give addresses, or any alone")
				}
				macs = nil
			}
			return c.limitPort(cmd, args[0], &api.SetPortLimitRequest{Macs: &api.PortMacs{Macs: macs}})
		}),
	}
}

func portStormCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "storm PORT RATE|default|off",
		Short: "Limit the flooded frames of a port to RATE a second",
		Long: fmt.Sprintf("Limit the flooded frames (broadcast, multicast, and those to addresses that nobody knows) that a port may send to RATE a\n"+
			"second, in bursts of twice as many. The default is %d. What is more is dropped and counted.", overlay.DefaultStorm),
		Example: "  vnet port storm vm1 200",
		Args:    cobra.ExactArgs(2),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			rate := 0
			switch args[1] {
			case "default":
			case "off":
				rate = overlay.NoStormLimit
			default:
				n, err := strconv.ParseUint(args[1], 10, 31)
				if err != nil || n == 0 {
					return usagef("cannot use rate %q: give a number of frames a second above 0, default or off", args[1])
				}
				rate = int(n)
			}
			storm := int32(rate)
			return c.limitPort(cmd, args[0], &api.SetPortLimitRequest{Storm: &storm})
		}),
	}
}

func portSpoofCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "spoof PORT notice|drop",
		Short: "Say what becomes of ARP in the name of another's address",
		Long: "Say what becomes of ARP and neighbour discovery in which a guest says that an IP address is its own that belongs to another\n" +
			"MAC. It is always noticed (vnet events, vnet status); drop also drops it.",
		Example: "  vnet port spoof vm1 drop",
		Args:    cobra.ExactArgs(2),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			on, err := choice(args[1], "notice", "drop")
			if err != nil {
				return err
			}
			return c.limitPort(cmd, args[0], &api.SetPortLimitRequest{DropSpoof: &on})
		}),
	}
}

func portFixedCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "fixed PORT on|off",
		Short: "Keep the addresses that are seen at a port there",
		Long: "Keep the addresses that are seen at a port there: who claims one elsewhere does not get it, also not by announcing itself, until\n" +
			"it has been silent for 300 s, or the user declares its place (vm … at … in a file, or vnet port macs).",
		Args: cobra.ExactArgs(2),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			on, err := choice(args[1], "off", "on")
			if err != nil {
				return err
			}
			return c.limitPort(cmd, args[0], &api.SetPortLimitRequest{Fixed: &on})
		}),
	}
}

// choice is whether a word is the second of two.
func choice(word, no, yes string) (bool, error) {
	if word != no && word != yes {
		return false, usagef("cannot use %q: give %s or %s", word, no, yes)
	}
	return word == yes, nil
}

// limitPort asks for a change and shows what holds then.
func (c *cli) limitPort(cmd *cobra.Command, port string, req *api.SetPortLimitRequest) error {
	if err := overlay.ValidPort(port); err != nil {
		return usagef("%w", err)
	}
	req.Node, req.Port = c.node, port
	resp, err := ask(cmd, c.daemon().SetPortLimit, req)
	if err != nil {
		return err
	}
	return c.show(resp, func(t *table) { t.line("port %s: %s", port, limitText(resp.GetLimit())) })
}

// limitText is what a port lets in, in words.
func limitText(l *api.PortLimit) string {
	text := "any address"
	if len(l.GetMacs()) > 0 {
		text = "only " + list(l.GetMacs())
	}
	switch {
	case l.GetStorm() < 0:
		text += "; any number of flooded frames"
	case l.GetStorm() > 0:
		text += fmt.Sprintf("; %d flooded frames a second", l.GetStorm())
	default:
		text += fmt.Sprintf("; %d flooded frames a second (default)", overlay.DefaultStorm)
	}
	if l.GetDropSpoof() {
		text += "; spoofed ARP is dropped"
	}
	if l.GetFixed() {
		text += "; addresses stay here"
	}
	return text
}
