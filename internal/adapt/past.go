package adapt

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// Past is what was before, as far as it matters: hysteresis needs it, and the policies that count bytes. A Planner keeps it,
// from views alone. Values are not changed once handed out.
type Past struct {
	First   time.Time               // when the Planner first looked
	Opened  map[Ends]time.Time      // adapted links, since when they are known
	Pairs   map[vttif.Pair]PairPast // that are or were in the topology and lately had rules; Src < Dst
	Talks   map[vttif.Pair]Talk     // of the matrix, both ways together; Src < Dst
	Changes []time.Time             // of what is adapted, seen within the last minute
	Closed  map[Ends]time.Time      // adapted links, when they were closed, within the last ten minutes
	rules   map[vttif.Pair]bool     // pairs that had rules at the last look
	left    map[vttif.Pair]bool     // pairs whose rules the last proposal took
	links   map[Ends]bool           // adapted links at the last look
}

// PairPast is what a pair did before.
type PairPast struct {
	Talks    bool      // it is in the topology
	Left     time.Time // when it last left the topology
	Restored time.Time // when adaptation last took its rules
	Returns  int       // how often it came back soon after that
}

// Talk is how much two VMs said to one another.
type Talk struct {
	Last  time.Time // when a frame was last seen
	Heavy time.Time // when heavyBytes within heavyOver were last seen

	bytes uint64 // in all, at the last look
	from  uint64 // bytes at the beginning of the present interval
	since time.Time
}

const (
	// heavyBytes in heavyOver is EVIO's trigger for an on-demand tunnel.
	heavyBytes = 10 << 20
	heavyOver  = 10 * time.Second
	// forgetPair is how long a pair that has no rules any more is remembered.
	forgetPair = 10 * time.Minute
	// returnWithin: a pair that talks again so soon after its rules were taken alternates, and its next absence is taken
	// for one that ends.
	returnWithin = time.Minute
	// unionFor is how long the rules of a pair that alternates stay without traffic, doubled at each return up to
	// unionMost: so a faster alternation ends in the union of its patterns.
	unionFor  = 20 * time.Second
	unionMost = 3 * time.Minute
)

// Reaction and Judging are what lies between a change and the next that could be due to it: the inference's window and the
// shortest judgement.
const (
	Reaction = time.Second
	Judging  = 5 * time.Second
)

// EffectiveBound is the time within which no change is reversed, given the bound on configuration time.
func EffectiveBound(bound time.Duration) time.Duration { return bound + Reaction + Judging }

// next is the past with one more look at the overlay.
func (p Past) next(now time.Time, v View) Past {
	n := Past{
		First: p.First, Opened: map[Ends]time.Time{}, Pairs: map[vttif.Pair]PairPast{}, Talks: p.talks(now, v.Matrix),
		Closed: map[Ends]time.Time{}, rules: map[vttif.Pair]bool{}, links: map[Ends]bool{},
	}
	if n.First.IsZero() {
		n.First = now
	}
	for _, l := range v.Overlay.Links {
		if l.Origin != overlay.OriginAdapted {
			continue
		}
		ends := EndsOf(l.A, l.B)
		n.links[ends], n.Opened[ends] = true, now
		if since, known := p.Opened[ends]; known {
			n.Opened[ends] = since
		}
	}
	for ends := range p.links {
		if !n.links[ends] {
			n.Closed[ends] = now
		}
	}
	for ends, at := range p.Closed {
		if _, again := n.Closed[ends]; !again && now.Sub(at) < forgetPair {
			n.Closed[ends] = at
		}
	}
	for _, pair := range adaptedPairs(v.Overlay) {
		n.rules[pair] = true
	}
	for _, at := range p.Changes {
		if now.Sub(at) < time.Minute {
			n.Changes = append(n.Changes, at)
		}
	}
	if p.rules != nil && (!maps.Equal(p.rules, n.rules) || !maps.Equal(p.links, n.links)) {
		n.Changes = append(n.Changes, now)
	}
	n.pairs(now, v, p)
	return n
}

// pairs follows who talks and who has rules.
func (p *Past) pairs(now time.Time, v View, before Past) {
	talk := map[vttif.Pair]bool{}
	for _, e := range v.Topology.Edges {
		talk[unordered(e.A, e.B)] = true
	}
	for pair, was := range before.Pairs {
		if was.Talks && !talk[pair] {
			was.Talks, was.Left = false, now
		}
		if before.rules[pair] && !p.rules[pair] && before.left[pair] {
			was.Restored = now
		}
		if was.Talks || p.rules[pair] || now.Sub(later(was.Left, was.Restored)) < forgetPair {
			p.Pairs[pair] = was
		}
	}
	for pair := range talk {
		is := p.Pairs[pair]
		if !is.Talks && !is.Restored.IsZero() && now.Sub(is.Restored) < returnWithin && is.Left.Before(is.Restored) {
			is.Returns++
		}
		is.Talks = true
		p.Pairs[pair] = is
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// stays tells until when the rules of a pair that left the topology stay, because it alternates.
func (p PairPast) stays() time.Time {
	if p.Returns == 0 {
		return p.Left
	}
	return p.Left.Add(min(unionFor<<min(p.Returns-1, 8), unionMost))
}

// talks counts the matrix.
func (p Past) talks(now time.Time, matrix []vttif.Entry) map[vttif.Pair]Talk {
	if matrix == nil {
		return nil
	}
	bytes := map[vttif.Pair]uint64{}
	for _, e := range matrix {
		if !e.Src.IsGroup() && !e.Dst.IsGroup() && e.Src != e.Dst {
			bytes[unordered(e.Src, e.Dst)] += e.Total.OfferedBytes
		}
	}
	next := map[vttif.Pair]Talk{}
	for pair, b := range bytes {
		t, known := p.Talks[pair]
		switch {
		case !known && p.First.IsZero(): // of before this planner
			t.since, t.from = now, b
		case !known:
			t.since, t.Last = now, now
		case b != t.bytes:
			t.Last = now
		}
		if b-t.from >= heavyBytes {
			t.Heavy = now
		}
		if t.bytes = b; now.Sub(t.since) >= heavyOver {
			t.since, t.from = now, b
		}
		next[pair] = t
	}
	return next
}

// tooMany says why no further change may be made now.
func (p Past) tooMany(now time.Time, c Config) (string, bool) {
	most := c.MaxChanges
	if most == 0 {
		most = DefaultMaxChanges
	}
	if most < 0 || len(p.Changes) < most {
		return "", false
	}
	oldest := slices.MinFunc(p.Changes[len(p.Changes)-most:], time.Time.Compare)
	return fmt.Sprintf("%d changes were made within a minute, the most allowed; the next may come in %v",
		most, oldest.Add(time.Minute).Sub(now).Round(time.Second)), true
}
