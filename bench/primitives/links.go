package main

import (
	"context"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/api/vnet/v1/vnetv1connect"
	"github.com/virtuoso-vnet/virtuoso/bench"
)

const (
	linksRole = "bench-links"
	// quiet is how long after a deletion nothing of a link is left, with the second that stragglers are given.
	quiet = 2 * time.Second
	// linkPaper is the paper's primitive, which did not wait for the link to stand.
	linkPaper = 20
)

// pair is two hosts.
type pair struct{ a, b string }

// measureLinks is the role, at the Proxy: one link after the other between all pairs, then all are deleted.
func measureLinks(ctx context.Context, o order) ([]bench.Row, error) {
	daemon := bench.Client()
	var pairs []pair
	for i, a := range o.Hosts {
		for _, b := range o.Hosts[i+1:] {
			pairs = append(pairs, pair{a, b})
		}
	}
	var out rows
	for range o.Rounds {
		for _, wait := range []bool{true, false} {
			row := bench.Row{Lab: o.Lab, What: "link add, proven" + o.Load, Paper: linkPaper}
			if !wait {
				row.What, row.Aim = "link add, accepted"+o.Load, callAim
			}
			for _, p := range pairs {
				if o.Load == "" {
					bench.Quiet()
				}
				took, err := bench.Time(func() error {
					_, err := daemon.AddLink(ctx, &vnetv1.AddLinkRequest{Node: p.a, Peer: p.b, NoWait: !wait})
					return err
				})
				if err != nil {
					return nil, err
				}
				out.add(row, took)
				if !wait {
					if err := settled(ctx, daemon, p); err != nil {
						return nil, err
					}
				}
			}
			if err := deleteAll(ctx, daemon, pairs); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// settled waits until the link that was accepted stands.
func settled(ctx context.Context, daemon vnetv1connect.DaemonClient, p pair) error {
	ctx, cancel := context.WithTimeout(ctx, 6*quiet)
	defer cancel()
	for {
		list, err := daemon.ListLinks(ctx, &vnetv1.ListLinksRequest{Node: p.a})
		if err != nil {
			return err
		}
		for _, l := range list.GetLinks() {
			if l.GetName() == p.b && l.GetState() == vnetv1.LinkState_LINK_STATE_UP {
				return nil
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// deleteAll takes all links away in one change and waits until they are gone. A link that was accepted may stand
// before its change has committed, and only then can it be deleted.
func deleteAll(ctx context.Context, daemon vnetv1connect.DaemonClient, pairs []pair) error {
	time.Sleep(quiet / 2)
	req := &vnetv1.ApplyChangeRequest{What: "deleting all links"}
	for _, p := range pairs {
		req.DeleteLinks = append(req.DeleteLinks, &vnetv1.LinkEdit{A: p.a, B: p.b})
	}
	_, err := daemon.ApplyChange(ctx, req)
	time.Sleep(quiet)
	return err
}

// forget deletes the user's rules for a destination.
func forget(ctx context.Context, daemon vnetv1connect.DaemonClient, dst string) error {
	list, err := daemon.ListRules(ctx, &vnetv1.ListRulesRequest{Origin: "user"})
	if err != nil {
		return err
	}
	for _, r := range list.GetRules() {
		if r.GetDst() == dst {
			if _, err := daemon.DeleteRule(ctx, &vnetv1.DeleteRuleRequest{Id: r.GetId()}); err != nil {
				return err
			}
		}
	}
	return nil
}
