package vttif

import "sync/atomic"

// series is what one pair sent in each of the last ringMs milliseconds. Its worker writes, anybody reads: a cell says by
// itself which millisecond it is of, so nothing has to be cleared. 2 KiB.
type series struct{ cells [ringMs]atomic.Uint64 }

const (
	// ringMs is how far back a series reaches: two reports and a half, for a node that is late with one. A power of two.
	ringMs = 256
	// maxSeries is how many pairs of a worker have a series: the neighbours of a handful of VMs, in 64 KiB.
	maxSeries = 32
	// bareMost in bytes a frame is the largest acknowledgement without payload: 14 Ethernet + 40 IPv6 + 20 TCP + 32 options.
	bareMost = 106
)

// add counts bytes in a millisecond: the time in the upper half of a cell, the bytes in the lower.
func (s *series) add(ms uint32, bytes uint64) {
	cell := &s.cells[ms%ringMs]
	v := cell.Load()
	if uint32(v>>32) != ms {
		v = uint64(ms) << 32
	}
	cell.Store(v + bytes) // 4 GiB in a millisecond would run over; no port does that
}

// bytes is what was counted in a millisecond.
func (s *series) bytes(ms uint32) uint64 {
	if v := s.cells[ms%ringMs].Load(); uint32(v>>32) == ms {
		return v & (1<<32 - 1)
	}
	return 0
}

// seriesUser is the pair that has a series.
type seriesUser struct {
	pair   Pair
	slot   int    // index in Counter.slots
	weight uint64 // bytes of its best report, decaying
	taken  bool
	since  uint32 // ms, from when the series is this pair's
}

const (
	// seriesLeast in bytes a report: below, a pair gets no series (2 kB/s at 10 Hz).
	seriesLeast = 200
	// seriesRatio is how much more a pair must send than the weakest that has a series, to take it over.
	seriesRatio = 4
	// seriesDecay is the part of its weight a pair keeps from one report to the next: a half-life of 7 s at 10 Hz, so that a
	// compute phase does not cost a pair its series.
	seriesDecay = 0.99
)

// assign sees to it that the pair of a slot, which sent so many bytes since the last report, has a series if it deserves one.
func (c *Counter) assign(at int, p Pair, bytes uint64, now uint32) {
	if bytes < seriesLeast || p.Dst.IsGroup() {
		return
	}
	if t := c.traced[at].Load(); t != 0 && c.tracks[t-1].taken && c.tracks[t-1].pair == p {
		u := &c.tracks[t-1]
		u.weight = max(u.weight, bytes)
		return
	}
	weakest, least := -1, bytes/seriesRatio
	for i := range c.tracks {
		if u := &c.tracks[i]; !u.taken {
			weakest = i
			break
		} else if u.weight < least {
			weakest, least = i, u.weight
		}
	}
	if weakest < 0 {
		return
	}
	u := &c.tracks[weakest]
	if u.taken {
		c.traced[u.slot].CompareAndSwap(uint32(weakest+1), 0)
	}
	*u = seriesUser{pair: p, slot: at, weight: bytes, taken: true, since: now + 1}
	c.traced[at].Store(uint32(weakest + 1))
}

// age weakens all that have a series, and frees those whose slot changed hands.
func (c *Counter) age() {
	for i := range c.tracks {
		u := &c.tracks[i]
		if !u.taken {
			continue
		}
		u.weight = uint64(float64(u.weight) * seriesDecay)
		s := &c.slots[u.slot]
		if b := s.keyB.Load(); b != 0 && (macOf(s.keyA.Load()) != u.pair.Src || macOf(b&macBits) != u.pair.Dst) {
			c.traced[u.slot].CompareAndSwap(uint32(i+1), 0)
			u.taken = false
		}
	}
}

// Bins is what one pair sent in each millisecond of a report's time, as levels (see level): a value, or 0 and how many
// zeros follow each other. Trailing zeros are left out.
type Bins struct {
	Pair
	Delivered bool // counted where it left the overlay, not where it entered
	Levels    []byte
}

// level is a number of bytes on a scale of an eighth of an octave: 1 is 64 or less, 8 more is twice as much.
func level(bytes uint64) byte {
	if bytes == 0 {
		return 0
	}
	q := 1
	for bytes >= 128 && q < 240 {
		bytes >>= 1
		q += 8
	}
	for limit := uint64(64 + 4); limit <= 124 && bytes >= limit; limit += 8 {
		q++ // steps of 8/64: within 6 %
	}
	return byte(q)
}

// bytesOf is the middle of what a level stands for.
func bytesOf(q byte) float64 {
	if q == 0 {
		return 0
	}
	octave, step := (q-1)/8, (q-1)%8
	return float64(uint64(64+8*uint64(step)) << octave)
}

// packLevels packs levels.
func packLevels(levels []byte) []byte {
	var out []byte
	zeros := 0
	for _, q := range levels {
		if q == 0 {
			zeros++
			continue
		}
		for ; zeros > 0; zeros -= min(zeros, 255) {
			out = append(out, 0, byte(min(zeros, 255)))
		}
		out = append(out, q)
	}
	return out
}

// eachLevel calls f for each millisecond, from 0, that is not 0, up to a limit.
func eachLevel(packed []byte, limit int, f func(ms int, bytes float64)) {
	at := 0
	for i := 0; i < len(packed) && at < limit; i++ {
		if packed[i] == 0 {
			if i++; i < len(packed) {
				at += int(packed[i])
			}
			continue
		}
		f(at, bytesOf(packed[i]))
		at++
	}
}
