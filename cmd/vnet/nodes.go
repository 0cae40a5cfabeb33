package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func nodesCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "The nodes of the overlay and the VMs behind them; and who may be one",
		Long: `The nodes of the overlay, the addresses at which they can be reached, and the VMs behind each: whatever has a MAC address there, by
name where it has one. A host whose link to the Proxy is down knows what it was told before. SINCE is when the state began.`,
		Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			resp, err := ask(cmd, c.daemon().ListNodes, &api.ListNodesRequest{Node: c.node})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) {
				t.row("NODE", "ROLE", "STATE", "SINCE", "VERSION", "ADDRESSES", "VMS")
				for _, n := range resp.GetNodes() {
					t.row(n.GetName(), word(n.GetRole(), "ROLE_"), word(n.GetState(), "NODE_STATE_"), since(n.GetSince()), n.GetVersion(), list(n.GetAddresses()), list(vmTexts(n.GetVms())))
				}
				for _, u := range resp.GetUnlinkable() {
					t.line("%s and %s cannot be linked since %s: %s", u.GetA(), u.GetB(), since(u.GetSince()), strings.ReplaceAll(u.GetWhy(), "\n", "; "))
				}
			})
		}),
	}
	cmd.AddCommand(nodesApproveCommand(c), nodesRevokeCommand(c), nodesFingerprintCommand(c), nodesForgetKeyCommand(c))
	return cmd
}

// vmTexts names VMs with their addresses.
func vmTexts(vms []*api.VM) []string {
	var out []string
	for _, vm := range vms {
		text := vm.GetMac()
		if vm.GetName() != "" {
			text = vm.GetName() + " " + text
		}
		out = append(out, text)
	}
	return out
}

func nodesApproveCommand(c *cli) *cobra.Command {
	req := &api.ApproveNodeRequest{}
	cmd := &cobra.Command{
		Use:     "approve NAME",
		Short:   "Let a machine in that joined with a token that wants approval; asked of the Proxy",
		Example: "  vnet nodes approve host5 --key SHA256:…",
		Args:    cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			req.Node, req.Name = c.node, args[0]
			resp, err := ask(cmd, c.daemon().ApproveNode, req)
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) {
				t.line("%s is let in; its key is %s", resp.GetKey().GetNode(), resp.GetKey().GetKey())
			})
		}),
	}
	cmd.Flags().StringVar(&req.Key, "key", "", "refuse if its `fingerprint` is not this one, as the machine printed it")
	return cmd
}

func nodesRevokeCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME",
		Short: "Put a node out for ever, and wait until every connected node knows; asked of the Proxy",
		Long: `Put a node out for ever. The command returns when every node that is connected to the Proxy has stored that the key is
believed no longer, and has cut its links to it; it names the nodes that have not. They learn it from whichever node they meet
next. The exit code is 0 also then.`,
		Args: cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			resp, err := ask(cmd, c.daemon().RevokeNode, &api.RevokeNodeRequest{Node: c.node, Name: args[0]})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) {
				t.line("%s is out; its key was %s", args[0], resp.GetKey())
				printTold(t, resp.GetStored(), resp.GetNotTold())
			})
		}),
		ValidArgsFunction: completeFirst(c.nodeNames),
	}
}

// printTold says which nodes have stored a list of trust, and which have not.
func printTold(t *table, stored []string, missed []*api.NotTold) {
	t.line("stored by %d: %s", len(stored), list(stored))
	for _, m := range missed {
		t.line("not by %s: %s", m.GetNode(), m.GetWhy())
	}
}

func nodesFingerprintCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "fingerprint",
		Short: "The keys of the node itself and of those it knows, to compare them by telephone",
		Long: `The fingerprints of keys: the node's own, and those of other nodes as it saw them first, or, at the Proxy, as they joined.
The Proxy signs certificates, so it alone could pass a machine off as another; who does not trust it that far compares what two
hosts say of each other with what each says of itself.`,
		Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			resp, err := ask(cmd, c.daemon().ListKeys, &api.ListKeysRequest{Node: c.node})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) {
				t.row("NODE", "HOW", "KEY", "CERTIFICATE ENDS")
				for _, k := range resp.GetKeys() {
					t.row(k.GetNode(), k.GetHow(), k.GetKey(), since(k.GetExpires()))
				}
				for _, r := range resp.GetRevoked() {
					t.row(r.GetNode(), fmt.Sprintf("revoked %s", since(r.GetWhen())), r.GetKey(), "")
				}
				t.row("", "authority", resp.GetCa(), "")
			})
		}),
	}
}

func nodesForgetKeyCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "forget-key NAME",
		Short: "Let the key that a node shows next be the one to remember: its machine was set up anew",
		Args:  cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			resp, err := ask(cmd, c.daemon().ForgetKey, &api.ForgetKeyRequest{Node: c.node, Name: args[0]})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { t.line("the next key of %s is the one that counts", args[0]) })
		}),
	}
}
