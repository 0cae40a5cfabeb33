package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/lang"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

func appCommand(c *cli) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "app",
		Short: "The application topology as inferred from the frames",
		Long: `The application topology as inferred from the frames: groups of VMs that talk together. "-o lang" prints a description
(docs/language.md) of the links and rules that would carry it, ready for "vnet apply".`,
		Args:        cobra.NoArgs,
		Annotations: formats("dot", "mermaid", "lang"),
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			return c.repeat(cmd, watch, func() error { return c.app(cmd) })
		}),
	}
	cmd.AddCommand(appSetCommand(c))
	return watching(cmd, &watch)
}

// app shows the application topology once.
func (c *cli) app(cmd *cobra.Command) error {
	resp, err := ask(cmd, c.daemon().GetApp, &api.GetAppRequest{Node: c.node})
	if err != nil {
		return err
	}
	switch c.output {
	case "dot", "mermaid":
		return c.draw(pictureOfApp(resp.GetApp()))
	case "lang":
		return c.appInLanguage(cmd, resp.GetApp())
	}
	return c.show(resp, func(t *table) { printApp(t, resp.GetApp()) })
}

func printApp(t *table, app *api.App) {
	if len(app.GetGroups()) == 0 {
		t.line("no group of VMs talks together")
	}
	for _, g := range app.GetGroups() {
		t.line("%s", groupText(g))
		if text := goalText(g.GetGoal()); text != "" {
			t.line("%s", text)
		}
		t.row("A", "B", "WEIGHT", "RATE", "SINCE")
		for _, e := range g.GetEdges() {
			t.row(cmp.Or(e.GetA(), e.GetAMac()), cmp.Or(e.GetB(), e.GetBMac()), fmt.Sprintf("%.2f", e.GetWeight()), bitrate(e.GetRateBps()), since(e.GetSince()))
		}
	}
}

// groupText is one line about a group: its shape, how sure, and the VMs in the order that shows it.
func groupText(g *api.Group) string {
	silent := ""
	if !g.GetActive() {
		silent = ", silent now"
	}
	text := fmt.Sprintf("%s of %d VMs since %s (confidence %.2f%s): %s",
		cmp.Or(g.GetName(), "no known pattern"), max(len(g.GetVms()), len(g.GetOrder())), since(g.GetSince()), g.GetConfidence(), silent, strings.Join(orderOf(g), " "))
	if len(g.GetNames()) > 1 {
		text += "; also a " + strings.Join(g.GetNames()[1:], ", ")
	}
	return text
}

// orderOf is the VMs of a group, in the order that shows its pattern if it has one.
func orderOf(g *api.Group) []string {
	if len(g.GetOrder()) == 0 {
		return g.GetVms()
	}
	return g.GetOrder()
}

// appInLanguage prints the direct links and rules that the application topology asks for.
func (c *cli) appInLanguage(cmd *cobra.Command, app *api.App) error {
	resp, err := ask(cmd, c.daemon().GetOverlay, &api.GetOverlayRequest{Node: c.node})
	if err != nil {
		return err
	}
	known, err := liveVMs(resp.GetOverlay())
	if err != nil {
		return err
	}
	m := &lang.Meaning{}
	for _, g := range app.GetGroups() {
		for _, e := range g.GetEdges() {
			a, okA := vmOf(known, e.GetAMac())
			b, okB := vmOf(known, e.GetBMac())
			if !okA || !okB || a.Node == b.Node {
				continue
			}
			part, err := lang.Generate(lang.Layout{Nodes: []overlay.Name{a.Node, b.Node}, VMs: []lang.VM{a, b}, Edges: [][2]int{{0, 1}}, Rules: lang.NeededRules})
			if err != nil {
				return err
			}
			join(m, part, overlay.Name(resp.GetOverlay().GetProxy()))
		}
	}
	_, err = c.out.Write(lang.Format(lang.Describe(m)))
	return err
}

func vmOf(m *lang.Meaning, mac string) (lang.VM, bool) {
	i := slices.IndexFunc(m.VMs, func(v lang.VM) bool { return v.MAC.String() == mac })
	if i < 0 || m.VMs[i].Port == "" {
		return lang.VM{}, false
	}
	return m.VMs[i], true
}

// join adds a part of a description; what is there is not said twice, and links of the star are there.
func join(m, part *lang.Meaning, proxy overlay.Name) {
	for _, v := range part.VMs {
		if !slices.ContainsFunc(m.VMs, func(o lang.VM) bool { return o.Name == v.Name }) {
			m.VMs = append(m.VMs, v)
		}
	}
	for _, l := range part.Links {
		same := func(o lang.Link) bool { return o.A == l.A && o.B == l.B || o.A == l.B && o.B == l.A }
		if l.A != proxy && l.B != proxy && !slices.ContainsFunc(m.Links, same) {
			m.Links = append(m.Links, l)
		}
	}
	m.Rules = append(m.Rules, part.Rules...)
}
