package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/lang"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

func showCommand(c *cli) *cobra.Command {
	return c.group("show", "Print the overlay as it is", showTopologyCommand(c))
}

func showTopologyCommand(c *cli) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "topology",
		Short: "Print the live overlay as a description",
		Long: `Print the live overlay as a description (docs/language.md). Every node is asked what it holds; one that differs from the
Proxy's record is shown. What the user wants are statements; what was learned, adaptation's and the star are comments, and with
--all statements as far as the language has them.`,
		Example: `  vnet show topology > home.vnet
  vnet show topology -o dot | dot -Tsvg > home.svg`,
		Args:        cobra.NoArgs,
		Annotations: formats("dot", "mermaid"),
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			resp, err := ask(cmd, c.daemon().GetOverlay, &api.GetOverlayRequest{Node: c.node, Compare: true})
			if err != nil {
				return err
			}
			switch c.output {
			case "json":
				return c.show(resp, nil)
			case "dot", "mermaid":
				return c.draw(pictureOf(resp.GetOverlay()))
			}
			f, err := describeLive(resp.GetOverlay(), all)
			if err == nil {
				_, err = c.out.Write(lang.Format(f))
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "print what is not the user's as statements too")
	return cmd
}

// live is the overlay in an answer, as a file is made of it.
type live struct {
	*overlay.Overlay
	mine  []lang.VM // named by the user
	will  *lang.Meaning
	names lang.Names
}

func readLive(o *api.Overlay) (*live, error) {
	l := &live{Overlay: overlay.New(overlay.Name(o.GetProxy())), names: lang.Names{}}
	for _, n := range o.GetNodes() {
		one := &overlay.Node{Name: overlay.Name(n.GetName())}
		for _, p := range n.GetPorts() {
			one.Ports = append(one.Ports, overlay.Port{Name: p.GetName(), LAN: p.GetLan()})
		}
		for _, r := range n.GetRules() {
			rule, err := overlay.ParseRule(fmt.Sprintf("from %s src %s dst %s to %s", r.GetArrival(), r.GetSrc(), r.GetDst(), r.GetOut()))
			if err == nil {
				rule.Origin, err = overlay.ParseOrigin(r.GetOrigin())
			}
			if err != nil {
				return nil, err
			}
			rule.ID = r.GetId()
			one.Rules = append(one.Rules, rule)
		}
		l.Nodes[one.Name] = one
	}
	for _, v := range o.GetVms() {
		mac, err := ether.ParseMAC(v.GetMac())
		if err != nil {
			return nil, err
		}
		l.VMs[mac] = overlay.VM{MAC: mac, Name: v.GetName(), Node: overlay.Name(v.GetNode()), Port: v.GetPort(), Declared: v.GetDeclared()}
		if v.GetNamed() {
			mine := lang.VM{Name: v.GetName(), MAC: mac}
			if v.GetDeclared() {
				mine.Node, mine.Port = overlay.Name(v.GetNode()), v.GetPort()
			}
			l.mine = append(l.mine, mine)
			l.names[mac] = v.GetName()
		}
	}
	for _, k := range o.GetLinks() {
		origin, err := overlay.ParseOrigin(k.GetOrigin())
		if err != nil {
			return nil, err
		}
		link := overlay.MakeLink(overlay.Name(k.GetA()), overlay.Name(k.GetB()), origin)
		link.Carrier = k.GetCarrier()
		l.AddLink(link)
	}
	f, err := lang.Parse("the user's will", []byte("vnet 1\n"+strings.Join(o.GetWill(), "\n")+"\n"))
	if err != nil {
		return nil, err
	}
	l.will = f.Meaning()
	return l, nil
}

// describeLive lays the live overlay out as a file.
func describeLive(o *api.Overlay, all bool) (*lang.File, error) {
	l, err := readLive(o)
	if err != nil {
		return nil, fmt.Errorf("cannot use the daemon's answer: %w", err)
	}
	user := lang.Live{Overlay: l.Overlay, Will: l.will.Will(), VMs: l.mine}.Meaning()
	for _, name := range l.Names() {
		n := lang.Node{Name: name, Proxy: name == l.Proxy}
		for _, p := range l.Nodes[name].Ports {
			face := lang.Interface{Port: p.Name, Device: p.Name}
			if p.LAN {
				n.LANs = append(n.LANs, face)
			} else {
				n.TAPs = append(n.TAPs, face)
			}
		}
		user.Nodes = append(user.Nodes, n)
	}
	f := lang.Describe(user)
	var notes []string
	for _, text := range o.GetDifferences() {
		notes = append(notes, "# differs: "+text)
	}
	for _, name := range o.GetSilent() {
		notes = append(notes, "# not heard: "+name)
	}
	f.Parts[0].Before = notes
	if len(notes) > 0 { // a paragraph of its own
		f.Parts = append([]*lang.Part{{Before: notes}}, f.Parts...)
		f.Parts[1].Before, f.Parts[1].Gap = nil, true
	}
	l.others(f, all)
	return f, nil
}

// others adds what is not the user's.
func (l *live) others(f *lang.File, all bool) {
	first := true
	put := func(origin string, s lang.Statement, statement bool) {
		p := &lang.Part{Gap: first}
		first = false
		if statement {
			p.Is, p.After = s, "# "+origin
			f.Parts = append(f.Parts, p)
			return
		}
		line := fmt.Sprintf("# %s: %s %s", origin, s.Key(), strings.Join(s.Words(), " "))
		if last := f.Parts[len(f.Parts)-1]; !p.Gap && last.Is == nil && last.Key == "" {
			last.Before = append(last.Before, line)
			return
		}
		p.Before = []string{line}
		f.Parts = append(f.Parts, p)
	}
	taken := map[string]bool{}
	for _, v := range l.mine {
		taken[v.Name] = true
	}
	for _, vm := range (lang.FromOverlay(l.Overlay, func(overlay.Origin) bool { return true })).VMs {
		if l.names[vm.MAC] == "" {
			put("learned", vm, all && !taken[vm.Name])
			if all && !taken[vm.Name] {
				l.names[vm.MAC] = vm.Name
			}
			taken[vm.Name] = true
		}
	}
	for _, k := range l.Links {
		if k.Origin == overlay.OriginAdapted {
			put("adapted", lang.Link{A: k.A, B: k.B}, all)
		}
	}
	for _, name := range l.Names() {
		for _, r := range l.Nodes[name].Rules {
			if r.Origin != overlay.OriginUser {
				put(r.Origin.String(), l.names.RuleAt(name, r), all)
			}
		}
	}
	for _, name := range l.Names() {
		if name != l.Proxy {
			put("star", lang.Link{A: name, B: l.Proxy}, false)
		}
	}
}
