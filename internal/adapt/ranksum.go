package adapt

import (
	"math"
	"slices"
)

// exactUpTo is how many pairs of values are counted out exactly; above, the normal approximation is good to the third digit.
// With ties it is taken for few values, too: there it says 0.013 for 0.009, so it errs on the careful side.
const exactUpTo = 400

// RankSum is the two-sided p of the Mann–Whitney test that two samples come from the same distribution: how likely ranks at
// least as far apart are, if they do. It is 1 when a sample is empty. (Mann, Whitney: On a test of whether one of two random
// variables is stochastically larger than the other, 1947.)
func RankSum(a, b []float64) float64 {
	n, m := len(a), len(b)
	if n == 0 || m == 0 {
		return 1
	}
	u, ties := statistic(a, b)
	if ties == 0 && n*m <= exactUpTo {
		return exact(min(u, float64(n*m)-u), n, m)
	}
	total := float64(n + m)
	mean := float64(n*m) / 2
	sigma := math.Sqrt(float64(n*m) / 12 * (total + 1 - ties/(total*(total-1))))
	if sigma == 0 {
		return 1
	}
	z := max(0, math.Abs(u-mean)-0.5) / sigma
	return math.Erfc(z / math.Sqrt2)
}

// statistic is Mann and Whitney's U of the first sample, and Σ(t³−t) over groups of t equal values.
func statistic(a, b []float64) (u, ties float64) {
	all := slices.Concat(a, b)
	slices.Sort(all)
	rank := map[float64]float64{}
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j] == all[i] {
			j++
		}
		rank[all[i]] = float64(i+j+1) / 2
		t := float64(j - i)
		ties += t*t*t - t
		i = j
	}
	for _, x := range a {
		u += rank[x]
	}
	return u - float64(len(a)*(len(a)+1))/2, ties
}

// exact is twice the share of all arrangements of n and m values whose U is at most u.
func exact(u float64, n, m int) float64 {
	// ways[i][k]: arrangements of i of the first and the j of the second so far with U = k
	ways := make([][]float64, n+1)
	for i := range ways {
		ways[i] = make([]float64, n*m+1)
		ways[i][0] = 1
	}
	for j := 1; j <= m; j++ {
		for i := 1; i <= n; i++ {
			// the largest value is of the second sample, or of the first and above all j
			for k := n * m; k >= 0; k-- {
				if k >= j {
					ways[i][k] += ways[i-1][k-j]
				}
			}
		}
	}
	low, all := 0.0, 0.0
	for k, w := range ways[n] {
		all += w
		if float64(k) <= u {
			low += w
		}
	}
	return min(1, 2*low/all)
}
