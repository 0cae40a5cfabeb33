package main

import (
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/lang"
)

func applyCommand(c *cli) *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Make the overlay what a description says",
		Long: `Make the live overlay what a description says: all nodes at once, the new before the old goes, so that no frame is lost. Only
what the user wants is changed (docs/language.md, "What a file governs"). Applying twice changes nothing. When somebody else
changes the overlay meanwhile, one of the two is refused and told. When it fails half-way, traffic flows on; "vnet diff" says what
is left and another "vnet apply" goes on.`,
		Example: `  vnet apply home.vnet --dry-run
  vnet generate ring --live | vnet apply -`,
		Args: cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			f, err := c.described(args[0])
			if err != nil {
				return wrongFile(err)
			}
			req := &api.ApplyOverlayRequest{Node: c.node, Name: f.Name, Text: string(lang.Format(f)), DryRun: true}
			plan, err := ask(cmd, c.daemon().ApplyOverlay, req)
			if err != nil {
				return err
			}
			if dry || len(plan.GetSteps()) == 0 {
				return c.show(plan, func(t *table) { printPlan(t, plan) })
			}
			req.DryRun, req.Revision = false, plan.GetRevision()
			done, err := ask(cmd, c.daemon().ApplyOverlay, req)
			if err != nil {
				return c.halfWay(cmd, req, plan, err)
			}
			return c.show(done, func(t *table) {
				printSteps(t, done)
				t.line("applied: %s in %s, generation %d", count(len(done.GetSteps())), duration(done.GetTook()), done.GetGeneration())
			})
		}),
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, and do nothing")
	return cmd
}

func printPlan(t *table, plan *api.ApplyOverlayResponse) {
	if len(plan.GetSteps()) == 0 {
		t.line("nothing to do: the overlay is as described")
		return
	}
	printSteps(t, plan)
	t.line("dry run: %s would be taken", count(len(plan.GetSteps())))
}

// halfWay says how far an apply came that failed.
func (c *cli) halfWay(cmd *cobra.Command, req *api.ApplyOverlayRequest, plan *api.ApplyOverlayResponse, failed error) error {
	switch connect.CodeOf(failed) {
	case connect.CodeFailedPrecondition, connect.CodeAborted, connect.CodeInvalidArgument: // refused before anything was begun
		return failed
	}
	req.DryRun, req.Revision = true, ""
	left, err := ask(cmd, c.daemon().ApplyOverlay, req)
	if err != nil {
		return failed
	}
	if n, all := len(left.GetSteps()), len(plan.GetSteps()); n < all {
		fmt.Fprintf(c.err, "reached: %s of %d; %d are left, and traffic flows by what is there; go on with: vnet apply\n", count(all-n), all, n)
	} else {
		fmt.Fprintf(c.err, "reached: nothing has changed, and traffic flows as before\n")
	}
	return failed
}
