package forward

import (
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// The words for what is done with a frame are those of the whole overlay, so that explain and counters speak as one.
type (
	Action = overlay.Action
	Reason = overlay.Reason
)

// The actions.
const (
	Drop      = overlay.Drop
	Forward   = overlay.Forward
	FloodTree = overlay.FloodTree
)

// The reasons.
const (
	DropBlocked        = overlay.DropBlocked
	DropReserved       = overlay.DropReserved
	FloodGroup         = overlay.FloodGroup
	DropFastPathGroup  = overlay.DropFastPathGroup
	RuleMatched        = overlay.RuleMatched
	DropSameSide       = overlay.DropSameSide
	FloodDefault       = overlay.FloodDefault
	FloodUnknown       = overlay.FloodUnknown
	DropFastPathNoRule = overlay.DropFastPathNoRule
	DropOutDown        = overlay.DropOutDown
	DropNoRule         = overlay.DropNoRule
	DropNoOutput       = overlay.DropNoOutput
	Reasons            = overlay.Reasons
)

// Verdict is what to do with a frame, and why.
type Verdict struct {
	Action Action
	Reason Reason
	Tied   bool   // another rule was as strong: only the lower ID decided
	Out    Side   // of Forward; of DropSameSide, where it would have gone
	Outs   []Side // of FloodTree: never empty, never the arrival; shared, do not modify
	Rule   uint64 // that decided; 0 if none did
	Rank   int    // of Rule
}

// Decide is what to do with a frame from src to dst that came in by arrival. It allocates nothing.
func (t *Table) Decide(arrival Side, src, dst ether.MAC) Verdict {
	if v, ok := t.early(arrival, dst); ok {
		return v
	}
	return t.byRule(arrival, src, dst)
}

// early decides what no rule has a say in.
func (t *Table) early(arrival Side, dst ether.MAC) (Verdict, bool) {
	if len(t.blocked) > 0 && t.blocked[arrival] {
		return Verdict{Reason: DropBlocked}, true
	}
	if !dst.IsGroup() {
		return Verdict{}, false
	}
	switch {
	case dst.IsLinkLocal():
		return Verdict{Reason: DropReserved}, true
	case t.tree.off:
		return Verdict{}, false
	case t.tree.fastPath(arrival):
		return Verdict{Reason: DropFastPathGroup}, true
	}
	return t.tree.flood(arrival, Verdict{Reason: FloodGroup}), true
}

func (t *Table) byRule(arrival Side, src, dst ether.MAC) Verdict {
	c, rank := t.strongest(arrival, src, dst)
	var v Verdict
	if c.best != nil {
		v = Verdict{Reason: RuleMatched, Action: Forward, Out: c.best.Out, Rule: c.best.ID, Rank: rank, Tied: c.tied}
		byDefault := !t.tree.off && c.best.Dst.Kind == overlay.None && v.Out == t.tree.upstream
		if !byDefault {
			if v.Out == arrival {
				v.Action, v.Reason = Drop, DropSameSide
			}
			return v
		}
	}
	fast := t.tree.fastPath(arrival)
	switch {
	case c.best == nil && c.lost && (t.tree.off || t.tree.upstream == AnySide || !arrival.IsPort()):
		return Verdict{Reason: DropOutDown}
	case t.tree.off:
		return Verdict{Reason: DropNoRule}
	}
	if l, ok := t.learned(arrival, dst, fast); ok {
		return l
	}
	switch {
	case fast:
		return Verdict{Reason: DropFastPathNoRule}
	case c.best != nil:
		v.Reason = FloodDefault
	default:
		v.Reason = FloodUnknown
	}
	return t.tree.flood(arrival, v)
}

// learned cuts the tree down to the branch where the destination was seen. A frame from a fast path, which is no part of the
// tree, it brings to a local port only.
func (t *Table) learned(arrival Side, dst ether.MAC, fast bool) (Verdict, bool) {
	k := learned.keyOf(arrival, ether.MAC{}, dst)
	b := t.rules.get(k.hash(t.line.seed), k)
	if b == nil {
		return Verdict{}, false
	}
	for _, r := range b.rules {
		if t.gone[r.Out] || fast && r.Out.IsLink() {
			continue
		}
		v := Verdict{Reason: RuleMatched, Action: Forward, Out: r.Out, Rule: r.ID, Rank: r.rank}
		if v.Out == arrival {
			v.Action, v.Reason = Drop, DropSameSide
		}
		return v, true
	}
	return Verdict{}, false
}

// Learned is where a destination was seen.
func (t *Table) Learned(dst ether.MAC) (Side, bool) {
	k := learned.keyOf(AnySide, ether.MAC{}, dst)
	if b := t.rules.get(k.hash(t.line.seed), k); b != nil {
		return b.rules[0].Out, true
	}
	return AnySide, false
}

// strongest looks through the strengths that have rules, one probe a class, until something matches and can send.
func (t *Table) strongest(arrival Side, src, dst ether.MAC) (choice, int) {
	var c choice
	for i := range t.levels {
		l := &t.levels[i]
		for _, class := range l.classes[:l.n] {
			k := class.keyOf(arrival, src, dst)
			if b := t.rules.get(k.hash(t.line.seed), k); b != nil {
				c.from(b, src, dst, t.gone)
			}
		}
		if c.best != nil {
			return c, l.rank
		}
	}
	return c, 0
}

// flood fills v with the members of the tree other than arrival.
func (t *tree) flood(arrival Side, v Verdict) Verdict {
	v.Action, v.Out, v.Outs = FloodTree, AnySide, t.others(arrival)
	if len(v.Outs) == 0 {
		v.Action, v.Reason, v.Outs = Drop, DropNoOutput, nil
	}
	return v
}
