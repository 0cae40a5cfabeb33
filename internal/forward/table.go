package forward

import (
	"fmt"
	"iter"
	"maps"
	"sync/atomic"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Table is everything a node needs to decide about a frame. It is immutable: a change makes a new one that shares nearly all
// of the old, and the node publishes it with one pointer.
type Table struct {
	line    *line // of this table and all made from it
	tree    *tree
	flood   Flood
	down    map[Side]bool // nothing is sent there
	blocked map[Side]bool // nothing is sent there nor taken from there
	gone    map[Side]bool // both together

	rules  hashed[key, *bucket]
	byID   hashed[uint64, *numbered]
	count  [classes]int
	levels []level // what to look for, the strongest first
	stamps stamps
}

// line is what the tables made from one New share.
type line struct {
	seed uint64
	last atomic.Uint64 // the newest stamp
}

// New is a table without rules.
func New(f Flood) *Table {
	t := &Table{line: &line{seed: f.Seed}, flood: f, tree: newTree(f, nil)}
	t.stamps = newStamps()
	return t
}

// With is the table after the rules numbered del are taken out and then add put in. It is all or nothing: on an error there
// is no new table and the old one stands. It costs about the same in a table of ten rules and of a million.
func (t *Table) With(add []Rule, del []uint64) (*Table, error) {
	if len(add)+len(del) == 0 {
		return t, nil
	}
	n := *t
	rules, byID := t.rules.edit(), t.byID.edit()
	touched := t.stamps.edit(t.line.last.Add(1))
	for _, id := range del {
		hash := hashID(id, t.line.seed)
		r := byID.get(hash, id)
		if r == nil {
			return nil, fmt.Errorf("cannot delete rule %d: there is none of that number", id)
		}
		byID.remove(hash, id)
		n.count[classOf(&r.Rule)]--
		touched.rule(&r.Rule, t.line.seed)
		k := r.bucket()
		hash = k.hash(t.line.seed)
		if b := rules.get(hash, k); len(b.rules) > 1 {
			rules.put(hash, b.without(r))
		} else {
			rules.remove(hash, k)
		}
	}
	for _, r := range add {
		rank, err := r.check(t.tree.off)
		if err != nil {
			return nil, err
		}
		hash := hashID(r.ID, t.line.seed)
		if byID.get(hash, r.ID) != nil {
			return nil, fmt.Errorf("cannot add rule %d: that number is taken", r.ID)
		}
		kept := &numbered{Rule: r, rank: rank}
		byID.put(hash, kept)
		n.count[classOf(&r)]++
		touched.rule(&r, t.line.seed)
		k := kept.bucket()
		hash = k.hash(t.line.seed)
		b := rules.get(hash, k)
		if b == nil {
			b = &bucket{at: k}
		}
		rules.put(hash, b.with(kept))
	}
	n.rules, n.byID, n.stamps = rules.hashed, byID.hashed, touched.stamps
	if present(&n.count) != present(&t.count) {
		n.levels = levelsOf(&n.count)
	}
	return &n, nil
}

// bucket is the key of the rules that r lives with.
func (r *numbered) bucket() key {
	return classOf(&r.Rule).keyOf(r.Arrival, r.Src.MAC, r.Dst.MAC)
}

// WithFlood is the table with another flood tree.
func (t *Table) WithFlood(f Flood) *Table {
	n := *t
	n.flood = f
	return n.rebuilt()
}

// WithDown is the table with side out of order, or in order again. Rules that send to a side that is down count as absent.
func (t *Table) WithDown(side Side, down bool) *Table {
	if t.down[side] == down {
		return t
	}
	n := *t
	n.down = marked(t.down, side, down)
	return n.rebuilt()
}

// WithBlocked is the table with side blocked, or open again: a blocked side is as good as down, and what comes in by it is
// dropped.
func (t *Table) WithBlocked(side Side, blocked bool) *Table {
	if t.blocked[side] == blocked {
		return t
	}
	n := *t
	n.blocked = marked(t.blocked, side, blocked)
	return n.rebuilt()
}

func marked(set map[Side]bool, side Side, on bool) map[Side]bool {
	n := make(map[Side]bool, len(set)+1)
	maps.Copy(n, set)
	delete(n, side)
	if on {
		n[side] = true
	}
	return n
}

// rebuilt finishes a copy whose tree or sides have changed, which concerns every flow.
func (t *Table) rebuilt() *Table {
	t.gone = make(map[Side]bool, len(t.down)+len(t.blocked))
	maps.Copy(t.gone, t.down)
	maps.Copy(t.gone, t.blocked)
	t.tree = newTree(t.flood, t.gone)
	touched := t.stamps.edit(t.line.last.Add(1))
	touched.everything()
	t.stamps = touched.stamps
	return t
}

// Flood is what the flood tree was made of.
func (t *Table) Flood() Flood { return t.flood }

// Len is the number of rules.
func (t *Table) Len() int {
	n := 0
	for _, c := range t.count {
		n += c
	}
	return n
}

// Rule is the rule of that number.
func (t *Table) Rule(id uint64) (Rule, bool) {
	if r := t.byID.get(hashID(id, t.line.seed), id); r != nil {
		return r.Rule, true
	}
	return Rule{}, false
}

// Rules are all rules, in no order.
func (t *Table) Rules() iter.Seq[Rule] {
	return func(yield func(Rule) bool) {
		t.byID.each(func(r *numbered) bool { return yield(r.Rule) })
	}
}

// level is one strength: the classes that share it. The first level where something matches decides.
type level struct {
	rank    int
	classes [2]class // exact/not and not/exact are equally strong, and so on
	n       int
}

// present has the bit of each class that has rules.
func present(count *[classes]int) (set uint32) {
	for c, n := range count {
		if n > 0 {
			set |= 1 << c
		}
	}
	return set
}

// levelsOf are the strengths that have rules: by rank, and within a rank those that name an arrival side first.
func levelsOf(count *[classes]int) []level {
	var levels []level
	for rank := overlay.MaxRank; rank >= 0; rank-- {
		for _, named := range [2]bool{true, false} {
			l := level{rank: rank}
			for c := range class(classes) {
				if count[c] > 0 && c.named() == named && overlay.RankOf(c.src(), c.dst()) == rank {
					l.classes[l.n] = c
					l.n++
				}
			}
			if l.n > 0 {
				levels = append(levels, l)
			}
		}
	}
	return levels
}
