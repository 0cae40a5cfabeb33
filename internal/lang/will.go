package lang

import (
	"math"
	"strconv"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Pin holds a link or a path in place.
type Pin struct {
	Path bool
	A, B overlay.Name // of a link
	X, Y VMRef        // of a path
	Star bool
	Via  []overlay.Name // empty and not Star = a direct link
	at   Pos
	vias []Pos
}

// Key is "pin".
func (Pin) Key() string { return "pin" }

// Words is "link NODE NODE", or "path VM VM" with direct, star or via NODE ….
func (p Pin) Words() []string {
	if !p.Path {
		return []string{"link", string(p.A), string(p.B)}
	}
	words := []string{"path", p.X.String(), p.Y.String()}
	switch {
	case p.Star:
		return append(words, "star")
	case len(p.Via) == 0:
		return append(words, "direct")
	}
	words = append(words, "via")
	for _, n := range p.Via {
		words = append(words, string(n))
	}
	return words
}

// maxVia bounds the nodes between two ends of a path: the hop limit of a frame is far above, and no sane way is longer.
const maxVia = 16

func readPin(r *reader) Statement {
	p := Pin{at: r.at()}
	if r.oneOf("kind of pin", "link", "path") == "link" {
		a, b := r.ends()
		p.A, p.B = a.To, b.To
		return p
	}
	p.Path = true
	p.X, p.Y = r.vm("the first VM"), r.vm("the second VM")
	if p.X.String() == p.Y.String() && !r.failed {
		r.fail(p.Y.at, "%s twice: name two VMs", p.Y)
	}
	switch r.oneOf("kind of path", "direct", "star", "via") {
	case "star":
		p.Star = true
	case "via":
		for first := true; !r.failed && (first || len(r.words) > 0); first = false {
			n := r.node("a node behind via")
			for _, m := range p.Via {
				if m == n.To {
					r.fail(n.at, "%s twice: a path crosses no node twice", n.To)
				}
			}
			p.Via, p.vias = append(p.Via, n.To), append(p.vias, n.at)
			if len(p.Via) > maxVia {
				r.fail(n.at, "a path over more than %d nodes: name fewer", maxVia)
			}
		}
	}
	return p
}

// Forbid keeps adaptation from a choice.
type Forbid struct {
	Kind overlay.ForbidKind
	A, B overlay.Name // of a link; of transit A alone
	X, Y VMRef        // of a pair
	at   Pos
}

// Key is "forbid".
func (Forbid) Key() string { return "forbid" }

// Words is "link NODE NODE", "pair VM VM" or "transit NODE".
func (f Forbid) Words() []string {
	switch f.Kind {
	case overlay.ForbidPair:
		return []string{"pair", f.X.String(), f.Y.String()}
	case overlay.ForbidTransit:
		return []string{"transit", string(f.A)}
	}
	return []string{"link", string(f.A), string(f.B)}
}

func readForbid(r *reader) Statement {
	f := Forbid{at: r.at()}
	switch r.oneOf("thing to forbid", "link", "pair", "transit") {
	case "pair":
		f.Kind = overlay.ForbidPair
		f.X, f.Y = r.vm("the first VM"), r.vm("the second VM")
		if f.X.String() == f.Y.String() && !r.failed {
			r.fail(f.Y.at, "%s twice: name two VMs", f.Y)
		}
	case "transit":
		f.Kind, f.A = overlay.ForbidTransit, r.node("a node").To
	default:
		a, b := r.ends()
		f.A, f.B = a.To, b.To
	}
	return f
}

// MaxLinks limits how many links adaptation has open at once.
type MaxLinks struct {
	Node overlay.Name // empty = all together
	Max  int          // of all together 0 = no limit; of a node 0 = none
	at   Pos
}

// Key is "max-links".
func (MaxLinks) Key() string { return "max-links" }

// Words is "NUMBER" or "NODE NUMBER".
func (m MaxLinks) Words() []string {
	words := []string{strconv.Itoa(m.Max)}
	if m.Node != "" {
		words = []string{string(m.Node), words[0]}
	}
	return words
}

// mostLinks bounds the limits: more links than any overlay has.
const mostLinks = 1 << 20

func readMaxLinks(r *reader) Statement {
	m := MaxLinks{at: r.at()}
	if len(r.words) > 1 {
		m.Node = r.node("a node").To
	}
	m.Max = int(r.number("limit", mostLinks))
	return m
}

// Cost makes a link dearer or cheaper for adaptation.
type Cost struct {
	A, B   overlay.Name
	Factor float64
	at     Pos
}

// Key is "cost".
func (Cost) Key() string { return "cost" }

// Words is "NODE NODE NUMBER".
func (c Cost) Words() []string {
	return []string{string(c.A), string(c.B), strconv.FormatFloat(c.Factor, 'g', -1, 64)}
}

func readCost(r *reader) Statement {
	a, b := r.ends()
	c := Cost{A: a.To, B: b.To, at: a.at}
	w, ok := r.take("the cost")
	if !ok {
		return c
	}
	n, err := strconv.ParseFloat(w.text, 64)
	if c.Factor = n; err != nil || math.IsNaN(n) || n < 1e-6 || n > 1e6 {
		r.fail(w.at, "%q is no cost: write a number from 0.000001 to 1000000; 1 is what every link costs by itself", clip(w.text))
		c.Factor = 1
	}
	return c
}

// Seal has frames between two hosts, or between any two, sealed from one to the other.
type Seal struct {
	A, B overlay.Name // both empty = all
	at   Pos
}

// Key is "seal".
func (Seal) Key() string { return "seal" }

// Words is "all" or "NODE NODE".
func (s Seal) Words() []string {
	if s.A == "" {
		return []string{sealAll}
	}
	return []string{string(s.A), string(s.B)}
}

// sealAll stands for every two hosts; a node of that name is sealed with by naming it second.
const sealAll = "all"

func readSeal(r *reader) Statement {
	s := Seal{at: r.at()}
	if len(r.words) == 1 {
		r.literal(sealAll)
		return s
	}
	a, b := r.ends()
	s.A, s.B = a.To, b.To
	return s
}

// Mode is what becomes of proposals of adaptation.
type Mode struct {
	Mode string
	at   Pos
}

// Key is "mode".
func (Mode) Key() string { return "mode" }

// Words is the mode.
func (m Mode) Words() []string { return []string{m.Mode} }

func readMode(r *reader) Statement {
	m := Mode{at: r.at()}
	m.Mode = r.oneOf("mode", "observe", "advise", "auto")
	return m
}
