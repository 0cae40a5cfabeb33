package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func explainCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "explain A B",
		Short: "Why the frames between two VMs go where they go",
		Long: `Why the frames between two VMs go where they go: the way as the nodes hold it now, the rule that decides, who made it and why,
since when, what it has spared the Proxy and the application, what was measured, and what else was weighed.`,
		Example:           `  vnet explain web db`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: c.completeVMs,
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			resp, err := ask(cmd, c.daemon().Explain, &api.ExplainRequest{Node: c.node, A: args[0], B: args[1]})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { printExplanation(t, resp.GetExplanation()) })
		}),
	}
}

func printExplanation(t *table, e *api.Explanation) {
	t.line("%s and %s talk %s", e.GetA(), e.GetB(), e.GetWay())
	say := func(what, text string) {
		if text != "" {
			t.row("  "+what, text)
		}
	}
	say("why", e.GetReason())
	if e.GetRule() != "" {
		say("rule", fmt.Sprintf("%d (%s): %s", e.GetRuleId(), e.GetOrigin(), e.GetRule()))
	}
	say("since", since(e.GetSince()))
	if e.GetRateBps() > 0 {
		say("now", bitrate(e.GetRateBps()))
	}
	var saved []string
	if e.GetSavedBytes() > 0 {
		saved = append(saved, fmt.Sprintf("%s did not cross the Proxy", byteCount(e.GetSavedBytes())))
	}
	if e.GetSavedTime() != nil {
		saved = append(saved, fmt.Sprintf("on the star the same work would have taken %s longer", duration(e.GetSavedTime())))
	}
	say("saved", strings.Join(saved, "; "))
	if f := e.GetEffect(); f != nil {
		say("effect", fmt.Sprintf("%s: %s", f.GetOutcome(), f.GetReason()))
	}
	for _, r := range e.GetAlternatives() {
		say("instead", fmt.Sprintf("%s: %s", r.GetWhat(), r.GetReason()))
	}
	t.w.Flush()
}

// byteCount is a number of bytes as people write it.
func byteCount(n uint64) string {
	for _, u := range []struct {
		least float64
		name  string
	}{{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if float64(n) >= u.least {
			return fmt.Sprintf("%.3g %s", float64(n)/u.least, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
