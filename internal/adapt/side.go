package adapt

import (
	"math"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

const (
	// leastRates is how many values a sample must have, each of whole periods, beside lasting long enough: six against six
	// can be told apart at p = 0.002. Values are put together while there are at least manyRates.
	leastRates = 6
	manyRates  = 20
	// leastWindow is the shortest time a value is taken over: twice the interval of the nodes' reports. plainWindow is
	// taken where there is no period.
	leastWindow = 200 * time.Millisecond
	plainWindow = 500 * time.Millisecond
	// pause is how long nothing must be delivered to end a stretch, or two periods.
	pause = 2 * time.Second
	// related: values that resemble their neighbours more than this say the same twice; they are taken together.
	related = 0.3
)

// side is what one side of a comparison has: rates over equal windows, and the mean over all.
type side struct {
	rates []float64 // bytes/s
	mean  float64
	lasts time.Duration
	times int  // windows are so many times as long as the shortest
	rough bool // neighbours resemble one another even so: a test would be too sure
}

// enough tells whether a side can be compared.
func (s side) enough() bool { return len(s.rates) >= leastRates && s.lasts >= Judging }

// cut is the part of a course between two moments: whole intervals.
func cut(c vttif.Course, from, until time.Time) []uint64 {
	i := max(0, int((from.Sub(c.From)+c.Slot-1)/c.Slot))
	k := min(len(c.Bytes), int(until.Sub(c.From)/c.Slot))
	if i >= k {
		return nil
	}
	return c.Bytes[i:k]
}

// lastStretch is what was delivered since the last pause, without the interval in which it began.
func lastStretch(bytes []uint64, slot, gap time.Duration) []uint64 {
	begin, silent := 0, int(gap/slot) // it may have begun here
	for i, b := range bytes {
		switch {
		case b == 0:
			silent++
		case time.Duration(silent)*slot >= gap:
			begin, silent = i+1, 0
		default:
			silent = 0
		}
	}
	if time.Duration(silent)*slot >= gap {
		return nil
	}
	return bytes[min(begin, len(bytes)):]
}

// firstStretch is what was delivered until the first pause.
func firstStretch(bytes []uint64, slot, gap time.Duration) []uint64 {
	silent := 0
	for i, b := range bytes {
		if silent++; b > 0 {
			silent = 0
		}
		if time.Duration(silent)*slot >= gap {
			return bytes[:i+1-silent]
		}
	}
	return bytes
}

// sample cuts a stretch into windows of whole periods, times as long as need be, and longer ones where neighbours resemble
// one another.
func sample(bytes []uint64, slot, period time.Duration, times int) side {
	window := plainWindow
	if period > 0 {
		window = (leastWindow + period - 1) / period * period
	}
	s := side{lasts: time.Duration(len(bytes)) * slot, times: max(times, 1)}
	limit := func() float64 {
		if period == 0 {
			return related
		}
		return related + 1/math.Sqrt(float64(len(s.rates)+1)) // what chance does to few values that are known to repeat
	}
	for {
		s.rates = rates(bytes, slot, time.Duration(s.times)*window)
		s.rough = likeness(s.rates) > limit()
		if !s.rough || len(s.rates) < manyRates {
			break
		}
		s.times *= 2
	}
	s.mean = mean(s.rates)
	return s
}

// compare cuts both sides; where nothing repeats, alike: the longer says how long windows must be. The period after the change may not be known yet,
// so it is the first of those that may be it by which neighbours do not resemble one another.
func compare(before, after []uint64, slot, periodBefore, periodAfter time.Duration) (b, a side) {
	b = sample(before, slot, periodBefore, 1)
	period := periodAfter
	for _, p := range [...]time.Duration{periodAfter, periodBefore, 0} {
		if a = sample(after, slot, p, 1); !a.rough {
			period = p
			break
		}
	}
	if periodBefore == 0 && period == 0 {
		times := max(a.times, b.times)
		return sample(before, slot, 0, times), sample(after, slot, 0, times)
	}
	return b, a
}

// rates are the bytes/s over consecutive windows, which need not be whole intervals.
func rates(bytes []uint64, slot, window time.Duration) (list []float64) {
	sums := make([]float64, len(bytes)+1)
	for i, b := range bytes {
		sums[i+1] = sums[i] + float64(b)
	}
	upTo := func(at time.Duration) float64 {
		i := min(int(at/slot), len(bytes))
		if i == len(bytes) {
			return sums[i]
		}
		return sums[i] + float64(bytes[i])*float64(at%slot)/float64(slot)
	}
	total := time.Duration(len(bytes)) * slot
	for from := time.Duration(0); from+window <= total; from += window {
		list = append(list, (upTo(from+window)-upTo(from))/window.Seconds())
	}
	return list
}

// likeness is how much values resemble those after them: the autocorrelation at lag 1.
func likeness(values []float64) float64 {
	mean := 0.0
	for _, v := range values {
		mean += v / float64(len(values))
	}
	var with, of float64
	for i, v := range values {
		of += (v - mean) * (v - mean)
		if i > 0 {
			with += (v - mean) * (values[i-1] - mean)
		}
	}
	if of == 0 {
		return 0
	}
	return with / of
}
