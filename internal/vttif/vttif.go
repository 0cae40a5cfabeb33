// Package vttif turns counts of Ethernet frames into the topology of the applications that sent them.
//
// It is pure: counters are filled by the data plane, reports arrive as values, the time is an argument. It does not forward,
// does not send reports, and does not decide what the overlay should do about a topology (see adapt).
//
// The way of a count, in file order: a worker's Counter (counter.go) is read by its node's Differ (differ.go), whose Report
// of sparse deltas goes to the Proxy's Inferrer (inferrer.go), which keeps it in windows (window.go), judges edges
// (judge.go), damps (damp.go), and publishes a Topology of named groups (groups.go, name.go, isomorph.go).
package vttif

import (
	"cmp"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// Pair is who sent to whom. A pair is directed; the edges of a Topology are not.
type Pair struct{ Src, Dst ether.MAC }

// Compare orders pairs by source, then by destination.
func (p Pair) Compare(q Pair) int {
	return cmp.Or(p.Src.Compare(q.Src), p.Dst.Compare(q.Dst))
}

// Tally is what was counted of one pair at the edges of the overlay. A super-frame counts as the frames it
// stands for, with their bytes on the wire.
type Tally struct {
	OfferedBytes    uint64 // received from a local port: the traffic matrix
	OfferedFrames   uint64
	OfferedBare     uint64 // of OfferedFrames, TCP segments without payload
	DeliveredBytes  uint64 // written to a local port: beside the matrix, what arrived of it
	DeliveredFrames uint64
}

// IsZero reports whether nothing was counted.
func (t Tally) IsZero() bool { return t == Tally{} }

// Plus is the sum of two tallies.
func (t Tally) Plus(u Tally) Tally {
	return Tally{
		OfferedBytes:    t.OfferedBytes + u.OfferedBytes,
		OfferedFrames:   t.OfferedFrames + u.OfferedFrames,
		OfferedBare:     t.OfferedBare + u.OfferedBare,
		DeliveredBytes:  t.DeliveredBytes + u.DeliveredBytes,
		DeliveredFrames: t.DeliveredFrames + u.DeliveredFrames,
	}
}

// Minus is what was counted between u and t, both cumulative. A field that ran backwards was restarted and counts from 0.
func (t Tally) Minus(u Tally) Tally {
	return Tally{
		OfferedBytes:    since(t.OfferedBytes, u.OfferedBytes),
		OfferedFrames:   since(t.OfferedFrames, u.OfferedFrames),
		OfferedBare:     since(t.OfferedBare, u.OfferedBare),
		DeliveredBytes:  since(t.DeliveredBytes, u.DeliveredBytes),
		DeliveredFrames: since(t.DeliveredFrames, u.DeliveredFrames),
	}
}

func since(now, before uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// above is what t has more than u, field by field.
func (t Tally) above(u Tally) Tally {
	return Tally{
		OfferedBytes:    t.OfferedBytes - min(t.OfferedBytes, u.OfferedBytes),
		OfferedFrames:   t.OfferedFrames - min(t.OfferedFrames, u.OfferedFrames),
		OfferedBare:     t.OfferedBare - min(t.OfferedBare, u.OfferedBare),
		DeliveredBytes:  t.DeliveredBytes - min(t.DeliveredBytes, u.DeliveredBytes),
		DeliveredFrames: t.DeliveredFrames - min(t.DeliveredFrames, u.DeliveredFrames),
	}
}

// content is the delivered bytes, unless they look like bare acknowledgements.
func (t Tally) content() uint64 {
	if t.DeliveredBytes <= t.DeliveredFrames*bareMost {
		return 0
	}
	return t.DeliveredBytes
}

// bareBytes is what a bare acknowledgement takes of the offered bytes: 14 Ethernet + 20 IPv4 + 20 TCP + 12 timestamps, the
// common case of Linux guests. IPv6 and selective acknowledgements add at most 52 bytes a frame, far below any threshold.
const bareBytes = 66

// payload is the offered bytes without bare acknowledgements: what an application sent.
func (t Tally) payload() uint64 {
	if t.OfferedBare >= t.OfferedFrames {
		return 0
	}
	return t.OfferedBytes - min(t.OfferedBytes, t.OfferedBare*bareBytes)
}

// Delta is what was counted of one pair since the report before.
type Delta struct {
	Pair
	Tally
}

// Report is what one node counted since its report before.
type Report struct {
	Node   string
	Boot   uint64  // of the node's process; any value that differs from one start to the next
	Seq    uint64  // 1, 2, 3 … within one boot
	Deltas []Delta // sorted by pair, none of them zero
	Other  Tally   // counted for pairs that gave way in the counters before they were reported

	// What the strongest pairs sent in each millisecond from BinsFrom on, BinsLen of them, by the node's own clock.
	BinsFrom uint32
	BinsLen  int
	Bins     []Bins
}

// Edge is two VMs that exchange traffic.
type Edge struct {
	A, B   ether.MAC // A < B
	Weight float64   // 0..1, of the strongest edge of its group
	Rate   float64   // bytes/s, both directions, held while the group is silent
	Since  time.Time // when it was published
	LAN    bool      // one end lives on the Proxy's LAN
}

// Group is VMs that talk together: one connected component of the topology, endpoints on the LAN apart.
type Group struct {
	VMs        []ether.MAC // sorted
	LAN        []ether.MAC // endpoints on the Proxy's LAN that VMs of the group talk to, sorted
	Edges      []Edge      // sorted by A, B
	Name       string      // the first of Names, or "irregular"
	Names      []string    // all patterns this shape has, in a fixed order of preference; LAN endpoints do not count
	Order      []ether.MAC // the VM of each rank, in the order that shows the pattern Name; empty when irregular
	Confidence float64     // 0..1: how clearly the weakest edge stands above the strongest traffic that is none; 1 = nothing else
	Rate       float64     // bytes/s of all edges
	Active     bool        // traffic flows now; false in a compute phase or a silence
	Since      time.Time   // when its set of edges last changed
	Goal       Goal        // how fast the application is
}

// Goal answers "is the application faster now?" from the traffic alone.
type Goal struct {
	Period     time.Duration // of one iteration: the time after which the pattern of all pairs repeats; 0 when there is none
	Confidence float64       // of Period, 0..1; below SureEnough it is a guess
	Trend      float64       // relative change of the period over the last minute; negative is faster
	Delivered  float64       // bytes/s that arrived, over whole periods when the period is known
	Requests   float64       // a second, where one side asks and the other answers; 0 when nobody does
	RoundTrip  time.Duration // from the last byte of a request until the first of its answer, at the asking VM's host
}

// Topology is what the inference holds to be the application topology. Values are never changed once handed out.
type Topology struct {
	Version uint64    // +1 when the set of edges changes
	Since   time.Time // when it last did
	Edges   []Edge    // sorted by A, B
	Groups  []Group   // sorted by first VM
}

// Entry is one pair of the traffic matrix, as seen over the window.
type Entry struct {
	Pair
	Offered   float64 // bytes/s
	Delivered float64 // bytes/s
	Total     Tally   // since the pair was first seen
	Edge      bool    // the pair is part of the published topology
}
