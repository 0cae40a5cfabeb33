package adapt

import (
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

const (
	// leastRates is how many values a sample must have, each of whole periods; lastRates is enough at the last look, for
	// applications with periods of seconds.
	leastRates = 10
	lastRates  = 6
	// leastWindow is the shortest time a value is taken over: twice the interval of the nodes' reports. plainWindow is
	// taken where there is no period.
	leastWindow = 200 * time.Millisecond
	plainWindow = 500 * time.Millisecond
	// pause is how long nothing must be delivered to end a stretch, or two periods.
	pause = 2 * time.Second
	// related: values that resemble their neighbours more than this say the same twice; they are taken together.
	related = 0.4
)

// side is what one side of a comparison has: rates over equal windows, and the mean over all.
type side struct {
	rates []float64 // bytes/s
	mean  float64
	lasts time.Duration
}

// enough tells whether a side can be compared.
func (s side) enough(last bool) bool {
	return len(s.rates) >= leastRates && s.lasts >= Judging || last && len(s.rates) >= lastRates && s.lasts >= Judging
}

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

// sample cuts a stretch into windows of whole periods, longer ones where neighbours resemble one another.
func sample(bytes []uint64, slot, period time.Duration) side {
	window := plainWindow
	if period > 0 {
		window = (leastWindow + period - 1) / period * period
	}
	s := side{lasts: time.Duration(len(bytes)) * slot}
	s.rates = rates(bytes, slot, window)
	for len(s.rates) >= 2*leastRates && likeness(s.rates) > related {
		window *= 2
		s.rates = rates(bytes, slot, window)
	}
	for _, r := range s.rates {
		s.mean += r / float64(len(s.rates))
	}
	return s
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
