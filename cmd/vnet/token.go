package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func tokenCommand(c *cli) *cobra.Command {
	return c.group("token", "Let machines join the overlay", tokenCreateCommand(c))
}

func tokenCreateCommand(c *cli) *cobra.Command {
	var ttl time.Duration
	req := &api.CreateTokenRequest{}
	cmd := &cobra.Command{
		Use:     "create",
		Short:   "Make a token that lets one machine join; asked of the Proxy",
		Example: "  vnet token create --name host5 --ttl 10m",
		Args:    cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			if ttl < 0 || cmd.Flags().Changed("ttl") && ttl == 0 {
				return usagef("cannot make a token that lives %v: give a duration above zero", ttl)
			}
			if ttl > 0 {
				req.Ttl = durationpb.New(ttl)
			}
			req.Node = c.node
			resp, err := ask(cmd, c.daemon().CreateToken, req)
			if err != nil {
				return err
			}
			if c.output == "table" { // beside the token, which scripts take from standard output
				fmt.Fprintf(c.err, "good for one machine until %s; run there: vnet join TOKEN\n", since(resp.GetExpires()))
			}
			return c.show(resp, func(t *table) { t.line("%s", resp.GetToken()) })
		}),
	}
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long it is good (default 1h)")
	cmd.Flags().StringVar(&req.Name, "name", "", "the only node `name` it is good for (default: any free one)")
	cmd.Flags().StringSliceVar(&req.Addresses, "address", nil, "where the machine finds the Proxy, `HOST:PORT` (default: what the Proxy believes)")
	return cmd
}
