package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/lang"
)

// Exit codes of vnet diff, as diff(1) has them.
const (
	exitDifferent  = 1
	exitDiffFailed = 2
)

func diffCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "diff FILE [FILE]",
		Short: "What a description would change, or what is different between two",
		Long: `With one description: the steps that "vnet apply" would take to make the live overlay what it says, additions first. With two:
the steps from the first to the second; no daemon is asked. "-" is standard input.

The exit code is 0 when there is no difference, 1 when there is, 2 when that cannot be said.`,
		Example: "  vnet diff home.vnet && echo same",
		Args:    cobra.RangeArgs(1, 2),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			resp, err := c.difference(cmd, args)
			if err == nil {
				err = c.show(resp, func(t *table) { printSteps(t, resp) })
			}
			if err != nil {
				e := api.AsError(err)
				c.complain(e.Message, e.Hint)
				return codeError(exitDiffFailed)
			}
			if len(resp.GetSteps()) > 0 {
				return codeError(exitDifferent)
			}
			return nil
		}),
	}
}

func (c *cli) difference(cmd *cobra.Command, args []string) (*api.ApplyOverlayResponse, error) {
	var files []*lang.File
	for _, name := range args {
		f, err := c.described(name)
		if err != nil {
			return nil, wrongFile(err)
		}
		files = append(files, f)
	}
	if len(files) == 2 {
		return between(files[0].Meaning(), files[1].Meaning()), nil
	}
	return ask(cmd, c.daemon().ApplyOverlay, &api.ApplyOverlayRequest{
		Node: c.node, Name: files[0].Name, Text: string(lang.Format(files[0])), DryRun: true,
	})
}

// between are the steps from one description to another.
func between(a, b *lang.Meaning) *api.ApplyOverlayResponse {
	from := lang.Live{Overlay: a.Overlay(), Will: a.Will(), VMs: a.VMs}
	for _, n := range b.Overlay().Nodes { // nodes are compared as the statements they are, below
		if from.Overlay.Nodes[n.Name] == nil {
			from.Overlay.Nodes[n.Name] = n
			n.Rules = nil
		}
	}
	out := &api.ApplyOverlayResponse{}
	put := func(s lang.Step) {
		out.Steps = append(out.Steps, &api.OverlayStep{Kind: s.Kind.String(), Statement: s.Statement(), Text: s.String()})
	}
	nodes := func(kind lang.StepKind, has, lacks []lang.Node) {
		for _, n := range has {
			s := lang.Step{Kind: kind, What: n}
			if !slices.ContainsFunc(lacks, func(o lang.Node) bool { return (lang.Step{What: o}).Statement() == s.Statement() }) {
				put(s)
			}
		}
	}
	nodes(lang.Add, b.Nodes, a.Nodes)
	for _, s := range from.To(b).Steps {
		put(s)
	}
	nodes(lang.Delete, a.Nodes, b.Nodes)
	return out
}

func printSteps(t *table, r *api.ApplyOverlayResponse) {
	if len(r.GetSteps()) == 0 {
		t.line("same")
	}
	for i, s := range r.GetSteps() {
		t.line("%3d. %s", i+1, s.GetText())
	}
	for _, note := range r.GetNotes() {
		t.line("note: %s", note)
	}
}

// count says a number of steps.
func count(n int) string {
	if n == 1 {
		return "1 step"
	}
	return fmt.Sprintf("%d steps", n)
}
