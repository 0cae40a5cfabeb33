package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/api/vnet/v1/vnetv1connect"
	"github.com/virtuoso-vnet/virtuoso/bench"
)

const (
	// changeRole makes the changes at the Proxy.
	changeRole = "bench-change"
	// quiet is how long after a change everything old is gone, with the second that stragglers are given.
	quiet = 2500 * time.Millisecond
)

// order is what the role is to do.
type order struct {
	Lab    string
	VMs    []vm
	Rounds int
}

// overlayNow is the overlay as the role has made it.
type overlayNow struct {
	daemon vnetv1connect.DaemonClient
	vms    []vm
	shape  shape
	held   []*vnetv1.RuleEdit // with ids
	rows   []bench.Row
	lab    string
}

// measureChanges is the role.
func measureChanges(ctx context.Context, o order) ([]bench.Row, error) {
	now := &overlayNow{daemon: bench.Client(), vms: o.VMs, shape: star(), lab: o.Lab}
	hops, needed := bus("bus, a rule at every hop for all pairs", o.VMs, len(o.VMs)), bus("bus, neighbours only", o.VMs, 1)
	var direct [3]shape
	for i, pattern := range []string{"alltoall", "ring", "hypercube"} {
		var err error
		if direct[i], err = joined([]string{"all-to-all", "ring", "hypercube"}[i], pattern, o.VMs); err != nil {
			return nil, err
		}
	}
	all, ring, cube := direct[0], direct[1], direct[2]
	for range o.Rounds {
		if err := now.renewStar(ctx); err != nil {
			return nil, err
		}
		for _, to := range []struct {
			shape shape
			paper float64
		}{
			{all, 1600}, {hops, 3230}, {star(), 0}, {hops, 3230}, {star(), 0}, {needed, 3230}, {star(), 0}, {ring, 0}, {star(), 0}, {cube, 0}, {star(), 0},
		} {
			if err := now.become(ctx, to.shape, to.paper); err != nil {
				return nil, err
			}
		}
	}
	return now.rows, nil
}

// note adds a value to the row of that name.
func (n *overlayNow) note(what string, value, paper float64) {
	i := slices.IndexFunc(n.rows, func(r bench.Row) bool { return r.What == what })
	if i < 0 {
		i = len(n.rows)
		n.rows = append(n.rows, bench.Row{Lab: n.lab, What: what, Aim: aim, Paper: paper})
	}
	n.rows[i].Values = append(n.rows[i].Values, value)
}

// renewStar has every host make a new star link beside its old one, all at once.
func (n *overlayNow) renewStar(ctx context.Context) error {
	bench.Quiet()
	took, err := bench.Time(func() error {
		var group sync.WaitGroup
		failures := make(chan error, len(n.vms))
		for _, one := range n.vms {
			group.Go(func() {
				_, err := n.daemon.RekeyLink(ctx, &vnetv1.RekeyLinkRequest{Node: one.Host, Peer: "proxy"})
				failures <- err
			})
		}
		group.Wait()
		close(failures)
		for err := range failures {
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot renew the star: %w", err)
	}
	n.note("8 running daemons → 8 new star links", took, 940)
	time.Sleep(quiet)
	return nil
}

// become makes the overlay another shape in one change, and waits until nothing of the old one is left.
func (n *overlayNow) become(ctx context.Context, to shape, paper float64) error {
	req := &vnetv1.ApplyChangeRequest{DeleteRules: n.held, AddRules: to.rules, What: "becoming " + to.name}
	req.AddLinks = missing(to.links, n.shape.links)
	req.DeleteLinks = missing(n.shape.links, to.links)
	bench.Quiet()
	var resp *vnetv1.ApplyChangeResponse
	took, err := bench.Time(func() (err error) {
		resp, err = n.daemon.ApplyChange(ctx, req)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot become %s: %w", to.name, err)
	}
	n.note(fmt.Sprintf("%s → %s (+%d links, +%d rules)", n.shape.name, to.name, len(req.AddLinks), len(req.AddRules)), took, paper)
	n.shape, n.held = to, resp.GetRules()
	if err := n.check(ctx); err != nil {
		return err
	}
	time.Sleep(quiet)
	return nil
}

// check asks every node what it really holds.
func (n *overlayNow) check(ctx context.Context) error {
	for _, one := range n.vms {
		want := len(slices.DeleteFunc(slices.Clone(n.shape.rules), func(r *vnetv1.RuleEdit) bool { return r.GetNode() != one.Host }))
		rules, err := n.daemon.ListRules(ctx, &vnetv1.ListRulesRequest{Node: one.Host, Origin: "user"})
		if err != nil {
			return err
		}
		have := slices.DeleteFunc(rules.GetRules(), func(r *vnetv1.Rule) bool {
			return !slices.ContainsFunc(n.held, func(h *vnetv1.RuleEdit) bool { return h.GetRule().GetId() == r.GetId() })
		})
		if len(have) != want {
			return fmt.Errorf("cannot trust %s: %s holds %d of %d rules", n.shape.name, one.Host, len(have), want)
		}
		for _, r := range have {
			if !r.GetActive() {
				return fmt.Errorf("cannot trust %s: rule %d of %s is not in force", n.shape.name, r.GetId(), one.Host)
			}
		}
	}
	return nil
}

// missing are the links of a that b lacks.
func missing(a, b []*vnetv1.LinkEdit) []*vnetv1.LinkEdit {
	return slices.DeleteFunc(slices.Clone(a), func(l *vnetv1.LinkEdit) bool {
		return slices.ContainsFunc(b, func(o *vnetv1.LinkEdit) bool { return o.A == l.A && o.B == l.B })
	})
}
