package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func tokenCommand(c *cli) *cobra.Command {
	return c.group("token", "Let machines join the overlay", tokenCreateCommand(c), tokenListCommand(c), tokenRevokeCommand(c))
}

func tokenCreateCommand(c *cli) *cobra.Command {
	var ttl time.Duration
	req := &api.CreateTokenRequest{}
	cmd := &cobra.Command{
		Use:     "create",
		Short:   "Make a token that lets machines join; asked of the Proxy",
		Example: "  vnet token create --name host5 --ttl 10m\n  vnet token create --uses 20 --approve",
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
				fmt.Fprintf(c.err, "good for %s until %s; run there: vnet join TOKEN\n", machines(req.GetUses()), since(resp.GetExpires()))
			}
			return c.show(resp, func(t *table) { t.line("%s", resp.GetToken()) })
		}),
	}
	cmd.Flags().Uint32Var(&req.Uses, "uses", 1, "how many machines it lets in")
	cmd.Flags().BoolVar(&req.Approve, "approve", false, "each of them waits until somebody says: vnet nodes approve")
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long it is good (default 1h)")
	cmd.Flags().StringVar(&req.Name, "name", "", "the only node `name` it is good for (default: any free one)")
	cmd.Flags().StringSliceVar(&req.Addresses, "address", nil, "where the machine finds the Proxy, `HOST:PORT` (default: what the Proxy believes)")
	return cmd
}

// machines counts them in words.
func machines(n uint32) string {
	if n <= 1 {
		return "one machine"
	}
	return fmt.Sprintf("%d machines", n)
}

func tokenListCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "The tokens that are good, and those that ended within a day; asked of the Proxy",
		Args:  cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			resp, err := ask(cmd, c.daemon().ListTokens, &api.ListTokensRequest{Node: c.node})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) {
				t.row("TOKEN", "STATE", "MADE", "EXPIRES", "NAME", "USED", "BY")
				for _, k := range resp.GetTokens() {
					state := "ended"
					if k.GetLive() {
						state = "good"
						if k.GetApprove() {
							state = "good, to be approved"
						}
					}
					t.row(k.GetId(), state, since(k.GetMade()), since(k.GetExpires()), k.GetName(), fmt.Sprintf("%d of %d", len(k.GetUsedBy()), k.GetUses()), list(k.GetUsedBy()))
				}
			})
		}),
	}
}

func tokenRevokeCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke TOKEN",
		Short: "Make a token worth nothing, by the name that vnet token list gives it; asked of the Proxy",
		Args:  cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			resp, err := ask(cmd, c.daemon().RevokeToken, &api.RevokeTokenRequest{Node: c.node, Id: args[0]})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { t.line("token %s lets nobody in any more", args[0]) })
		}),
	}
}
