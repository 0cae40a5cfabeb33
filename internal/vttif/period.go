package vttif

import (
	"math"
	"math/bits"
	"math/cmplx"
)

// spectrum finds the period of many series at once: the autocorrelations of all of them are added, so a lag counts only when
// the pattern of all pairs repeats after it. A butterfly's VMs send at every stage, but its pairs only once an iteration.
// The sum is worked out by way of the power spectrum (Wiener and Khinchin).
type spectrum struct {
	size  int // of the transform, a power of two and at least twice the samples
	roots []complex128
	work  []complex128
	power []float64
	lags  []float64 // of the last find: the autocorrelation by lag, 1 at 0
	count int
	total float64 // weights
}

func newSpectrum(samples int) *spectrum {
	size := 1 << bits.Len(uint(2*samples-1))
	s := &spectrum{
		size: size, roots: make([]complex128, size/2), work: make([]complex128, size),
		power: make([]float64, size), lags: make([]float64, samples),
	}
	for i := range s.roots {
		s.roots[i] = cmplx.Exp(complex(0, -2*math.Pi*float64(i)/float64(size)))
	}
	return s
}

func (s *spectrum) reset() {
	clear(s.power)
	clear(s.work)
	s.count, s.total = 0, 0
}

// steady is the least variation (standard deviation by mean) of a series that says something: below it are the beats between
// packets and cells of a stream that never pauses.
const steady = 0.15

// add counts a series by its weight, as far as it varies.
func (s *spectrum) add(series []float64, weight float64) {
	mean, square := 0.0, 0.0
	for _, v := range series {
		mean += v
	}
	mean /= float64(len(series))
	for _, v := range series {
		square += (v - mean) * (v - mean)
	}
	if weight <= 0 || square <= 0 || math.Sqrt(square/float64(len(series))) < steady*mean {
		s.total += max(weight, 0) // it speaks against a period
		return
	}
	s.total += weight
	scale := math.Sqrt(weight / square)
	// Two real series share one transform: |Z(k)|² + |Z(-k)|² is twice the sum of both powers.
	if s.count%2 == 0 {
		clear(s.work)
		for i, v := range series {
			s.work[i] = complex((v-mean)*scale, 0)
		}
	} else {
		for i, v := range series {
			s.work[i] += complex(0, (v-mean)*scale)
		}
	}
	if s.count++; s.count%2 == 0 {
		s.flush()
	}
}

func (s *spectrum) flush() {
	s.transform()
	for k, z := range s.work {
		p := (real(z)*real(z) + imag(z)*imag(z)) / 2
		s.power[k] += p
		s.power[(s.size-k)%s.size] += p
	}
}

// correlate turns the power of all series, each of n samples, into autocorrelations.
func (s *spectrum) correlate(n int) bool {
	if s.count%2 == 1 {
		s.flush()
	}
	if s.total <= 0 || s.count == 0 {
		return false
	}
	for k, p := range s.power {
		s.work[k] = complex(p, 0)
	}
	s.transform()
	scale := 1 / (float64(s.size) * s.total)
	for lag := range n {
		s.lags[lag] = real(s.work[lag]) * scale * float64(n) / float64(n-lag)
	}
	return true
}

// transform is the fast Fourier transform of work, in place (Cooley and Tukey, radix 2).
func (s *spectrum) transform() {
	w, shift := s.work, 64-bits.Len(uint(s.size-1))
	for i := range w {
		if j := int(bits.Reverse64(uint64(i)) >> shift); j > i {
			w[i], w[j] = w[j], w[i]
		}
	}
	for half := 1; half < s.size; half *= 2 {
		stride := s.size / (2 * half)
		for start := 0; start < s.size; start += 2 * half {
			a, b := w[start:start+half], w[start+half:start+2*half]
			for i := range a {
				t := b[i] * s.roots[i*stride]
				a[i], b[i] = a[i]+t, a[i]-t
			}
		}
	}
}

const (
	// mostLag: a lag is believed when the window holds at least three periods.
	mostLag = 3
	// asGood is how near a shorter lag must come to the best to be the period, of which the best is then a multiple.
	asGood = 0.85
	// leastPeak is the correlation below which a peak is chance.
	leastPeak = 0.2
)

// find returns the period in cells, between least and a third of the n samples, and its correlation; 0 when there is none.
func (s *spectrum) find(n, least int) (period, sure float64) {
	most := n / mostLag
	r := s.lags
	start := 1 // behind the hill around lag 0
	for start < most && r[start] > 0.5*r[0] && r[start+1] < r[start] {
		start++
	}
	start = max(start, least)
	best := 0.0
	for lag := start; lag < most; lag++ {
		if s.peak(lag) {
			best = max(best, r[lag])
		}
	}
	if best < leastPeak {
		return 0, 0
	}
	first := start
	for ; first < most; first++ {
		if s.peak(first) && r[first] >= asGood*best {
			break
		}
	}
	return s.refine(first, most), min(r[first], 1)
}

func (s *spectrum) peak(lag int) bool {
	return s.lags[lag] > s.lags[lag-1] && s.lags[lag] >= s.lags[lag+1]
}

// refine makes a period more exact by looking where its multiples peak: an error of half a cell in the eighth is a sixteenth.
func (s *spectrum) refine(lag, most int) float64 {
	period := s.top(lag)
	for k := 2; ; k++ {
		near := int(math.Round(period * float64(k)))
		reach := max(1, int(period/8)) // a multiple is off by at most k/(k-1) of what the one before was off
		if near+reach >= most {
			return period
		}
		at := near
		for i := near - reach; i <= near+reach; i++ {
			if s.lags[i] > s.lags[at] {
				at = i
			}
		}
		if !s.peak(at) || s.lags[at] < leastPeak {
			return period
		}
		period = s.top(at) / float64(k)
	}
}

// top is where the parabola through a peak and its neighbours has its vertex.
func (s *spectrum) top(lag int) float64 {
	a, b, c := s.lags[lag-1], s.lags[lag], s.lags[lag+1]
	if bend := a - 2*b + c; bend < 0 {
		return float64(lag) + (a-c)/(2*bend)
	}
	return float64(lag)
}
