package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func caCommand(c *cli) *cobra.Command {
	return c.group("ca", "The certificate authority of the overlay", caRotateCommand(c))
}

func caRotateCommand(c *cli) *cobra.Command {
	req := &api.RotateCARequest{}
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the certificate authority; asked of the Proxy",
		Long: `Replace the certificate authority. Both authorities are believed for a week, in which every node gets a certificate of the
new one by itself; then the old one is destroyed. A node that is away for all of that week has to join again. With --finish the
old authority ends now.`,
		Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			req.Node = c.node
			resp, err := ask(cmd, c.daemon().RotateCA, req)
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) {
				t.line("the authority is %s", resp.GetCa())
				if resp.GetOldCa() != "" {
					t.line("until %s also %s", since(resp.GetOldEnds()), resp.GetOldCa())
				}
				printTold(t, resp.GetStored(), resp.GetNotTold())
			})
		}),
	}
	cmd.Flags().BoolVar(&req.Finish, "finish", false, "stop believing the old authority now")
	cmd.Flags().BoolVar(&req.Force, "force", false, "begin although nodes are away, or too old to be told")
	return cmd
}

func clientCommand(c *cli) *cobra.Command {
	return c.group("client", "Let people and programs ask the Proxy from afar", clientCreateCommand(c))
}

func clientCreateCommand(c *cli) *cobra.Command {
	req := &api.CreateClientRequest{}
	var ttl time.Duration
	var file string
	cmd := &cobra.Command{
		Use:     "create NAME",
		Short:   "Make a key with which somebody may ask the Proxy over the network; asked of the Proxy",
		Long:    "Make a key and certificate with which somebody may ask the Proxy over the network: with the role read to look, operate\nalso to change the overlay, admin also to say who belongs to it. It is written to a file that only you can read.",
		Example: "  vnet client create alice --role operate --file alice.pem",
		Args:    cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			req.Node, req.Name = c.node, args[0]
			if ttl > 0 {
				req.Ttl = durationpb.New(ttl)
			}
			if file == "" {
				file = args[0] + ".pem"
			}
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // before a key is made that nobody could have
			if err != nil {
				return fmt.Errorf("cannot write the key: %w; name another --file", err)
			}
			resp, err := ask(cmd, c.daemon().CreateClient, req)
			if err != nil {
				f.Close()
				_ = os.Remove(file) // it is empty
				return err
			}
			_, err = f.WriteString(resp.GetIdentity())
			if closeErr := f.Close(); err == nil {
				err = closeErr
			}
			if err != nil {
				return fmt.Errorf("cannot write the key: %w", err)
			}
			at := append(resp.GetAddresses(), "HOST:PORT")[0]
			return c.say(map[string]any{"name": args[0], "role": req.GetRole(), "expires": resp.GetExpires().AsTime(), "file": file, "addresses": resp.GetAddresses()},
				"%s may %s until %s with %s; try: vnet status --remote %s --identity %s", args[0], req.GetRole(), since(resp.GetExpires()), file, at, file)
		}),
	}
	cmd.Flags().StringVar(&req.Role, "role", "read", "read, operate or admin")
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long it is good (default 90 days)")
	cmd.Flags().StringVar(&file, "file", "", "`file` for the key (default: NAME.pem)")
	return cmd
}
