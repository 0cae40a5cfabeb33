package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func traceCommand(c *cli) *cobra.Command {
	var ethertype string
	req := &api.TraceRequest{}
	cmd := &cobra.Command{
		Use:   "trace SRC DST",
		Short: "The way a frame takes between two VMs",
		Long: `The way a frame takes between two VMs, given by name or MAC address: every hop, where it comes in and goes out, the rule
that decides and its rank, and why. It is worked out from the rules that the nodes hold; --live sends a probe frame that way,
which every node forwards and reports and no VM gets. Rules do not look at the EtherType. The exit code is 1 when the frame does
not arrive.`,
		Example: `  vnet trace web db
  vnet trace 02:00:00:00:00:01 db --live`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: c.completeVMs,
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			if ethertype != "" {
				n, err := strconv.ParseUint(ethertype, 0, 16)
				if err != nil || n < 0x600 {
					return usagef("cannot trace EtherType %q: give a number from 0x0600 to 0xffff, such as 0x0800", ethertype)
				}
				req.Ethertype = uint32(n)
			}
			req.Node, req.Src, req.Dst = c.node, args[0], args[1]
			resp, err := ask(cmd, c.daemon().Trace, req)
			if err != nil {
				return err
			}
			if err := c.show(resp, func(t *table) { printTrace(t, resp) }); err != nil {
				return err
			}
			if end := resp.GetEnd(); end != "delivered" && end != "flooded" {
				return codeError(exitFailure)
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&ethertype, "ethertype", "", "`number` of the frame's EtherType, such as 0x0800")
	cmd.Flags().BoolVar(&req.Live, "live", false, "send a probe frame that reports each hop")
	return cmd
}

func printTrace(t *table, r *api.TraceResponse) {
	t.row("HOP", "NODE", "IN", "OUT", "CARRIER", "REASON", "RANK", "RULE")
	for i, h := range r.GetHops() {
		rule, rank := h.GetRule(), ""
		if rule != "" {
			rank = strconv.Itoa(int(h.GetRank()))
			if h.GetRuleId() != 0 {
				rule = strconv.FormatUint(h.GetRuleId(), 10) + " (" + h.GetOrigin() + "): " + rule
			} else {
				rule = h.GetOrigin() + ": " + rule
			}
		}
		t.row(i, h.GetNode(), h.GetArrival(), strings.Join(h.GetOut(), " "), h.GetCarrier(), h.GetReason(), rank, rule)
	}
	t.line("%s", r.GetText())
}

// completeVMs offers the names of VMs for two arguments.
func (c *cli) completeVMs(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.vmNames(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
}
