package forward

import (
	"fmt"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Rule is overlay.Rule with this node's numbers for the sides.
type Rule struct {
	ID      uint64 // unique in the table, not 0
	Arrival Side
	Src     overlay.Match
	Dst     overlay.Match
	Out     Side
	Origin  overlay.Origin
}

// check says whether the rule can be in a table, and its rank.
func (r *Rule) check(floodOff bool) (int, error) {
	rank, err := overlay.Rank(r.Src, r.Dst)
	switch {
	case err != nil:
		return 0, err
	case r.ID == 0:
		return 0, fmt.Errorf("cannot add rule without a number: 0 means none")
	case !r.Out.IsLink() && !r.Out.IsPort():
		return 0, fmt.Errorf("cannot add rule %d: it sends to no side; a rule sends to a port or a link", r.ID)
	case r.Arrival == r.Out:
		return 0, fmt.Errorf("cannot add rule %d: no frame leaves by the side it came in by; name another side", r.ID)
	case r.Origin == overlay.OriginLearned && (r.Arrival != AnySide || r.Src.Kind != overlay.Any || r.Dst.Kind != overlay.Exact):
		return 0, fmt.Errorf("cannot add rule %d: a learned rule says only where a destination was seen", r.ID)
	case !floodOff && r.Dst.Kind == overlay.Exact && r.Dst.MAC.IsGroup():
		return 0, fmt.Errorf("cannot add rule %d to %s: group frames take only the flood tree; switch flooding off to rule them", r.ID, r.Dst)
	}
	return rank, nil
}

// class is one combination of qualifiers: how many of the three parts of a key are used, and how strong its rules are.
// It is arrival (named or any) × kind of source × kind of destination.
type class uint8

// learned is the class of learned rules, which speak only where the flood tree would: it has no strength, so no search for the
// strongest rule meets it.
const learned = class(overlay.None)<<2 | class(overlay.Exact)

// classes is how many there can be: 2 × 4 × 4, of which 22 have a meaning.
const classes = 32

func classOf(r *Rule) class {
	if r.Origin == overlay.OriginLearned {
		return learned
	}
	c := class(r.Src.Kind)<<2 | class(r.Dst.Kind)
	if r.Arrival != AnySide {
		c |= 1 << 4
	}
	return c
}

func (c class) src() overlay.MatchKind { return overlay.MatchKind(c >> 2 & 3) }
func (c class) dst() overlay.MatchKind { return overlay.MatchKind(c & 3) }
func (c class) named() bool            { return c&(1<<4) != 0 }

// key finds the rules of one class that can match a frame: the parts that the class asks for exactly; zero otherwise.
type key struct {
	src, dst ether.MAC
	arrival  Side
	class    class
}

// keyOf is the key of the frames c asks for, or of a rule of class c by its own parts.
func (c class) keyOf(arrival Side, src, dst ether.MAC) key {
	k := key{class: c}
	if c.named() {
		k.arrival = arrival
	}
	if c.src() == overlay.Exact {
		k.src = src
	}
	if c.dst() == overlay.Exact {
		k.dst = dst
	}
	return k
}
