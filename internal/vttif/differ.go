package vttif

import (
	"cmp"
	"slices"
)

// Differ turns the cumulative counts of a node's workers into reports of deltas. It belongs to one goroutine.
type Differ struct {
	node   string
	boot   uint64
	seq    uint64
	last   map[*Counter]*reading // at the report before
	binned uint32                // ms up to which bins were reported
}

// reading is what one counter stood at.
type reading struct {
	pairs    map[Pair]Tally
	reported Tally // of all deltas of pairs, so that what is neither reported nor present is known to be other
	other    Tally
	turns    uint64 // of the counter's batches
	still    int    // readings in a row between which no batch began
}

// NewDiffer makes the differ of a node; boot must differ from one start of the node to the next.
func NewDiffer(node string, boot uint64) *Differ {
	return &Differ{node: node, boot: boot, last: map[*Counter]*reading{}}
}

// Report is what the counters counted since the call before; now is the clock of Counter.At. Counters may come and go with
// their workers; one that is left out is forgotten, and what it counted since the call before with it.
func (d *Differ) Report(now uint32, counters ...*Counter) Report {
	d.seq++
	r := Report{Node: d.node, Boot: d.boot, Seq: d.seq}
	sum := map[Pair]Tally{}
	for _, c := range counters {
		last := d.last[c]
		if last == nil {
			last = &reading{pairs: map[Pair]Tally{}}
			d.last[c] = last
		}
		r.Other = r.Other.Plus(last.take(c, now, sum))
	}
	for c := range d.last {
		if !slices.Contains(counters, c) {
			delete(d.last, c)
		}
	}
	for p, t := range sum {
		r.Deltas = append(r.Deltas, Delta{Pair: p, Tally: t})
	}
	r.bound()
	slices.SortFunc(r.Deltas, func(a, b Delta) int { return a.Pair.Compare(b.Pair) })
	d.bins(&r, now, counters)
	return r
}

// maxDeltas bounds a report: 240 kB on the wire, a quarter of what a control message may hold. Only a flood of addresses
// makes so many in a tenth of a second.
const maxDeltas = 4096

// bound keeps the pairs that carried most, and counts the rest as other.
func (r *Report) bound() {
	if len(r.Deltas) <= maxDeltas {
		return
	}
	slices.SortFunc(r.Deltas, func(a, b Delta) int {
		return cmp.Or(cmp.Compare(b.OfferedBytes+b.DeliveredBytes, a.OfferedBytes+a.DeliveredBytes), a.Pair.Compare(b.Pair))
	})
	for _, d := range r.Deltas[maxDeltas:] {
		r.Other = r.Other.Plus(d.Tally)
	}
	r.Deltas = r.Deltas[:maxDeltas]
}

// stillAfter is after how many readings without a new batch a counter need not be read: the last batch may have gone on
// into the first of them, but no batch lasts as long as it is from one reading to the next.
const stillAfter = 2

// rests reports whether nothing was counted since the reading before.
func (last *reading) rests(c *Counter) bool {
	turns := c.turns.Load()
	if turns != last.turns {
		last.turns, last.still = turns, 0
		return false
	}
	last.still++
	return last.still > stillAfter
}

// take adds what a counter counted since the reading before to sum, and returns what it counted besides.
func (last *reading) take(c *Counter, now uint32, sum map[Pair]Tally) Tally {
	if last.rests(c) {
		c.age()
		return Tally{}
	}
	gone := c.Gone() // before the pairs: what gives way in between is found at the next report
	pairs := make(map[Pair]Tally, len(last.pairs))
	var present Tally
	c.age()
	c.each(func(at int, p Pair, t Tally) {
		present = present.Plus(t)
		delta := t.Minus(last.pairs[p])
		pairs[p] = t
		if delta.IsZero() {
			return
		}
		last.reported = last.reported.Plus(delta)
		sum[p] = sum[p].Plus(delta)
		c.assign(at, p, max(delta.payload(), delta.content()), now)
	})
	last.pairs = pairs
	other := present.Plus(gone).above(last.reported)
	delta := other.above(last.other)
	last.other = last.other.Plus(delta)
	return delta
}

const (
	// binsLate in ms: a worker that started a batch before the report may still write that long after.
	binsLate = 4
	// maxBinBytes bounds what the bins of a report take: 320 kbit/s at 10 Hz when every pair sends all the time, and
	// nothing when none does. The strongest pairs come first.
	maxBinBytes = 4096
	// binHeader in bytes is what a pair's addresses take beside its levels.
	binHeader = 20
)

// bins adds the series of the strongest pairs to a report.
func (d *Differ) bins(r *Report, now uint32, counters []*Counter) {
	until := now - binsLate
	from := d.binned
	if until-from > ringMs-binsLate { // the first report, or a late one
		from = until - (ringMs - binsLate)
	}
	d.binned = until
	r.BinsFrom, r.BinsLen = from, int(until-from)
	all := map[Pair]*trace{}
	for _, c := range counters {
		for i := range c.tracks {
			if u := &c.tracks[i]; u.taken {
				t := all[u.pair]
				if t == nil {
					t = &trace{}
					all[u.pair] = t
				}
				t.weight += u.weight
				t.offered = t.offered || d.last[c].pairs[u.pair].OfferedFrames > 0
				t.add(&c.series[i], u.since, from, until)
			}
		}
	}
	for p, t := range all {
		if t.some {
			r.Bins = append(r.Bins, Bins{Pair: p, Delivered: !t.offered, Levels: t.pack(int(until - from))})
		}
	}
	slices.SortFunc(r.Bins, func(a, b Bins) int {
		switch { // what is offered here first: what is delivered here is offered somewhere
		case b.Delivered && !a.Delivered:
			return -1
		case a.Delivered && !b.Delivered:
			return 1
		}
		return cmp.Or(cmp.Compare(all[b.Pair].weight, all[a.Pair].weight), a.Pair.Compare(b.Pair))
	})
	for i, used := 0, 0; i < len(r.Bins); i++ {
		if used += binHeader + len(r.Bins[i].Levels); used > maxBinBytes {
			r.Bins = r.Bins[:i]
			break
		}
	}
}

// trace is the series of one pair, of all workers together.
type trace struct {
	bins    [ringMs]uint64
	weight  uint64
	some    bool
	offered bool
}

// add adds the milliseconds from from to until, as far as the series is the pair's.
func (t *trace) add(s *series, since, from, until uint32) {
	for ms := range until - from {
		if int32(from+ms-since) < 0 {
			continue
		}
		if n := s.bytes(from + ms); n > 0 {
			t.bins[ms] += n
			t.some = true
		}
	}
}

func (t *trace) pack(n int) []byte {
	levels := make([]byte, n)
	for i := range levels {
		levels[i] = level(t.bins[i])
	}
	return packLevels(levels)
}
