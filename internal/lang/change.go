package lang

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Live is an overlay with what its user asked of it: what a file is compared with.
type Live struct {
	Overlay *overlay.Overlay
	Will    overlay.Will // mode and overall limit are in force, never left open
	VMs     []VM         // that the user named
}

// Meaning is what the user governs of it, as a file would say it; nodes are not among it.
func (l Live) Meaning() *Meaning {
	m := FromOverlay(l.Overlay, func(o overlay.Origin) bool { return o == overlay.OriginUser })
	m.VMs = slices.Clone(l.VMs)
	slices.SortFunc(m.VMs, func(a, b VM) int { return strings.Compare(a.Name, b.Name) })
	names := m.NamesOf()
	m.Rules = nil
	for _, at := range l.Overlay.Names() {
		for _, r := range l.Overlay.Nodes[at].Rules {
			if r.Origin == overlay.OriginUser {
				m.Rules = append(m.Rules, names.RuleAt(at, r))
			}
		}
	}
	m.PutWill(l.Will, names)
	return m
}

// Revision changes when what the user governs does, and with nothing else.
func (l Live) Revision() string {
	var lines []string
	for _, s := range Describe(l.Meaning()).Statements() {
		lines = append(lines, s.Key()+" "+strings.Join(s.Words(), " "))
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:6])
}

// StepKind is what a step does.
type StepKind uint8

// The kinds of steps.
const (
	Add StepKind = iota
	Modify
	Delete
)

// String is the word for k.
func (k StepKind) String() string { return [...]string{"add", "change", "delete"}[min(k, Delete)] }

// Step is one difference between a live overlay and a file.
type Step struct {
	Kind StepKind
	What Statement
	Node bool // a node is missing, which no change of links and rules can mend
}

// Statement is the line of the language that the step is about.
func (s Step) Statement() string {
	return strings.Join(append([]string{s.What.Key()}, s.What.Words()...), " ")
}

// String is the step in words.
func (s Step) String() string {
	if s.Node {
		return fmt.Sprintf("start node: %s (vnet launch does, apply does not)", s.Statement())
	}
	return fmt.Sprintf("%s %s", s.Kind, s.Statement())
}

// Change is what makes a live overlay what a file says.
type Change struct {
	Target *overlay.Overlay // new rules have no number
	Will   overlay.Will
	VMs    []VM
	Steps  []Step // additions first
}

// Missing are the nodes that the file names and the overlay does not have.
func (c Change) Missing() (names []overlay.Name) {
	for _, s := range c.Steps {
		if n, ok := s.What.(Node); ok {
			names = append(names, n.Name)
		}
	}
	return names
}

// To is the change from the live overlay to what a file says. What was learned, what adaptation added and the star stay as they
// are; a link that adaptation's rules use and the file does not name becomes adaptation's.
func (l Live) To(m *Meaning) Change {
	c := Change{Target: l.Overlay.Clone(), VMs: slices.Clone(m.VMs), Will: m.Will()}
	if c.Will.Mode == "" {
		c.Will.Mode = l.Will.Mode
	}
	if c.Will.MaxLinks == nil {
		c.Will.MaxLinks = l.Will.MaxLinks
	}
	var deletes []Step
	for _, n := range m.named() {
		if l.Overlay.Nodes[n.Name] == nil {
			c.Steps = append(c.Steps, Step{Kind: Add, What: n, Node: true})
		}
	}
	named := m.NamesOf()
	for mac, name := range l.Meaning().NamesOf() {
		if _, ok := named[mac]; !ok && !slices.Contains(slices.Collect(maps.Values(named)), name) {
			named[mac] = name
		}
	}
	c.statements(l, named, &deletes)
	c.links(l.Overlay, m)
	c.rules(l.Overlay, m, named, &deletes)
	c.Steps = append(c.Steps, deletes...)
	for _, link := range l.Overlay.Links {
		now, there := c.Target.LinkBetween(link.A, link.B)
		if link.Origin == overlay.OriginUser && (!there || now.Origin != overlay.OriginUser) {
			c.Steps = append(c.Steps, Step{Kind: Delete, What: Link{A: link.A, B: link.B, Carrier: carrierWord(link.Carrier), Cipher: link.Cipher, ExtraPorts: link.ExtraPorts}})
		}
	}
	return c
}

// statements compares VMs and will, line by line.
func (c *Change) statements(l Live, names Names, deletes *[]Step) {
	lines := func(w overlay.Will, vms []VM) map[string]Statement {
		m := &Meaning{VMs: vms}
		m.PutWill(w, names)
		all := map[string]Statement{}
		for _, s := range Describe(m).Statements() {
			all[s.Key()+" "+strings.Join(s.Words(), " ")] = s
		}
		return all
	}
	have, want := lines(l.Will, l.VMs), lines(c.Will, c.VMs)
	for _, text := range slices.Sorted(maps.Keys(want)) {
		if have[text] == nil {
			c.Steps = append(c.Steps, Step{Kind: Add, What: want[text]})
		}
	}
	for _, text := range slices.Sorted(maps.Keys(have)) {
		if want[text] == nil && !c.replaces(have[text]) {
			*deletes = append(*deletes, Step{Kind: Delete, What: have[text]})
		}
	}
}

// replaces says whether a step puts something in the place of a line, so that nobody need be told that the old one goes; the
// step is then a change.
func (c *Change) replaces(s Statement) bool {
	for i, step := range c.Steps {
		same := false
		switch old := s.(type) {
		case Mode:
			_, same = step.What.(Mode)
		case MaxLinks:
			n, ok := step.What.(MaxLinks)
			same = ok && n.Node == old.Node
		case VM:
			n, ok := step.What.(VM)
			same = ok && n.MAC == old.MAC
		case Cost:
			n, ok := step.What.(Cost)
			same = ok && n.A == old.A && n.B == old.B
		case Port:
			n, ok := step.What.(Port)
			same = ok && n.Node == old.Node && n.Port == old.Port
		}
		if same {
			c.Steps[i].Kind = Modify
			return true
		}
	}
	return false
}

func (c *Change) links(o *overlay.Overlay, m *Meaning) {
	wanted := map[overlay.Link]bool{}
	for _, line := range m.Links {
		want := line.LinkOf()
		wanted[overlay.MakeLink(want.A, want.B, 0)] = true
		have, there := o.LinkBetween(want.A, want.B)
		switch {
		case !there || have.Origin != overlay.OriginUser:
			c.Steps = append(c.Steps, Step{Kind: Add, What: line})
		case carrierWord(have.Carrier) != want.Carrier || have.Cipher != want.Cipher, have.ExtraPorts != want.ExtraPorts:
			c.Steps = append(c.Steps, Step{Kind: Modify, What: line})
		default:
			continue
		}
		c.Target.AddLink(want)
	}
	for _, have := range o.Links {
		switch {
		case have.Origin != overlay.OriginUser || wanted[overlay.MakeLink(have.A, have.B, 0)]:
		case adaptedUse(o, have):
			have.Origin = overlay.OriginAdapted
			c.Target.AddLink(have)
		default:
			c.Target.RemoveLink(have.A, have.B)
		}
	}
}

// adaptedUse says whether a rule that is not the user's names the link.
func adaptedUse(o *overlay.Overlay, l overlay.Link) bool {
	for _, end := range [2]overlay.Name{l.A, l.B} {
		side := overlay.AtLink(l.Other(end))
		n := o.Nodes[end]
		if n != nil && slices.ContainsFunc(n.Rules, func(r overlay.Rule) bool {
			return r.Origin != overlay.OriginUser && (r.Arrival == side || r.Out == side)
		}) {
			return true
		}
	}
	return false
}

// placed is a rule at its node, without number.
type placed struct {
	node overlay.Name
	rule overlay.Rule
}

func (c *Change) rules(o *overlay.Overlay, m *Meaning, names Names, deletes *[]Step) {
	want := map[placed]bool{}
	held := map[placed]bool{}
	for _, line := range m.Rules {
		want[placed{line.Node, m.RuleOf(line)}] = true
	}
	for _, at := range o.Names() {
		n := c.Target.Nodes[at]
		n.Rules = slices.DeleteFunc(n.Rules, func(r overlay.Rule) bool {
			if r.Origin != overlay.OriginUser {
				return false
			}
			key := placed{at, r}
			key.rule.ID = 0
			if want[key] && !held[key] {
				held[key] = true
				return false
			}
			*deletes = append(*deletes, Step{Kind: Delete, What: names.RuleAt(at, r)})
			return true
		})
	}
	for _, line := range m.Rules {
		r := m.RuleOf(line)
		if key := (placed{line.Node, r}); held[key] {
			continue
		}
		c.Steps = append(c.Steps, Step{Kind: Add, What: line})
		if n := c.Target.Nodes[line.Node]; n != nil {
			n.Rules = append(n.Rules, r)
		}
	}
}

// MACOf finds a VM by name or address among those of the user and those that were learned.
func (l Live) MACOf(text string) (ether.MAC, error) {
	if mac, err := ether.ParseMAC(text); err == nil {
		return mac, nil
	}
	for _, v := range l.VMs {
		if v.Name == text {
			return v.MAC, nil
		}
	}
	var found []ether.MAC
	var names []string
	for _, mac := range slices.SortedFunc(maps.Keys(l.Overlay.VMs), ether.MAC.Compare) {
		v := l.Overlay.VMs[mac]
		if v.Name == text {
			found = append(found, mac)
		}
		if v.Name != "" {
			names = append(names, v.Name)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return ether.MAC{}, fmt.Errorf("cannot find VM %q%s: `vnet nodes` lists them with their nodes; or give its MAC address", clip(text), suggest(text, names))
	}
	return ether.MAC{}, fmt.Errorf("cannot tell which VM %q is: %d have the name; give one of %v", text, len(found), found)
}

// named are the nodes that the file declares, or names without declaring any.
func (m *Meaning) named() []Node {
	all := slices.Clone(m.Nodes)
	add := func(name overlay.Name) {
		if name != "" && !slices.ContainsFunc(all, func(n Node) bool { return n.Name == name }) {
			all = append(all, Node{Name: name})
		}
	}
	if len(m.Nodes) > 0 {
		return all
	}
	for _, l := range m.Links {
		add(l.A)
		add(l.B)
	}
	for _, r := range m.Rules {
		add(r.Node)
	}
	for _, v := range m.VMs {
		add(v.Node)
	}
	for _, p := range m.Ports {
		add(p.Node)
	}
	return all
}

// Without is the meaning without some nodes and every statement that names one of them.
func (m *Meaning) Without(gone []overlay.Name) *Meaning {
	is := func(names ...overlay.Name) bool {
		return slices.ContainsFunc(names, func(n overlay.Name) bool { return n != "" && slices.Contains(gone, n) })
	}
	return &Meaning{
		Nodes:   slices.DeleteFunc(slices.Clone(m.Nodes), func(n Node) bool { return is(n.Name) }),
		VMs:     slices.DeleteFunc(slices.Clone(m.VMs), func(v VM) bool { return is(v.Node) }),
		Links:   slices.DeleteFunc(slices.Clone(m.Links), func(l Link) bool { return is(l.A, l.B) }),
		Rules:   slices.DeleteFunc(slices.Clone(m.Rules), func(r Rule) bool { return is(r.Node, r.From.Peer(), r.To.Peer()) || m.lives(r, is) }),
		Pins:    slices.DeleteFunc(slices.Clone(m.Pins), func(p Pin) bool { return is(append(slices.Clone(p.Via), p.A, p.B)...) || m.vmsLive(is, p.X, p.Y) }),
		Forbids: slices.DeleteFunc(slices.Clone(m.Forbids), func(f Forbid) bool { return is(f.A, f.B) || m.vmsLive(is, f.X, f.Y) }),
		Limits:  slices.DeleteFunc(slices.Clone(m.Limits), func(l MaxLinks) bool { return is(l.Node) }),
		Costs:   slices.DeleteFunc(slices.Clone(m.Costs), func(c Cost) bool { return is(c.A, c.B) }),
		Seals:   slices.DeleteFunc(slices.Clone(m.Seals), func(s Seal) bool { return is(s.A, s.B) }),
		Ports:   slices.DeleteFunc(slices.Clone(m.Ports), func(p Port) bool { return is(p.Node) || m.vmsLive(is, p.MACs...) }),
		Mode:    m.Mode,
	}
}

// lives says whether a VM of the rule is at one of the nodes.
func (m *Meaning) lives(r Rule, is func(...overlay.Name) bool) bool {
	return m.vmsLive(is, r.Src.VM, r.Dst.VM)
}

func (m *Meaning) vmsLive(is func(...overlay.Name) bool, refs ...VMRef) bool {
	return slices.ContainsFunc(m.VMs, func(v VM) bool {
		return is(v.Node) && slices.ContainsFunc(refs, func(r VMRef) bool { return r.Name == v.Name })
	})
}
