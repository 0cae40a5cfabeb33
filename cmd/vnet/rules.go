package main

import (
	"strconv"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

func rulesCommand(c *cli) *cobra.Command {
	var origin string
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "The node's forwarding rules",
		Long: `The node's forwarding rules. Of those that match a frame the one with the highest RANK decides, then one that names where the frame came
in (FROM), then the older; a rule whose output is down (ACTIVE: no) counts as absent. What no rule matches takes the star.
ORIGIN is who wanted the rule: user, learned (a MAC was seen), adapted (adaptation), star. HITS are frames, where they are counted.`,
		Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			if origin != "" {
				if _, err := overlay.ParseOrigin(origin); err != nil {
					return usageError{err}
				}
			}
			resp, err := ask(cmd, c.daemon().ListRules, &api.ListRulesRequest{Node: c.node, Origin: origin})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { printRules(t, resp.GetRules()...) })
		}),
	}
	cmd.Flags().StringVar(&origin, "origin", "", "only rules of this origin: user, learned, adapted or star")
	return cmd
}

func printRules(t *table, rules ...*api.Rule) {
	t.row("ID", "FROM", "SRC", "DST", "TO", "ORIGIN", "RANK", "ACTIVE", "HITS")
	for _, r := range rules {
		hits := ""
		if r.Hits != nil {
			hits = strconv.FormatUint(r.GetHits(), 10)
		}
		active := "yes"
		if !r.GetActive() {
			active = "no"
		}
		t.row(r.GetId(), r.GetArrival(), r.GetSrc(), r.GetDst(), r.GetOut(), r.GetOrigin(), r.GetRank(), active, hits)
	}
}
