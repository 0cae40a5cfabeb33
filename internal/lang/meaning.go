package lang

import (
	"slices"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// defaultProxy stands for the Proxy of a file that names none.
const defaultProxy = overlay.Name("proxy")

// Meaning is what a file says, without its layout. Statements of a kind keep their order.
type Meaning struct {
	Nodes   []Node
	VMs     []VM
	Links   []Link
	Rules   []Rule
	Pins    []Pin
	Forbids []Forbid
	Limits  []MaxLinks
	Costs   []Cost
	Seals   []Seal
	Ports   []Port
	Mode    string // empty = not said

	byName map[string]ether.MAC // of VMs, when it came out of a file; nil = look through VMs
}

// Meaning is what the file says.
func (f *File) Meaning() *Meaning {
	m := &Meaning{}
	for _, s := range f.Statements() {
		switch s := s.(type) {
		case Node:
			m.Nodes = append(m.Nodes, s)
		case VM:
			m.VMs = append(m.VMs, s)
		case Link:
			m.Links = append(m.Links, s)
		case Rule:
			m.Rules = append(m.Rules, s)
		case Pin:
			m.Pins = append(m.Pins, s)
		case Forbid:
			m.Forbids = append(m.Forbids, s)
		case MaxLinks:
			m.Limits = append(m.Limits, s)
		case Cost:
			m.Costs = append(m.Costs, s)
		case Seal:
			m.Seals = append(m.Seals, s)
		case Port:
			m.Ports = append(m.Ports, s)
		case Mode:
			m.Mode = s.Mode
		}
	}
	m.byName = make(map[string]ether.MAC, len(m.VMs))
	for _, v := range m.VMs {
		m.byName[v.Name] = v.MAC
	}
	return m
}

// Proxy is the node that the file names as Proxy; false if it names none.
func (m *Meaning) Proxy() (overlay.Name, bool) {
	if i := slices.IndexFunc(m.Nodes, func(n Node) bool { return n.Proxy }); i >= 0 {
		return m.Nodes[i].Name, true
	}
	return defaultProxy, false
}

// Resolve is the address of a VM; false when the file does not say it.
func (m *Meaning) Resolve(v VMRef) (ether.MAC, bool) {
	if v.Name == "" {
		return v.MAC, true
	}
	if m.byName != nil {
		mac, ok := m.byName[v.Name]
		return mac, ok
	}
	if i := slices.IndexFunc(m.VMs, func(vm VM) bool { return vm.Name == v.Name }); i >= 0 {
		return m.VMs[i].MAC, true
	}
	return ether.MAC{}, false
}

// Match is what an address of a rule asks of a frame. It is only called for what Resolve finds.
func (m *Meaning) Match(a Address) overlay.Match {
	match := overlay.Match{Kind: a.Kind}
	if a.Kind == overlay.Exact || a.Kind == overlay.Not {
		match.MAC, _ = m.Resolve(a.VM)
	}
	return match
}

// RuleOf is a rule as a node has it, without number.
func (m *Meaning) RuleOf(u Rule) overlay.Rule {
	return overlay.Rule{Arrival: u.From, Src: m.Match(u.Src), Dst: m.Match(u.Dst), Out: u.To, Origin: overlay.OriginUser}
}

// LinkOf is a link as the overlay has it.
func (l Link) LinkOf() overlay.Link {
	out := overlay.MakeLink(l.A, l.B, overlay.OriginUser)
	out.Carrier, out.Cipher, out.ExtraPorts = l.Carrier, l.Cipher, l.ExtraPorts
	return out
}

// Will is what the file asks of adaptation.
func (m *Meaning) Will() overlay.Will {
	w := overlay.Will{Mode: m.Mode}
	for _, p := range m.Pins {
		one := overlay.Pin{A: p.A, B: p.B, Star: p.Star, Via: slices.Clone(p.Via)}
		if p.Path {
			one.Kind = overlay.PinPath
			one.X, _ = m.Resolve(p.X)
			one.Y, _ = m.Resolve(p.Y)
		}
		w.Pins = append(w.Pins, one)
	}
	for _, f := range m.Forbids {
		one := overlay.Forbid{Kind: f.Kind, A: f.A, B: f.B}
		if f.Kind == overlay.ForbidPair {
			one.X, _ = m.Resolve(f.X)
			one.Y, _ = m.Resolve(f.Y)
		}
		w.Forbids = append(w.Forbids, one)
	}
	for _, l := range m.Limits {
		if l.Node == "" {
			w.MaxLinks = &l.Max
			continue
		}
		if w.MaxAt == nil {
			w.MaxAt = map[overlay.Name]int{}
		}
		w.MaxAt[l.Node] = l.Max
	}
	for _, p := range m.Ports {
		if l := m.limitOf(p); !l.IsZero() {
			w.Ports = append(w.Ports, l)
		}
	}
	for _, c := range m.Costs {
		w.Costs = append(w.Costs, overlay.Cost{A: c.A, B: c.B, Factor: c.Factor})
	}
	for _, s := range m.Seals {
		w.Seals = append(w.Seals, overlay.Seal{A: s.A, B: s.B})
	}
	return w.Normal()
}

// Overlay is the overlay as the file describes it, as if there were nothing else. Rules are numbered in their order from 1,
// over all nodes. A node has the ports that the file names anywhere.
func (m *Meaning) Overlay() *overlay.Overlay {
	proxy, _ := m.Proxy()
	o := overlay.New(proxy)
	node := func(name overlay.Name) *overlay.Node {
		if o.Nodes[name] == nil {
			o.Nodes[name] = &overlay.Node{Name: name}
		}
		return o.Nodes[name]
	}
	port := func(name overlay.Name, p string, lan bool) {
		if n := node(name); p != "" && !n.HasPort(p) {
			n.Ports = append(n.Ports, overlay.Port{Name: p, LAN: lan})
		}
	}
	side := func(at overlay.Name, s overlay.Side) {
		switch s.Kind {
		case overlay.PortSide:
			port(at, s.Name, false)
		case overlay.LinkSide:
			node(s.Peer())
		}
	}
	for _, n := range m.Nodes {
		node(n.Name)
		for _, i := range n.TAPs {
			port(n.Name, i.Port, false)
		}
		for _, i := range n.LANs {
			port(n.Name, i.Port, true)
		}
	}
	for _, v := range m.VMs {
		if v.Node != "" {
			port(v.Node, v.Port, false)
		}
		o.VMs[v.MAC] = overlay.VM{MAC: v.MAC, Name: v.Name, Node: v.Node, Port: v.Port, Declared: true}
	}
	for _, p := range m.Ports {
		port(p.Node, p.Port, false)
	}
	for _, l := range m.Links {
		node(l.A)
		node(l.B)
		o.AddLink(l.LinkOf())
	}
	for i, u := range m.Rules {
		side(u.Node, u.From)
		side(u.Node, u.To)
		r := m.RuleOf(u)
		r.ID = uint64(i + 1)
		n := node(u.Node)
		n.Rules = append(n.Rules, r)
	}
	return o
}
