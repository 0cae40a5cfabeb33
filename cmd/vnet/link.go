package main

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

func linkCommand(c *cli) *cobra.Command {
	return c.group("link", "Add, delete or change a link",
		linkAddCommand(c), linkDeleteCommand(c), linkRekeyCommand(c), linkCarrierCommand(c), linkCipherCommand(c), linkPortsCommand(c))
}

func linkAddCommand(c *cli) *cobra.Command {
	var carrier string
	req := &api.AddLinkRequest{}
	cmd := &cobra.Command{
		Use:     "add PEER",
		Short:   "Open a link from the node to the node PEER and wait until it is proven",
		Example: "  vnet link add host2 --carrier tcp",
		Args:    cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) (err error) {
			req.Node, req.Peer = c.node, args[0]
			if req.Carrier, err = parseCarrier(carrier); err != nil {
				return err
			}
			if err := overlay.ValidName(req.GetPeer()); err != nil {
				return usagef("cannot add link: %w", err)
			}
			if _, err := link.ExtraPortCount(req.GetExtraPorts()); err != nil {
				return usagef("%w", err)
			}
			for _, a := range req.GetAddresses() {
				if _, err := netip.ParseAddrPort(a); err != nil {
					return usagef("cannot add link: address %q is not IP:PORT", a)
				}
			}
			resp, err := ask(cmd, c.daemon().AddLink, req)
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { printLinks(t, resp.GetLink()) })
		}),
		ValidArgsFunction: completeFirst(c.nodeNames),
	}
	cmd.Flags().StringVar(&carrier, "carrier", "auto", "auto (udp, tcp where udp is blocked), udp or tcp")
	cmd.Flags().StringVar(&req.Cipher, "cipher", "", "what seals its frames: "+ciphers)
	complete(cmd, "carrier", carrierNames)
	cmd.Flags().Uint32Var(&req.ExtraPorts, "extra-ports", 0, "send from so many ports beside the first, `0..7`, as in: vnet link ports --help")
	cmd.Flags().StringSliceVar(&req.Addresses, "address", nil, "where to dial, `IP:PORT` (default: what the Proxy knows)")
	cmd.Flags().BoolVar(&req.NoWait, "no-wait", false, "return when the request is accepted")
	return cmd
}

func linkDeleteCommand(c *cli) *cobra.Command {
	req := &api.DeleteLinkRequest{}
	cmd := &cobra.Command{
		Use:   "delete PEER",
		Short: "Close the link to the node PEER",
		Args:  cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			req.Node, req.Peer = c.node, args[0]
			if err := overlay.ValidName(req.GetPeer()); err != nil {
				return usagef("cannot delete link: %w", err)
			}
			resp, err := ask(cmd, c.daemon().DeleteLink, req)
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { t.line("link to %s deleted", req.GetPeer()) })
		}),
		ValidArgsFunction: completeFirst(c.linkNames),
	}
	cmd.Flags().BoolVar(&req.Force, "force", false, "also when rules use it")
	return cmd
}

func linkRekeyCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "rekey PEER",
		Short: "Give the link to the node PEER fresh keys",
		Args:  cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			if err := overlay.ValidName(args[0]); err != nil {
				return usagef("cannot rekey link: %w", err)
			}
			resp, err := ask(cmd, c.daemon().RekeyLink, &api.RekeyLinkRequest{Node: c.node, Peer: args[0]})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { printLinks(t, resp.GetLink()) })
		}),
		ValidArgsFunction: completeFirst(c.linkNames),
	}
}

func linkCarrierCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "carrier PEER auto|udp|tcp",
		Short: "Move the link to the node PEER to another carrier",
		Args:  cobra.ExactArgs(2),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			if err := overlay.ValidName(args[0]); err != nil {
				return usagef("cannot move link: %w", err)
			}
			carrier, err := parseCarrier(args[1])
			if err != nil {
				return err
			}
			resp, err := ask(cmd, c.daemon().SetLinkCarrier, &api.SetLinkCarrierRequest{Node: c.node, Peer: args[0], Carrier: carrier})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { printLinks(t, resp.GetLink()) })
		}),
		ValidArgsFunction: completeFirst(c.linkNames),
	}
}

// ciphers are the words for what seals a link.
const ciphers = "auto, aes-128-gcm, aes-256-gcm, chacha20-poly1305, or trusted: nothing but a checksum"

func linkCipherCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cipher PEER CIPHER",
		Short: "Change what seals the frames between the node and PEER",
		Long: "Change what seals the frames between the node and PEER, now and whenever they have a link: " + ciphers + ".\n\n" +
			"On a trusted link anybody on the way can read the frames. It is for machines on one rack. Over tcp frames are sealed in any case.",
		Example: "  vnet link cipher host2 trusted",
		Args:    cobra.ExactArgs(2),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			if err := overlay.ValidName(args[0]); err != nil {
				return usagef("cannot change link: %w", err)
			}
			if _, err := link.ParseCipher(args[1]); err != nil {
				return usagef("%w", err)
			}
			resp, err := ask(cmd, c.daemon().SetLinkCipher, &api.SetLinkCipherRequest{Node: c.node, Peer: args[0], Cipher: args[1]})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) {
				if resp.GetLink() == nil {
					t.line("there is no link to %s now; the next will be sealed so", args[0])
					return
				}
				printLinks(t, resp.GetLink())
			})
		}),
		ValidArgsFunction: completeFirst(c.linkNames),
	}
	return cmd
}

func linkPortsCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "ports PEER NUMBER",
		Short: "Send to the node PEER from NUMBER ports beside the first",
		Long: "Have both ends of the link to PEER send from NUMBER ports beside the first, 0 to 7, now and whenever they have a link.\n\n" +
			"One port is one flow to the kernel of the other end, and so the work of one of its sockets. It pays between machines with cores to\n" +
			"spare, whose daemons have several sockets (--sockets) and whose guests send by several queues. Frames of one flow stay on one port.\n" +
			"Each port is tried both ways before it carries, and given up for the first when it gets no answers; `vnet links` says which and why.",
		Example: "  vnet link ports host2 3",
		Args:    cobra.ExactArgs(2),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			if err := overlay.ValidName(args[0]); err != nil {
				return usagef("cannot change link: %w", err)
			}
			n, err := strconv.ParseUint(args[1], 10, 32)
			if err != nil {
				return usagef("cannot use %q extra ports: give a number from 0 to %d", args[1], link.MaxExtraPorts)
			}
			if _, err := link.ExtraPortCount(uint32(n)); err != nil {
				return usagef("%w", err)
			}
			resp, err := ask(cmd, c.daemon().SetLinkPorts, &api.SetLinkPortsRequest{Node: c.node, Peer: args[0], ExtraPorts: uint32(n)})
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) {
				if resp.GetLink() == nil {
					t.line("there is no link to %s now; the next will have them", args[0])
					return
				}
				printLinks(t, resp.GetLink())
			})
		}),
		ValidArgsFunction: completeFirst(c.linkNames),
	}
}

func parseCarrier(s string) (api.Carrier, error) {
	if value, ok := api.Carrier_value["CARRIER_"+strings.ToUpper(s)]; ok && value != 0 {
		return api.Carrier(value), nil
	}
	return 0, usagef("cannot use carrier %q: give auto, udp or tcp", s)
}
