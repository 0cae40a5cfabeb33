package demo

import "math"

// Result is what the demo measured, as `vnet demo --json` prints it.
type Result struct {
	VMs          int      `json:"vms"`
	Pattern      string   `json:"pattern"`
	Star         Timing   `json:"star"`
	Adapted      Timing   `json:"adapted"`
	Speedup      float64  `json:"speedup"`       // star over adapted
	SpeedupBound float64  `json:"speedup_bound"` // what the wires allow by arithmetic
	InferenceS   float64  `json:"inference_s"`   // from the application's first iteration to its topology
	AdaptationS  float64  `json:"adaptation_s"`  // from being allowed to adapt to the last commit
	Topology     Topology `json:"topology"`
	LinksAdded   int      `json:"links_added"`
	Bytes        uint64   `json:"bytes_verified"`
	FramesLost   int64    `json:"frames_lost"` // what conservation cannot account for
	WireLost     uint64   `json:"wire_lost"`   // full queues of the emulated wires dropped this many frames; TCP sent them again
	Duplicates   uint64   `json:"duplicates"`
	Seed         uint64   `json:"seed"`
}

// Timing is the median of an iteration's duration over so many iterations.
type Timing struct {
	IterationMS float64 `json:"iteration_ms"`
	Iterations  int     `json:"iterations"`
}

// Topology is what was inferred: undirected edges of VMs, with weights relative to the strongest.
type Topology struct {
	Name  string   `json:"name"`
	Order []string `json:"order,omitempty"`
	Edges [][3]any `json:"edges"`
}

// round keeps three decimals: more would only look precise.
func round(v float64) float64 { return math.Round(v*1000) / 1000 }
