package overlay

import (
	"cmp"
	"slices"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// Will is what the user asks of adaptation and of ports, and between which hosts frames are sealed. The zero Will asks nothing.
type Will struct {
	Mode     string       // observe, advise or auto; empty leaves it as it is
	MaxLinks *int         // adapted links at a time, 0 = no limit; nil leaves it as it is
	MaxAt    map[Name]int // adapted links at one node; 0 = none
	Pins     []Pin
	Forbids  []Forbid
	Costs    []Cost
	Seals    []Seal
	Ports    []PortLimit // of no matter to adaptation
}

// PinKind says what a pin holds in place.
type PinKind uint8

// The kinds of pins.
const (
	PinLink PinKind = iota // a link that adaptation opens and keeps, whoever talks
	PinPath                // the way of the frames between two VMs, both directions
)

// Pin is a choice that adaptation may not make otherwise.
type Pin struct {
	Kind PinKind
	A, B Name      // of PinLink, A < B
	X, Y ether.MAC // of PinPath, as the user wrote them
	Star bool      // of PinPath: the star is their way, and Via is empty
	Via  []Name    // of PinPath: the nodes between X's and Y's; empty = a direct link
}

// ForbidKind says what is forbidden.
type ForbidKind uint8

// The kinds of prohibitions.
const (
	ForbidLink    ForbidKind = iota // an adapted link between two nodes
	ForbidPair                      // another way than the star for two VMs
	ForbidTransit                   // other nodes' frames through this one
)

// Forbid is a choice that adaptation may not make.
type Forbid struct {
	Kind ForbidKind
	A, B Name      // of ForbidLink, A < B; of ForbidTransit A alone
	X, Y ether.MAC // of ForbidPair, X < Y
}

// Cost makes a link dearer or cheaper than others: what crosses it counts 1/Factor.
type Cost struct {
	A, B   Name // A < B
	Factor float64
}

// Seal has the frames between the guests of two hosts sealed from one to the other, so that no node between them reads them.
type Seal struct{ A, B Name } // A < B; both empty = every two hosts

// Sealed says whether the user wants frames between two hosts sealed.
func (w Will) Sealed(a, b Name) bool {
	a, b = min(a, b), max(a, b)
	return slices.ContainsFunc(w.Seals, func(s Seal) bool { return s == Seal{a, b} || s == Seal{} })
}

// normal puts the two ends in order.
func (f Forbid) normal() Forbid {
	if f.Kind == ForbidLink && f.A > f.B {
		f.A, f.B = f.B, f.A
	}
	if f.Kind == ForbidPair && f.X.Compare(f.Y) > 0 {
		f.X, f.Y = f.Y, f.X
	}
	return f
}

// Normal is the same will in one order, so that equal wills are equal values.
func (w Will) Normal() Will {
	out := Will{Mode: w.Mode, MaxLinks: w.MaxLinks}
	if len(w.MaxAt) > 0 {
		out.MaxAt = w.MaxAt
	}
	for _, p := range w.Pins {
		if p.Kind == PinLink && p.A > p.B {
			p.A, p.B = p.B, p.A
		}
		if len(p.Via) == 0 {
			p.Via = nil
		}
		out.Pins = append(out.Pins, p)
	}
	for _, f := range w.Forbids {
		out.Forbids = append(out.Forbids, f.normal())
	}
	for _, c := range w.Costs {
		out.Costs = append(out.Costs, Cost{A: min(c.A, c.B), B: max(c.A, c.B), Factor: c.Factor})
	}
	for _, s := range w.Seals {
		out.Seals = append(out.Seals, Seal{A: min(s.A, s.B), B: max(s.A, s.B)})
	}
	slices.SortFunc(out.Seals, func(a, b Seal) int { return cmp.Or(cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B)) })
	for _, l := range w.Ports {
		out.Ports = append(out.Ports, l.normal())
	}
	slices.SortFunc(out.Ports, PortLimit.compare)
	slices.SortFunc(out.Pins, Pin.compare)
	slices.SortFunc(out.Forbids, func(a, b Forbid) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B), a.X.Compare(b.X), a.Y.Compare(b.Y))
	})
	slices.SortFunc(out.Costs, func(a, b Cost) int { return cmp.Or(cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B)) })
	return out
}

func (p Pin) compare(q Pin) int {
	return cmp.Or(cmp.Compare(p.Kind, q.Kind), cmp.Compare(p.A, q.A), cmp.Compare(p.B, q.B), p.X.Compare(q.X), p.Y.Compare(q.Y))
}

// Clone is a copy that shares nothing.
func (w Will) Clone() Will {
	c := w
	if w.MaxLinks != nil {
		n := *w.MaxLinks
		c.MaxLinks = &n
	}
	if w.MaxAt != nil {
		c.MaxAt = map[Name]int{}
		for k, v := range w.MaxAt {
			c.MaxAt[k] = v
		}
	}
	c.Pins = slices.Clone(w.Pins)
	for i := range c.Pins {
		c.Pins[i].Via = slices.Clone(c.Pins[i].Via)
	}
	c.Forbids, c.Costs, c.Seals = slices.Clone(w.Forbids), slices.Clone(w.Costs), slices.Clone(w.Seals)
	c.Ports = slices.Clone(w.Ports)
	for i := range c.Ports {
		c.Ports[i].MACs = slices.Clone(c.Ports[i].MACs)
	}
	return c
}

// PathOf is the pinned way between two VMs, turned so that it leads from a to b.
func (w Will) PathOf(a, b ether.MAC) (Pin, bool) {
	for _, p := range w.Pins {
		switch {
		case p.Kind != PinPath:
		case p.X == a && p.Y == b:
			return p, true
		case p.X == b && p.Y == a:
			p.X, p.Y, p.Via = p.Y, p.X, slices.Clone(p.Via)
			slices.Reverse(p.Via)
			return p, true
		}
	}
	return Pin{}, false
}

// Pinned says whether a link between two nodes is pinned, by itself or as part of a path that leads over both.
func (w Will) Pinned(a, b Name) bool {
	a, b = min(a, b), max(a, b)
	return slices.ContainsFunc(w.Pins, func(p Pin) bool { return p.Kind == PinLink && p.A == a && p.B == b })
}

// Forbidden says whether a link between two nodes is forbidden.
func (w Will) Forbidden(a, b Name) bool {
	a, b = min(a, b), max(a, b)
	return slices.ContainsFunc(w.Forbids, func(f Forbid) bool { return f.Kind == ForbidLink && f.A == a && f.B == b })
}

// ForbiddenPair says whether two VMs must stay on the star.
func (w Will) ForbiddenPair(a, b ether.MAC) bool {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return slices.ContainsFunc(w.Forbids, func(f Forbid) bool { return f.Kind == ForbidPair && f.X == a && f.Y == b })
}

// NoTransit says whether frames of others may not cross a node.
func (w Will) NoTransit(n Name) bool {
	return slices.ContainsFunc(w.Forbids, func(f Forbid) bool { return f.Kind == ForbidTransit && f.A == n })
}

// CostOf is the factor of the link between two nodes; 1 when nobody said otherwise.
func (w Will) CostOf(a, b Name) float64 {
	a, b = min(a, b), max(a, b)
	for _, c := range w.Costs {
		if c.A == a && c.B == b && c.Factor > 0 {
			return c.Factor
		}
	}
	return 1
}
