package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

func ruleCommand(c *cli) *cobra.Command {
	return c.group("rule", "Add or delete a forwarding rule", ruleAddCommand(c), ruleDeleteCommand(c))
}

func ruleAddCommand(c *cli) *cobra.Command {
	var from, src, dst, to string
	cmd := &cobra.Command{
		Use:   "add --dst MATCH --to SIDE | add from SIDE src MATCH dst MATCH to SIDE",
		Short: "Add a rule",
		Long: `Add a rule: frames that come in by the side --from, with a source that matches --src and a destination that
matches --dst, leave by the side --to. The strongest matching rule decides.

SIDE is any (only --from), port:NAME or link:PEER.
MATCH is a MAC address, "not ADDRESS", any, or none (only --dst: the default rule). At most one of them may be a not.`,
		Example: `  vnet rule add --from link:host2 --src any --dst 02:00:00:00:00:01 --to port:vm1
  vnet rule add from any src not 02:00:00:00:00:01 dst any to link:proxy`,
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			text := strings.Join(args, " ")
			switch {
			case text == "" && (dst == "" || to == ""):
				return usagef("cannot add rule: give --dst and --to, or the rule as text")
			case text == "":
				text = "from " + from + " src " + src + " dst " + dst + " to " + to
			case cmd.Flags().Changed("from") || cmd.Flags().Changed("src") || dst+to != "":
				return usagef("cannot add rule: give it by flags or as text, not both")
			}
			rule, err := overlay.ParseRule(text)
			if err != nil {
				return usageError{err}
			}
			resp, err := ask(cmd, c.daemon().AddRule, &api.AddRuleRequest{Node: c.node, Rule: &api.Rule{
				Arrival: rule.Arrival.String(), Src: rule.Src.String(), Dst: rule.Dst.String(), Out: rule.Out.String(),
			}})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { printRules(t, resp.GetRule()) })
		}),
	}
	cmd.Flags().StringVar(&from, "from", "any", "`side` the frame came in by")
	cmd.Flags().StringVar(&src, "src", "any", "`match` of the source address")
	cmd.Flags().StringVar(&dst, "dst", "", "`match` of the destination address")
	cmd.Flags().StringVar(&to, "to", "", "`side` the frame leaves by")
	return cmd
}

func ruleDeleteCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "delete ID",
		Short: "Delete a rule by its number in: vnet rules",
		Args:  cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return usagef("cannot delete rule %q: give its number, as vnet rules shows it", args[0])
			}
			resp, err := ask(cmd, c.daemon().DeleteRule, &api.DeleteRuleRequest{Node: c.node, Id: id})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { t.line("rule %d deleted", id) })
		}),
	}
}
