package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

func labCommand(c *cli) *cobra.Command {
	return c.group("lab", "A small internet of namespaces on this machine, to try things in",
		labRunCommand(c), labExecCommand(c), labListCommand(c))
}

func labRunCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "run FILE",
		Short: "Build the lab that a file describes, start its overlay and applications, and keep it until Ctrl-C",
		Args:  cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("cannot read the lab file: %w", err)
			}
			spec, err := lab.Parse(text, args[0])
			if err != nil {
				return usageError{err}
			}
			return c.runLab(cmd.Context(), spec)
		}),
	}
}

func (c *cli) runLab(ctx context.Context, spec *lab.Spec) error {
	l, err := lab.Start(ctx, spec, lab.Options{})
	if err != nil {
		return err
	}
	defer l.Close()
	if spec.Overlay.Proxy != "" {
		if _, err := l.StartOverlay(ctx); err != nil {
			return err
		}
	}
	if _, err := l.StartApplications(lab.CmdOptions{Stdout: c.out, Stderr: c.err}); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "lab %s is up; try: vnet lab exec --lab %s HOST -- ip address\nCtrl-C ends it\n", spec.Name, spec.Name)
	err = l.Serve(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func labExecCommand(c *cli) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:     "exec WHERE -- COMMAND [ARG…]",
		Short:   "Run a program in a host, VM or site of a running lab",
		Example: "  vnet lab exec vm1 -- ping -c 3 vm2",
		Args:    cobra.MinimumNArgs(2),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			if len(args) > 2 && args[1] == "--" {
				args = append(args[:1], args[2:]...)
			}
			signals := make(chan os.Signal, 8)
			signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
			defer signal.Stop(signals)
			if name == "" {
				running, err := lab.Running()
				if err != nil {
					return err
				}
				switch len(running) {
				case 0:
					return api.Errorf(0, "cannot enter a lab: none runs").WithHint("start one in another shell: vnet lab run FILE (docs/lab.md), or vnet demo --keep")
				case 1:
				default:
					return usagef("cannot choose a lab: %s run; name one with --lab", list(running))
				}
				name = running[0]
			}
			// The signals are for the program inside; it decides what they mean.
			exit, err := lab.Exec(context.WithoutCancel(cmd.Context()), name, args[0], args[1:], [3]*os.File{os.Stdin, os.Stdout, os.Stderr}, signals)
			if err != nil {
				return err
			}
			if exit.Code != exitOK {
				return codeError(exit.Code)
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&name, "lab", "", "`name` of the lab (default: the only one that runs)")
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func labListCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Name the labs that run",
		Args:  cobra.NoArgs,
		RunE: c.do(func(*cobra.Command, []string) error {
			names, err := lab.Running()
			if err != nil {
				return err
			}
			if len(names) == 0 {
				names = []string{} // in JSON, too
			}
			if len(names) == 0 && c.output != "json" {
				fmt.Fprintln(c.err, "no lab runs")
				return nil
			}
			return c.say(map[string]any{"labs": names}, "%s", strings.Join(names, "\n"))
		}),
	}
}
