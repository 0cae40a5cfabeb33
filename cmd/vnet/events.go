package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
)

func eventsCommand(c *cli) *cobra.Command {
	req := &api.WatchEventsRequest{}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "What happens, as it happens; JSON is one object a line",
		Long: `What happens at the node, as it happens, until interrupted; at the Proxy, at all nodes. Kinds have families: --kind link is link.up
and link.down. With -o json each event is an object on a line of its own.`,
		Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			req.Node = c.node
			stream, err := c.daemon().WatchEvents(cmd.Context(), req)
			if err != nil {
				return plain(err)
			}
			defer stream.Close()
			for stream.Receive() {
				if err := c.showEvent(stream.Msg()); err != nil {
					return err
				}
			}
			if cmd.Context().Err() != nil { // the user has seen enough
				return nil
			}
			return plain(stream.Err())
		}),
	}
	cmd.Flags().StringSliceVar(&req.Kinds, "kind", nil, "only events of this `kind`, such as link.up")
	complete(cmd, "kind", node.Kinds)
	cmd.Flags().Uint32Var(&req.Backlog, "backlog", 0, "first the last `N` events")
	return cmd
}

func (c *cli) showEvent(m *api.WatchEventsResponse) error {
	e := m.GetEvent()
	if e == nil {
		return errors.New("cannot read the event: the daemon sent an empty one")
	}
	if c.output == "json" {
		text, err := stableJSON(m, "")
		if err == nil {
			_, err = c.out.Write(text)
		}
		return err
	}
	_, err := fmt.Fprintf(c.out, "%s  %s  %s  %s\n", e.GetTime().AsTime().Local().Format("15:04:05.000"), e.GetNode(), e.GetKind(), e.GetText())
	return err
}
