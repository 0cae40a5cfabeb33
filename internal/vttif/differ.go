package vttif

import "slices"

// Differ turns the cumulative counts of a node's workers into reports of deltas. It belongs to one goroutine.
type Differ struct {
	node string
	boot uint64
	seq  uint64
	last map[*Counter]*reading // at the report before
}

// reading is what one counter stood at.
type reading struct {
	pairs map[Pair]Tally
	other Tally
}

// NewDiffer makes the differ of a node; boot must differ from one start of the node to the next.
func NewDiffer(node string, boot uint64) *Differ {
	return &Differ{node: node, boot: boot, last: map[*Counter]*reading{}}
}

// Report is what the counters counted since the call before. Counters may come and go with their workers; one that is left
// out is forgotten, and what it counted since the call before with it.
func (d *Differ) Report(counters ...*Counter) Report {
	d.seq++
	r := Report{Node: d.node, Boot: d.boot, Seq: d.seq}
	sum := map[Pair]Tally{}
	for _, c := range counters {
		last := d.last[c]
		if last == nil {
			last = &reading{pairs: map[Pair]Tally{}}
			d.last[c] = last
		}
		c.Collect(func(p Pair, t Tally) {
			if delta := t.Minus(last.pairs[p]); !delta.IsZero() {
				last.pairs[p] = t
				sum[p] = sum[p].Plus(delta)
			}
		})
		other := c.Other()
		r.Other = r.Other.Plus(other.Minus(last.other))
		last.other = other
	}
	for c := range d.last {
		if !slices.Contains(counters, c) {
			delete(d.last, c)
		}
	}
	for p, t := range sum {
		r.Deltas = append(r.Deltas, Delta{Pair: p, Tally: t})
	}
	slices.SortFunc(r.Deltas, func(a, b Delta) int { return a.Pair.Compare(b.Pair) })
	return r
}
