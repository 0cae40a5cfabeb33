package lang

import (
	"maps"
	"slices"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Describe lays a meaning out as a file: a block for each kind of statement that there is more than one of.
func Describe(m *Meaning) *File {
	f := &File{}
	f.add(versionStatement{})
	section(f, m.Nodes)
	section(f, m.VMs)
	section(f, m.Links)
	section(f, m.Rules)
	section(f, m.Pins)
	section(f, m.Forbids)
	section(f, m.Limits)
	section(f, m.Costs)
	section(f, m.Seals)
	section(f, m.Ports)
	if m.Mode != "" {
		f.add(Mode{Mode: m.Mode})
	}
	return f
}

func (f *File) add(s Statement) *Part {
	p := &Part{Is: s, Gap: len(f.Parts) > 0}
	f.Parts = append(f.Parts, p)
	return p
}

func section[S Statement](f *File, list []S) {
	switch len(list) {
	case 0:
	case 1:
		f.add(list[0])
	default:
		block := &Part{Gap: true, Key: list[0].Key()}
		for _, s := range list {
			block.Lines = append(block.Lines, &Part{Is: s})
		}
		f.Parts = append(f.Parts, block)
	}
}

// Names are what people call VMs.
type Names map[ether.MAC]string

func (n Names) ref(mac ether.MAC) VMRef {
	if name := n[mac]; name != "" {
		return VMRef{Name: name}
	}
	return VMRef{MAC: mac}
}

func (n Names) address(m overlay.Match) Address {
	a := Address{Kind: m.Kind}
	if m.Kind == overlay.Exact || m.Kind == overlay.Not {
		a.VM = n.ref(m.MAC)
	}
	return a
}

// RuleAt puts a rule of a node into words.
func (n Names) RuleAt(at overlay.Name, r overlay.Rule) Rule {
	return Rule{Node: at, From: r.Arrival, Src: n.address(r.Src), Dst: n.address(r.Dst), To: r.Out}
}

// PutWill puts a will into words.
func (m *Meaning) PutWill(w overlay.Will, names Names) {
	w = w.Normal()
	m.Mode = w.Mode
	for _, p := range w.Pins {
		one := Pin{Path: p.Kind == overlay.PinPath, A: p.A, B: p.B, Star: p.Star, Via: p.Via}
		if one.Path {
			one.X, one.Y = names.ref(p.X), names.ref(p.Y)
		}
		m.Pins = append(m.Pins, one)
	}
	for _, f := range w.Forbids {
		one := Forbid{Kind: f.Kind, A: f.A, B: f.B}
		if f.Kind == overlay.ForbidPair {
			one.X, one.Y = names.ref(f.X), names.ref(f.Y)
		}
		m.Forbids = append(m.Forbids, one)
	}
	if w.MaxLinks != nil {
		m.Limits = append(m.Limits, MaxLinks{Max: *w.MaxLinks})
	}
	for _, n := range slices.Sorted(maps.Keys(w.MaxAt)) {
		m.Limits = append(m.Limits, MaxLinks{Node: n, Max: w.MaxAt[n]})
	}
	for _, l := range w.Ports {
		m.Ports = append(m.Ports, names.portOf(l))
	}
	for _, c := range w.Costs {
		m.Costs = append(m.Costs, Cost{A: c.A, B: c.B, Factor: c.Factor})
	}
	for _, s := range w.Seals {
		m.Seals = append(m.Seals, Seal{A: s.A, B: s.B})
	}
}

// FromOverlay puts those links and rules of an overlay into words that keep wants, and every declared VM. Nodes are left to
// the caller, who knows their machines.
func FromOverlay(o *overlay.Overlay, keep func(overlay.Origin) bool) *Meaning {
	m, names := &Meaning{}, Names{}
	taken := map[string]bool{}
	for _, mac := range slices.SortedFunc(maps.Keys(o.VMs), ether.MAC.Compare) {
		v := o.VMs[mac]
		if !v.Declared && !keep(overlay.OriginLearned) || v.Name == "" || badVMName(v.Name) != "" || taken[v.Name] {
			continue
		}
		taken[v.Name] = true
		names[mac] = v.Name
		m.VMs = append(m.VMs, VM{Name: v.Name, MAC: mac, Node: v.Node, Port: v.Port})
	}
	for _, l := range o.Links {
		if keep(l.Origin) && !o.IsStar(l.A, l.B) {
			m.Links = append(m.Links, Link{A: l.A, B: l.B, Carrier: carrierWord(l.Carrier), Cipher: l.Cipher, ExtraPorts: l.ExtraPorts})
		}
	}
	for _, name := range o.Names() {
		rules := slices.Clone(o.Nodes[name].Rules)
		slices.SortFunc(rules, func(a, b overlay.Rule) int { return int(int64(a.ID) - int64(b.ID)) })
		for _, r := range rules {
			if keep(r.Origin) {
				m.Rules = append(m.Rules, names.RuleAt(name, r))
			}
		}
	}
	return m
}

func carrierWord(c string) string {
	if c == "auto" {
		return ""
	}
	return c
}

// NamesOf are the VMs' names in a meaning.
func (m *Meaning) NamesOf() Names {
	names := Names{}
	for _, v := range m.VMs {
		names[v.MAC] = v.Name
	}
	return names
}
