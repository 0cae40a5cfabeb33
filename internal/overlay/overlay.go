package overlay

import (
	"cmp"
	"maps"
	"slices"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// Port is where a node meets Ethernet.
type Port struct {
	Name string
	LAN  bool // an existing interface on somebody's LAN, not a VM's
}

// VM is whatever has a MAC behind a port.
type VM struct {
	MAC      ether.MAC
	Name     string
	Node     Name
	Port     string
	Declared bool // by the user; beats what was learned
}

// Node is a daemon.
type Node struct {
	Name  Name
	Ports []Port
	Rules []Rule
}

// Link is between two nodes; there is at most one between any two.
type Link struct {
	A, B       Name // A < B
	Origin     Origin
	Carrier    string // "auto", "udp" or "tcp"; empty = auto
	Cipher     string `json:",omitempty"` // that its user wants; empty = as the two nodes have it
	ExtraPorts int    `json:",omitempty"` // that its user wants it to send from, beside the first; 0 = as the two nodes have it
}

// Overlay is the whole of it. The star need not be written down: each node but the Proxy has a link to it, always.
type Overlay struct {
	Proxy      Name
	Nodes      map[Name]*Node
	VMs        map[ether.MAC]VM
	Links      []Link
	Flood      bool // false = the seed's pure form: what no rule matches is dropped
	Generation uint64
}

// New is an overlay of nothing but its Proxy.
func New(proxy Name) *Overlay {
	return &Overlay{
		Proxy: proxy,
		Nodes: map[Name]*Node{proxy: {Name: proxy}},
		VMs:   map[ether.MAC]VM{},
		Flood: true,
	}
}

// Clone is a copy that shares nothing.
func (o *Overlay) Clone() *Overlay {
	c := *o
	c.VMs = maps.Clone(o.VMs)
	c.Links = slices.Clone(o.Links)
	c.Nodes = make(map[Name]*Node, len(o.Nodes))
	for name, n := range o.Nodes {
		c.Nodes[name] = &Node{Name: n.Name, Ports: slices.Clone(n.Ports), Rules: slices.Clone(n.Rules)}
	}
	return &c
}

// Names are the nodes in order of their names.
func (o *Overlay) Names() []Name { return slices.Sorted(maps.Keys(o.Nodes)) }

// MakeLink is the link between a and b, in whatever order they are given.
func MakeLink(a, b Name, origin Origin) Link {
	return Link{A: min(a, b), B: max(a, b), Origin: origin}
}

// Other is the end of the link that is not n.
func (l Link) Other(n Name) Name {
	if l.A == n {
		return l.B
	}
	return l.A
}

// SameEnds says whether both links join the same two nodes.
func (l Link) SameEnds(m Link) bool { return l.A == m.A && l.B == m.B }

func (l Link) compare(m Link) int {
	return cmp.Or(cmp.Compare(l.A, m.A), cmp.Compare(l.B, m.B))
}

// IsStar says whether the link between a and b is one of the star.
func (o *Overlay) IsStar(a, b Name) bool {
	return a != b && (a == o.Proxy || b == o.Proxy) && o.Nodes[a] != nil && o.Nodes[b] != nil
}

// LinkBetween is the link between a and b, if there is one; the star is always there.
func (o *Overlay) LinkBetween(a, b Name) (Link, bool) {
	want := MakeLink(a, b, OriginStar)
	for _, l := range o.Links {
		if l.SameEnds(want) {
			return l, true
		}
	}
	return want, o.IsStar(a, b)
}

// Peers are the nodes that n has a link to, in order of their names.
func (o *Overlay) Peers(n Name) []Name {
	set := map[Name]bool{}
	for _, l := range o.Links {
		if l.A == n || l.B == n {
			set[l.Other(n)] = true
		}
	}
	for p := range o.Nodes {
		if o.IsStar(n, p) {
			set[p] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// AddLink writes a link down; one that is there already keeps its place and takes all that is new.
func (o *Overlay) AddLink(l Link) {
	if i := slices.IndexFunc(o.Links, l.SameEnds); i >= 0 {
		o.Links[i] = l
		return
	}
	o.Links = append(o.Links, l)
	slices.SortFunc(o.Links, Link.compare)
}

// RemoveLink strikes the link between a and b out and says whether it was there.
func (o *Overlay) RemoveLink(a, b Name) bool {
	want, n := MakeLink(a, b, 0), len(o.Links)
	o.Links = slices.DeleteFunc(o.Links, want.SameEnds)
	return len(o.Links) < n
}

// AddRule gives r to the node at, numbers it when it has no ID (above all others of the overlay), and returns it.
// It is false when there is no such node or the node has the same rule already (which is returned).
func (o *Overlay) AddRule(at Name, r Rule) (Rule, bool) {
	n := o.Nodes[at]
	if n == nil {
		return r, false
	}
	if i := slices.IndexFunc(n.Rules, r.SameAs); i >= 0 {
		return n.Rules[i], false
	}
	if r.ID == 0 {
		r.ID = o.NextID()
	}
	n.Rules = append(n.Rules, r)
	return r, true
}

// RemoveRule takes the rule called id from the node at and returns it.
func (o *Overlay) RemoveRule(at Name, id uint64) (Rule, bool) {
	if n := o.Nodes[at]; n != nil {
		if i := slices.IndexFunc(n.Rules, func(r Rule) bool { return r.ID == id }); i >= 0 {
			r := n.Rules[i]
			n.Rules = slices.Delete(n.Rules, i, i+1)
			return r, true
		}
	}
	return Rule{}, false
}

// NextID is above the ID of every rule.
func (o *Overlay) NextID() uint64 {
	var top uint64
	for _, n := range o.Nodes {
		for _, r := range n.Rules {
			top = max(top, r.ID)
		}
	}
	return top + 1
}

// HasPort says whether the node has a port of that name.
func (n *Node) HasPort(name string) bool {
	return slices.ContainsFunc(n.Ports, func(p Port) bool { return p.Name == name })
}
