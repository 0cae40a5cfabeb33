package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func adaptCommand(c *cli) *cobra.Command {
	var f adaptFlags
	cmd := &cobra.Command{
		Use:   "adapt [observe|advise|auto]",
		Short: "Show or set how the overlay adapts itself",
		Long: `Show or set how the overlay adapts itself:
  observe  only infer what the application does
  advise   also say what would help
  auto     also do it
How it decides, and how it finds out whether that was right, is in docs/adaptation.md.`,
		Example: `  vnet adapt status
  vnet adapt mode advise
  vnet adapt accept 3
  vnet adapt mode auto --max-links 8 --max-per-node 3
  vnet adapt pause 10m`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: []string{"observe", "advise", "auto"},
		RunE:      c.do(func(cmd *cobra.Command, args []string) error { return c.adaptMode(cmd, &f, args) }),
	}
	f.add(cmd)
	cmd.AddCommand(
		c.adaptStatusCommand(), c.adaptModeCommand(), c.adaptHistoryCommand(), c.adaptPauseCommand(), c.adaptResumeCommand(), c.adaptAcceptCommand(),
	)
	return cmd
}

// adaptFlags are the settings besides the mode; what is not given stays as it is.
type adaptFlags struct {
	maxLinks, maxPerNode uint32
	maxChanges           int32
	policy, told         string
	unchecked            bool
}

func (f *adaptFlags) add(cmd *cobra.Command) {
	cmd.Flags().Uint32Var(&f.maxLinks, "max-links", 0, "most fast paths at a time; 0: no limit")
	cmd.Flags().Uint32Var(&f.maxPerNode, "max-per-node", 0, "most fast paths at one node; 0: no limit")
	cmd.Flags().Int32Var(&f.maxChanges, "max-changes", 0, "most changes in a minute; 0: 30, negative: no limit")
	cmd.Flags().StringVar(&f.policy, "policy", "", "fastpath; agent, for a program that steers; or, to compare: star, mesh, first-packet, byte-threshold, oracle")
	cmd.Flags().StringVar(&f.told, "told", "", "what policy oracle is told, as vm1=vm2,vm2=vm3")
	cmd.Flags().BoolVar(&f.unchecked, "unchecked", false, "do not judge the effect of changes, for comparisons")
	for _, name := range []string{"told", "unchecked"} {
		cmd.Flags().MarkHidden(name)
	}
}

// request is what was given on the command line; it is false when nothing was.
func (f *adaptFlags) request(cmd *cobra.Command, req *api.SetAdaptationRequest) (set bool) {
	for name, take := range map[string]func(){
		"max-links":    func() { req.MaxLinks = &f.maxLinks },
		"max-per-node": func() { req.MaxPerNode = &f.maxPerNode },
		"max-changes":  func() { req.MaxChangesPerMinute = &f.maxChanges },
		"policy":       func() { req.Policy = &f.policy },
		"told":         func() { req.Told = &f.told },
		"unchecked":    func() { req.Unchecked = &f.unchecked },
	} {
		if cmd.Flags().Changed(name) {
			take()
			set = true
		}
	}
	return set
}

// adaptMode sets mode and limits, or shows the status when nothing is to be set.
func (c *cli) adaptMode(cmd *cobra.Command, f *adaptFlags, args []string) error {
	req := &api.SetAdaptationRequest{Node: c.node}
	set := f.request(cmd, req)
	if len(args) == 1 {
		mode, err := parseMode(args[0])
		if err != nil {
			return err
		}
		req.Mode, set = mode, true
	}
	if !set {
		return c.adaptStatus(cmd)
	}
	return c.setAdaptation(cmd, req)
}

func (c *cli) setAdaptation(cmd *cobra.Command, req *api.SetAdaptationRequest) error {
	resp, err := ask(cmd, c.daemon().SetAdaptation, req)
	if err != nil {
		return err
	}
	return c.show(resp, func(t *table) { printAdaptation(t, resp.GetAdaptation()) })
}

func (c *cli) adaptStatus(cmd *cobra.Command) error {
	resp, err := ask(cmd, c.daemon().GetAdaptation, &api.GetAdaptationRequest{Node: c.node})
	if err != nil {
		return err
	}
	return c.show(resp, func(t *table) { printAdaptation(t, resp.GetAdaptation()) })
}

func (c *cli) adaptStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "What adaptation does now, would do, leaves and has taken back", Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error { return c.adaptStatus(cmd) }),
	}
}

func (c *cli) adaptModeCommand() *cobra.Command {
	var f adaptFlags
	cmd := &cobra.Command{
		Use: "mode [observe|advise|auto]", Short: "Set the mode, the limits and the policy", Args: cobra.MaximumNArgs(1),
		ValidArgs: []string{"observe", "advise", "auto"},
		RunE:      c.do(func(cmd *cobra.Command, args []string) error { return c.adaptMode(cmd, &f, args) }),
	}
	f.add(cmd)
	return cmd
}

func (c *cli) adaptHistoryCommand() *cobra.Command {
	var export string
	cmd := &cobra.Command{
		Use:   "history",
		Short: "What was changed, why, and what came of it; it outlives restarts",
		Example: `  vnet adapt history
  vnet adapt history --export journal.jsonl
  vnet replay --policy byte-threshold journal.jsonl`,
		Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			if export != "" {
				return c.exportJournal(cmd, export)
			}
			resp, err := ask(cmd, c.daemon().GetAdaptation, &api.GetAdaptationRequest{Node: c.node})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) {
				if len(resp.GetAdaptation().GetHistory()) == 0 {
					t.line("nothing was changed yet")
				}
				printHistory(t, resp.GetAdaptation().GetHistory())
			})
		}),
	}
	cmd.Flags().StringVar(&export, "export", "", "write the whole journal to this `file`, for vnet replay; on the Proxy's machine")
	return cmd
}

// exportJournal writes the journal to a file.
func (c *cli) exportJournal(cmd *cobra.Command, name string) error {
	stream, err := c.daemon().GetJournal(cmd.Context(), &api.GetJournalRequest{Node: c.node})
	if err != nil {
		return plain(err)
	}
	defer stream.Close()
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("cannot export the journal: %w", err)
	}
	out, n := bufio.NewWriter(file), 0
	for ; stream.Receive(); n++ {
		out.Write(stream.Msg().GetLine())
		out.WriteByte('\n')
	}
	err = plain(stream.Err())
	if flushed := out.Flush(); err == nil {
		err = flushed
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		fmt.Fprintf(c.out, "wrote %d decisions to %s\n", n, name)
	}
	return err
}

func (c *cli) adaptPauseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "pause DURATION", Short: "Change nothing for a while", Example: "  vnet adapt pause 10m", Args: cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			d, err := time.ParseDuration(args[0])
			if err != nil || d <= 0 {
				return usagef("cannot pause for %q: give a duration above zero, such as 10m", args[0])
			}
			return c.setAdaptation(cmd, &api.SetAdaptationRequest{Node: c.node, Pause: durationpb.New(d)})
		}),
	}
}

func (c *cli) adaptResumeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "resume", Short: "End a pause", Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			return c.setAdaptation(cmd, &api.SetAdaptationRequest{Node: c.node, Pause: durationpb.New(0)})
		}),
	}
}

func (c *cli) adaptAcceptCommand() *cobra.Command {
	return &cobra.Command{
		Use: "accept N", Short: "Carry out proposal N of mode advise", Args: cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return usagef("cannot accept %q: give the number of the proposal that `vnet adapt status` shows", args[0])
			}
			resp, err := ask(cmd, c.daemon().AcceptProposal, &api.AcceptProposalRequest{Node: c.node, Id: id})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { t.line("proposal %d was carried out in %s", id, duration(resp.GetTook())) })
		}),
	}
}

func parseMode(s string) (api.AdaptationMode, error) {
	if value, ok := api.AdaptationMode_value["ADAPTATION_MODE_"+strings.ToUpper(s)]; ok && value != 0 {
		return api.AdaptationMode(value), nil
	}
	return 0, usagef("cannot set adaptation to %q: give observe, advise or auto", s)
}
