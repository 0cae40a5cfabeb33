package adapt

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The exact values are counted out by hand, the one with ties is worked out by the formula of the normal approximation: U = 2,
// σ² = 25/12 (11 − 24/90).
func TestRankSum(t *testing.T) {
	for _, row := range []struct {
		name string
		a, b []float64
		want float64
	}{
		{"nothing", nil, []float64{1}, 1},
		{"3 below 3", []float64{1, 2, 3}, []float64{4, 5, 6}, 0.1},
		{"4 below 4", []float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}, 2.0 / 70},
		{"U = 1 of 3 and 4", []float64{1, 2, 4}, []float64{3, 5, 6, 7}, 4.0 / 35},
		{"the same", []float64{1, 3, 5}, []float64{2, 4, 6}, 0.7},
		{"all tied", []float64{1, 1}, []float64{1, 1}, 1},
		{"ties", []float64{1, 2, 2, 3, 4}, []float64{3, 4, 5, 5, 6}, 0.0345},
	} {
		if got := RankSum(row.a, row.b); math.Abs(got-row.want) > 5e-4 {
			t.Errorf("%s: p = %.4f, want %.4f", row.name, got, row.want)
		}
		if got, back := RankSum(row.a, row.b), RankSum(row.b, row.a); math.Abs(got-back) > 1e-12 {
			t.Errorf("%s: %v one way and %v the other", row.name, got, back)
		}
	}
}

// Of samples from one distribution, one in a hundred has p below 0.01, and not more.
func TestRankSumIsRightAboutChance(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{10, 25, 60} {
		low := 0
		for range 5000 {
			a, b := make([]float64, n), make([]float64, n)
			for i := range n {
				a[i], b[i] = dice.ExpFloat64(), dice.ExpFloat64()
			}
			if RankSum(a, b) < 0.01 {
				low++
			}
		}
		if low < 20 || low > 75 { // 50 are expected, ± 3.5 σ
			t.Errorf("%d values each: %d of 5000 below 0.01", n, low)
		}
	}
}
