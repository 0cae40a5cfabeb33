package demo

import "github.com/virtuoso-vnet/virtuoso/internal/workload"

// speedupBound is what the wires allow: the time an iteration needs on the star, where everything crosses the Proxy's
// line, over the time it needs when neighbours have links of their own. Both count the application's bytes only.
func speedupBound(s *workload.Schedule) float64 {
	var star, direct float64
	for _, phase := range s.Steps(0) {
		up, down := make([]int64, s.Ranks()), make([]int64, s.Ranks())
		var through int64
		for _, e := range phase {
			up[e.From] += e.Bytes
			down[e.To] += e.Bytes
			through += e.Bytes
		}
		var host int64
		for i := range up {
			host = max(host, up[i], down[i])
		}
		direct += float64(host)
		star += float64(max(host, through))
	}
	if direct == 0 {
		return 1
	}
	return star / direct
}
