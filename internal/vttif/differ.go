package vttif

import "slices"

// Differ turns the cumulative counts of a node's workers into reports of deltas. It belongs to one goroutine.
type Differ struct {
	node      string
	boot      uint64
	seq       uint64
	last      map[Pair]Tally // the sum over all workers at the report before
	lastOther Tally
	sum       map[Pair]Tally // scratch
}

// NewDiffer makes the differ of a node; boot must differ from one start of the node to the next.
func NewDiffer(node string, boot uint64) *Differ {
	return &Differ{node: node, boot: boot, last: map[Pair]Tally{}, sum: map[Pair]Tally{}}
}

// Report is what the counters counted since the call before. The same counters must be given each time; a worker's that
// is left out once is taken as restarted when it comes back.
func (d *Differ) Report(counters ...*Counter) Report {
	clear(d.sum)
	var other Tally
	for _, c := range counters {
		c.Collect(func(p Pair, t Tally) { d.sum[p] = d.sum[p].Plus(t) })
		other = other.Plus(c.Other())
	}
	d.seq++
	r := Report{Node: d.node, Boot: d.boot, Seq: d.seq, Other: other.Minus(d.lastOther)}
	for p, t := range d.sum {
		if delta := t.Minus(d.last[p]); !delta.IsZero() {
			r.Deltas = append(r.Deltas, Delta{Pair: p, Tally: delta})
		}
	}
	slices.SortFunc(r.Deltas, func(a, b Delta) int { return a.Pair.Compare(b.Pair) })
	d.last, d.sum, d.lastOther = d.sum, d.last, other
	return r
}
