package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/lang"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// generating is one run of vnet generate.
type generating struct {
	rules string
	route string
	with  string
	live  bool
}

func generateCommand(c *cli) *cobra.Command {
	var g generating
	cmd := &cobra.Command{
		Use:   "generate SHAPE [XxY] [NODE…]",
		Short: "Print the description of an overlay of a given shape",
		Long: `Print the description of an overlay of a given shape: ring, bus, mesh XxY, torus XxY, hypercube, all-to-all, tree or
star (no links but the overlay's own). Nodes are linked in the order in which they are given; without any, those of --with or
--live are taken, hosts only.

Rules lead the frames between VMs over the links; the VMs come from the description --with, or from the overlay itself with
--live. --rules needed makes rules for VMs whose nodes are linked, --rules all for all pairs: hop by hop over the shape, or with
--route direct over further links of their own. What has no rules takes the star.`,
		Example: `  vnet generate ring host1 host2 host3 host4
  vnet generate hypercube --live --rules all | vnet apply -
  vnet generate mesh 4x2 --with vms.vnet`,
		Annotations: map[string]string{plainKey: "a description (docs/language.md)"},
		Args:        cobra.MinimumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return lang.Shapes(), cobra.ShellCompDirectiveNoFileComp
			}
			return c.nodeNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			m, err := g.run(c, cmd, args)
			if err != nil {
				return err
			}
			_, err = c.out.Write(lang.Format(lang.Describe(m)))
			return err
		}),
	}
	cmd.Flags().StringVar(&g.rules, "rules", "", "none, needed or all (default: needed where VMs are known, else none)")
	cmd.Flags().StringVar(&g.route, "route", "hops", "direct or hops: how --rules all leads frames of nodes that the shape does not link")
	cmd.Flags().StringVar(&g.with, "with", "", "take nodes and VMs from the description in `FILE`")
	cmd.Flags().BoolVar(&g.live, "live", false, "take nodes and VMs from the overlay")
	complete(cmd, "rules", func() []string { return []string{"none", "needed", "all"} })
	complete(cmd, "route", func() []string { return []string{"direct", "hops"} })
	return cmd
}

func (g generating) run(c *cli, cmd *cobra.Command, args []string) (*lang.Meaning, error) {
	var l lang.Layout
	shape, args := args[0], args[1:]
	x, y := 0, 0
	if shape == "mesh" || shape == "torus" {
		var err error
		if x, y, err = sides(args); err != nil {
			return nil, err
		}
		args = args[1:]
	}
	for _, name := range args {
		if err := overlay.ValidName(name); err != nil {
			return nil, usageError{err}
		}
		if slices.Contains(l.Nodes, overlay.Name(name)) {
			return nil, usagef("cannot use node %s twice", name)
		}
		l.Nodes = append(l.Nodes, overlay.Name(name))
	}
	nodes, err := g.known(c, cmd, &l)
	if err != nil {
		return nil, err
	}
	if l.Edges, err = lang.Edges(shape, len(l.Nodes), x, y); err != nil {
		return nil, usageError{err}
	}
	switch g.rules {
	case "":
		if len(l.VMs) > 0 {
			l.Rules = lang.NeededRules
		}
	case "needed", "all":
		l.Rules = lang.NeededRules
		if g.rules == "all" {
			l.Rules = lang.AllRules
		}
		if len(l.VMs) == 0 {
			return nil, usagef("cannot make rules: no VMs are known; give --live, or a description of them --with FILE")
		}
	case "none":
	default:
		return nil, usagef("cannot make rules %q: give none, needed or all", g.rules)
	}
	if l.Direct = g.route == "direct"; !l.Direct && g.route != "hops" {
		return nil, usagef("cannot route %q: give direct or hops", g.route)
	}
	if l.Rules == lang.NoRules {
		l.VMs = nil
	}
	m, err := lang.Generate(l)
	if err == nil {
		m.Nodes = nodes
	}
	return m, err
}

// sides reads XxY.
func sides(args []string) (x, y int, err error) {
	if len(args) > 0 {
		a, b, ok := strings.Cut(args[0], "x")
		x, errX := strconv.Atoi(a)
		y, errY := strconv.Atoi(b)
		if ok && errX == nil && errY == nil && x > 0 && y > 0 && x <= 1000 && y <= 1000 {
			return x, y, nil
		}
	}
	return 0, 0, usagef("cannot make a mesh or torus without its sides: give them as XxY, such as 4x2")
}

// known fills in the VMs, and the nodes where none were named. It returns what a description says of its nodes.
func (g generating) known(c *cli, cmd *cobra.Command, l *lang.Layout) (nodes []lang.Node, err error) {
	var m *lang.Meaning
	switch {
	case g.with != "" && g.live:
		return nil, usagef("cannot take VMs from two places: give --with or --live")
	case g.with != "":
		f, err := c.described(g.with)
		if err != nil {
			return nil, wrongFile(err)
		}
		m = f.Meaning()
		nodes = m.Nodes
	case g.live:
		resp, err := ask(cmd, c.daemon().GetOverlay, &api.GetOverlayRequest{Node: c.node})
		if err != nil {
			return nil, err
		}
		if m, err = liveVMs(resp.GetOverlay()); err != nil {
			return nil, err
		}
	default:
		return nil, nil
	}
	if err := isThere(l.Nodes, m.Nodes); err != nil {
		return nil, err
	}
	if len(l.Nodes) == 0 {
		for _, n := range m.Nodes {
			if !n.Proxy {
				l.Nodes = append(l.Nodes, n.Name)
			}
		}
	}
	for _, v := range m.VMs {
		if slices.Contains(l.Nodes, v.Node) {
			l.VMs = append(l.VMs, v)
		}
	}
	return nodes, nil
}

// isThere says which of the named nodes is not among the known ones, or is the Proxy, which has a link to everybody by itself.
func isThere(named []overlay.Name, known []lang.Node) error {
	for _, name := range named {
		i := slices.IndexFunc(known, func(n lang.Node) bool { return n.Name == name })
		switch {
		case len(known) == 0: // a description that declares no nodes may name any
		case i < 0:
			var names []string
			for _, n := range known {
				names = append(names, string(n.Name))
			}
			return fmt.Errorf("cannot find node %s: there are %s", name, list(names))
		case known[i].Proxy:
			return fmt.Errorf("cannot use %s in a shape: it is the Proxy, and every host has a link to it by itself", name)
		}
	}
	return nil
}

// liveVMs are the VMs that are there, under names that are unique, and the nodes.
func liveVMs(o *api.Overlay) (*lang.Meaning, error) {
	m := &lang.Meaning{}
	for _, n := range o.GetNodes() {
		m.Nodes = append(m.Nodes, lang.Node{Name: overlay.Name(n.GetName()), Proxy: n.GetRole() == api.Role_ROLE_PROXY})
	}
	taken := map[string]bool{}
	for _, v := range o.GetVms() {
		mac, err := ether.ParseMAC(v.GetMac())
		if err != nil {
			return nil, fmt.Errorf("cannot use the daemon's answer: %w", err)
		}
		name := v.GetName()
		if name == "" {
			continue // a stranger on a LAN, or one that is nowhere
		}
		if taken[name] {
			name = fmt.Sprintf("%s.%s", name, v.GetNode())
		}
		if taken[name] {
			continue
		}
		taken[name] = true
		m.VMs = append(m.VMs, lang.VM{Name: name, MAC: mac, Node: overlay.Name(v.GetNode()), Port: v.GetPort()})
	}
	return m, nil
}
