package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func adaptCommand(c *cli) *cobra.Command {
	var maxLinks uint32
	cmd := &cobra.Command{
		Use:   "adapt [status|observe|advise|auto]",
		Short: "Show or set how the overlay adapts itself",
		Long: `Show or set how the overlay adapts itself:
  observe  only infer what the application does
  advise   also say what would help
  auto     also do it`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: []string{"status", "observe", "advise", "auto"},
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			req := &api.SetAdaptationRequest{Node: c.node}
			set := cmd.Flags().Changed("max-links")
			if set {
				req.MaxLinks = &maxLinks
			}
			if len(args) == 1 && args[0] != "status" {
				mode, err := parseMode(args[0])
				if err != nil {
					return err
				}
				req.Mode, set = mode, true
			}
			if set {
				resp, err := ask(cmd, c.daemon().SetAdaptation, req)
				if err != nil {
					return err
				}
				return c.show(resp, func(t *table) { printAdaptation(t, resp.GetAdaptation()) })
			}
			resp, err := ask(cmd, c.daemon().GetAdaptation, &api.GetAdaptationRequest{Node: c.node})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { printAdaptation(t, resp.GetAdaptation()) })
		}),
	}
	cmd.Flags().Uint32Var(&maxLinks, "max-links", 0, "most fast paths at a time; 0: no limit")
	return cmd
}

func parseMode(s string) (api.AdaptationMode, error) {
	if value, ok := api.AdaptationMode_value["ADAPTATION_MODE_"+strings.ToUpper(s)]; ok && value != 0 {
		return api.AdaptationMode(value), nil
	}
	return 0, usagef("cannot set adaptation to %q: give observe, advise or auto", s)
}

func printAdaptation(t *table, a *api.Adaptation) {
	limit := "no limit"
	if a.GetMaxLinks() > 0 {
		limit = "at most " + strconv.FormatUint(uint64(a.GetMaxLinks()), 10)
	}
	paths := "1 fast path"
	if n := len(a.GetLinks()); n != 1 {
		paths = fmt.Sprintf("%d fast paths", n)
	}
	t.line("%s by %s: %s, %s", word(a.GetMode(), "ADAPTATION_MODE_"), a.GetPolicy(), paths, limit)
	if len(a.GetLinks()) > 0 {
		t.row("A", "B", "SINCE", "REASON")
		for _, l := range a.GetLinks() {
			t.row(l.GetA(), l.GetB(), since(l.GetSince()), l.GetReason())
		}
		t.w.Flush()
	}
	if p := a.GetProposal(); p != nil {
		t.line("proposal %d: %s", p.GetId(), p.GetReason())
		for i, s := range p.GetSteps() {
			t.line("  %d. %s: %s", i+1, s.GetWhat(), s.GetReason())
		}
	}
	if len(a.GetHistory()) > 0 {
		t.row("CHANGE", "STARTED", "OUTCOME", "TOOK", "STAGES", "REASON")
		for _, ch := range a.GetHistory() {
			printChange(t, ch)
		}
	}
}

func printChange(t *table, ch *api.Change) {
	var stages []string
	for _, s := range ch.GetStages() {
		stages = append(stages, fmt.Sprintf("%s %s", s.GetName(), duration(s.GetTook())))
	}
	outcome := ch.GetOutcome()
	if ch.GetWhy() != "" {
		outcome += ": " + ch.GetWhy()
	}
	t.row(ch.GetProposal().GetId(), since(ch.GetStarted()), outcome, duration(ch.GetTotal()), list(stages), ch.GetProposal().GetReason())
}
