package forward

import "github.com/virtuoso-vnet/virtuoso/internal/ether"

// Cache remembers verdicts by flow, for one worker alone; it needs no lock because no one else touches it. It may be used with
// any table at any time: each entry knows which changes it has seen.
type Cache struct {
	line    *line // of the table the entries are from
	sets    [][ways]entry
	victims uint8 // which way is replaced next
}

// ways is how many flows share a place: four keys are compared before the table is asked.
const ways = 4

type entry struct {
	src, dst uint64 // the addresses as numbers
	arrival  Side   // 0 = free
	stamp    uint64
	verdict  Verdict
}

// NewCache remembers at least flows verdicts, some 100 bytes each.
func NewCache(flows int) *Cache {
	sets := 1
	for sets*ways < flows {
		sets *= 2
	}
	return &Cache{sets: make([][ways]entry, sets)}
}

// Decide is t.Decide, remembered.
func (c *Cache) Decide(t *Table, arrival Side, src, dst ether.MAC) Verdict {
	if v, ok := t.early(arrival, dst); ok {
		return v
	}
	if c.line != t.line {
		clear(c.sets)
		c.line = t.line
	}
	s, d := word(src), word(dst)
	stamp := t.stamps.of(s, d, t.line.seed)
	set := &c.sets[mix(s^uint64(arrival)<<16, d)&uint64(len(c.sets)-1)]
	place := -1
	for i := range set {
		e := &set[i]
		if e.src != s || e.dst != d || e.arrival != arrival {
			continue
		}
		if e.stamp == stamp {
			return e.verdict
		}
		place = i
	}
	if place < 0 {
		c.victims++
		place = int(c.victims % ways)
	}
	set[place] = entry{src: s, dst: d, arrival: arrival, stamp: stamp, verdict: t.byRule(arrival, src, dst)}
	return set[place].verdict
}
