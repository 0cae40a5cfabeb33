package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

// endTime is how long a daemon that has left may take to end.
const endTime = 5 * time.Second

func leaveCommand(c *cli) *cobra.Command {
	var state string
	var service serviceFlags
	var offline bool
	cmd := &cobra.Command{
		Use:   "leave",
		Short: "Undo joining: take this machine out of the overlay",
		Long: `Undo "vnet join": the Proxy forgets this machine and its key is believed no longer, the daemon ends, its unit is removed,
and so is what the machine kept of the overlay, its key before all. With --offline the Proxy is not asked.`,
		Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) (err error) {
			if state == "" {
				if state, err = stateDir(c.overlay); err != nil {
					return err
				}
			}
			id, err := pki.LoadIdentity(state)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("cannot leave: this machine is no node of overlay %s (nothing in %s)", c.overlay, state)
			}
			if err == nil && id.Role == pki.RoleProxy {
				return fmt.Errorf("cannot leave: this is the Proxy, without which there is no overlay; to end it, stop the daemons and remove %s", state)
			}
			return c.leave(cmd, state, service, offline)
		}),
	}
	cmd.Flags().StringVar(&state, "state", "", "state `directory` (default: by overlay)")
	cmd.Flags().BoolVar(&offline, "offline", false, "do not tell the Proxy; run there: vnet nodes revoke NAME")
	service.add(cmd)
	if err := cmd.Flags().MarkHidden("service"); err != nil {
		panic("vnet: a flag that does not exist is to be hidden")
	}
	return cmd
}

func (c *cli) leave(cmd *cobra.Command, state string, service serviceFlags, offline bool) error {
	if !offline {
		if _, err := ask(cmd, c.daemon().Leave, &api.LeaveRequest{}); err != nil {
			e := api.AsError(err)
			return api.Errorf(e.Code, "cannot leave: %s", e.Message).WithHint("start the daemon, so that the Proxy can be told; or leave without telling it: vnet leave --offline")
		}
	}
	had, err := c.uninstall(cmd.Context(), service.dir)
	if err != nil {
		return err
	}
	if had && c.output != "json" {
		fmt.Fprintf(c.out, "removed %s\n", unitName(c.overlay))
	}
	if err := c.awaitEnd(cmd.Context()); err != nil {
		return err
	}
	for _, file := range append(pki.Files(), stateFile) {
		if err := os.Remove(filepath.Join(state, file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove what this machine kept: %w", err)
		}
	}
	_ = os.Remove(state) // stays when something of the user's is in it
	return c.say(map[string]any{"overlay": c.overlay, "left": true}, "this machine has left overlay %s", c.overlay)
}

// awaitEnd waits until no daemon answers any more.
func (c *cli) awaitEnd(ctx context.Context) error {
	for end := time.Now().Add(endTime); c.answers(ctx); {
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("cannot remove what this machine kept: its daemon still runs; end it, then run again: vnet leave --offline")
		}
		time.Sleep(servicePoll)
	}
	return nil
}
