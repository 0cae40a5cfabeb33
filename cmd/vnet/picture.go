package main

import (
	"cmp"
	"fmt"
	"strings"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// picture is a graph for Graphviz or Mermaid.
type picture struct {
	nodes []drawn
	edges []edge
}

// drawn is a node of a picture.
type drawn struct {
	id, label string
	box       bool // a daemon; otherwise round, a VM
}

// edge joins two nodes of a picture.
type edge struct {
	a, b, label string
	style       string // solid, dashed, bold
}

// pictureOf shows nodes, their VMs, and links by origin: the star dashed, adaptation's bold.
func pictureOf(o *api.Overlay) picture {
	var p picture
	for _, n := range o.GetNodes() {
		p.nodes = append(p.nodes, drawn{id: "node " + n.GetName(), label: n.GetName(), box: true})
		if n.GetName() != o.GetProxy() {
			p.edges = append(p.edges, edge{a: "node " + n.GetName(), b: "node " + o.GetProxy(), style: "dashed"})
		}
	}
	for _, v := range o.GetVms() {
		if v.GetNode() != "" {
			p.nodes = append(p.nodes, drawn{id: "vm " + v.GetMac(), label: cmp.Or(v.GetName(), v.GetMac())})
			p.edges = append(p.edges, edge{a: "vm " + v.GetMac(), b: "node " + v.GetNode(), style: "solid"})
		}
	}
	for _, l := range o.GetLinks() {
		e := edge{a: "node " + l.GetA(), b: "node " + l.GetB(), label: l.GetOrigin(), style: "solid"}
		if l.GetOrigin() == "adapted" {
			e.style = "bold"
		}
		p.edges = append(p.edges, e)
	}
	return p
}

// pictureOfApp shows the VMs that talk together, and how much.
func pictureOfApp(app *api.App) picture {
	var p picture
	seen := map[string]bool{}
	for _, g := range app.GetGroups() {
		for _, e := range g.GetEdges() {
			for _, end := range [][2]string{{e.GetAMac(), e.GetA()}, {e.GetBMac(), e.GetB()}} {
				if !seen[end[0]] {
					seen[end[0]] = true
					p.nodes = append(p.nodes, drawn{id: "vm " + end[0], label: cmp.Or(end[1], end[0])})
				}
			}
			p.edges = append(p.edges, edge{a: "vm " + e.GetAMac(), b: "vm " + e.GetBMac(), label: bitrate(e.GetRateBps()), style: "solid"})
		}
	}
	return p
}

// draw prints a picture as the user asked.
func (c *cli) draw(p picture) error {
	text := p.dot()
	if c.output == "mermaid" {
		text = p.mermaid()
	}
	_, err := fmt.Fprint(c.out, text)
	return err
}

func (p picture) dot() string {
	var b strings.Builder
	b.WriteString("graph overlay {\n")
	for _, n := range p.nodes {
		shape := "ellipse"
		if n.box {
			shape = "box"
		}
		fmt.Fprintf(&b, "\t%q [label=%q, shape=%s];\n", n.id, n.label, shape)
	}
	for _, e := range p.edges {
		fmt.Fprintf(&b, "\t%q -- %q [style=%s", e.a, e.b, e.style)
		if e.label != "" {
			fmt.Fprintf(&b, ", label=%q", e.label)
		}
		b.WriteString("];\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func (p picture) mermaid() string {
	var b strings.Builder
	b.WriteString("graph LR\n")
	ids := map[string]string{} // Mermaid's own have no spaces and colons
	for i, n := range p.nodes {
		ids[n.id] = fmt.Sprintf("n%d", i)
		shape := [2]string{"([", "])"}
		if n.box {
			shape = [2]string{"[", "]"}
		}
		fmt.Fprintf(&b, "    n%d%s\"%s\"%s\n", i, shape[0], n.label, shape[1])
	}
	for _, e := range p.edges {
		arrow := map[string]string{"dashed": "-.-", "bold": "===", "solid": "---"}[e.style]
		label := ""
		if e.label != "" {
			label = "|" + e.label + "|"
		}
		fmt.Fprintf(&b, "    %s %s%s %s\n", ids[e.a], arrow, label, ids[e.b])
	}
	return b.String()
}
