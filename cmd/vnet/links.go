package main

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func linksCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "links",
		Short: "The node's links to other nodes",
		Long: `The node's links to other nodes: the star, and fast paths beside it. ORIGIN is who wanted the link: star, user, or adapted for
adaptation. CARRIER is what carries it, and why; RTT the round trip of its packets. SENT and RECEIVED count frames since this session of the link
began, LOST those that were sent and did not arrive, DROPPED those that were not sent or not taken, by reason. EPOCH counts the
keys of a session. With -o json a number's unit is in its name: rttUs are microseconds.`,
		Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			resp, err := ask(cmd, c.daemon().ListLinks, &api.ListLinksRequest{Node: c.node})
			if err != nil {
				return err
			}
			slices.SortStableFunc(resp.GetLinks(), func(a, b *api.Link) int { // the star first
				return cmp.Or(cmp.Compare(a.GetKind(), b.GetKind()), strings.Compare(a.GetName(), b.GetName()))
			})
			return c.show(resp, func(t *table) { printLinks(t, resp.GetLinks()...) })
		}),
	}
}

func printLinks(t *table, links ...*api.Link) {
	t.row("LINK", "KIND", "ORIGIN", "STATE", "SINCE", "CARRIER", "CIPHER", "REMOTE", "RTT", "EPOCH", "SENT", "RECEIVED", "LOST", "DROPPED")
	for _, l := range links {
		carrier := word(l.GetCarrier(), "CARRIER_")
		if l.GetCarrierWhy() != "" {
			carrier += ": " + l.GetCarrierWhy()
		}
		state := word(l.GetState(), "LINK_STATE_")
		if l.GetState() != api.LinkState_LINK_STATE_UP && l.GetWhyDown() != "" {
			state += ": " + l.GetWhyDown()
		}
		rtt := ""
		if l.GetRttUs() > 0 {
			rtt = round(time.Duration(l.GetRttUs()) * time.Microsecond)
		}
		t.row(l.GetName(), word(l.GetKind(), "LINK_KIND_"), l.GetOrigin(), state, since(l.GetSince()), carrier, l.GetCipher(), l.GetRemote(), rtt,
			l.GetEpoch(), l.GetFramesSent(), l.GetFramesReceived(), l.GetWireLost(), drops(l.GetDrops()))
	}
	for _, l := range links {
		for i, p := range l.GetExtraPorts() {
			if p.GetUp() {
				t.line("%s: extra port %d, %d, carries", l.GetName(), i+1, p.GetPort())
			} else {
				t.line("%s: extra port %d is not used: %s", l.GetName(), i+1, p.GetWhy())
			}
		}
	}
}
