package vttif

import (
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// Inferrer is the Proxy's: reports go in, the application topology comes out. It belongs to one goroutine.
type Inferrer struct {
	cfg         Config // cooked
	slot        time.Duration
	slots       int
	removeAfter time.Duration // cfg.RemoveAfter, or longer when the bound asks for it
	epoch       time.Time     // of the first call; all times inside are durations since then, on the monotonic clock if there is one
	started     bool
	last        time.Duration // of the Step before

	ledger   ledger
	flows    map[Pair]*flow // by Pair with Src < Dst
	order    []*flow        // the same, to walk; order[f.at] == f
	vertices map[ether.MAC]*vertex
	hand     int            // where eviction looks next
	owned    map[string]int // flows, by the node that reported them first
	other    Tally          // counted for pairs that found no room, here or at a node

	published     []*flow       // the topology, sorted by pair
	candidates    []*flow       // above the high threshold and not published, in the order of the walk
	candidatesNew time.Duration // when that set last changed
	strongest     float64       // largest entry, for Global
	stamp         uint64        // of the present Step; marks vertices whose sums are of it
	version       uint64
	since         time.Time
	groups        []Group // of the topology last built; names are taken from here while the edges stay the same

	goals   []*goal
	looked  time.Duration // when the period of any group was last looked for
	pulses  int           // how many flows have, each way
	spectra [pulseRings]*spectrum
	samples []float64 // scratch of look
}

// flow is what is known of two MACs: the traffic both ways, and how it was judged.
type flow struct {
	pair      Pair   // Src < Dst
	owner     string // the node that reported it first
	at        int    // place in Inferrer.order
	a, b      *vertex
	never     bool // no edge whatever flows: a group address, or one MAC to itself
	window    window
	total     [2]Tally
	heard     time.Duration
	fast      float64 // bytes/s of payload both ways over fastSlots, and over the whole window; of the present Step
	slow      float64
	even      bool // there was payload in each interval of fastSlots: not one burst
	candidate bool
	entered   time.Duration // when it became one
	published bool
	since     time.Time     // when it was
	stay      time.Duration // how long it is kept unused, learned from having left too early
	left      time.Duration // when it was last removed for being unused; 0 for never
	used      bool          // published and above the low threshold
	unused    time.Duration // for how long it was not while its group was active
	active    time.Duration // when its group last was
	peak      float64       // bytes/s; strongest slow, decaying: the reference while the group computes
	rate      float64       // bytes/s, smoothed over active time

	pulse  [2]*pulse     // each way; nil for none
	talks  [2]talk       // by who asks
	period time.Duration // of the group, when last known
}

// vertex is one MAC. All but mac and flows is scratch of the present Step.
type vertex struct {
	mac    ether.MAC
	flows  int // that name it
	stamp  uint64
	lan    bool
	fast   float64 // strongest flow at it, bytes/s
	slow   float64
	even   float64 // strongest fast of a flow that is even
	held   float64 // strongest peak at it, at heldShare
	peak   float64 // the same, whole
	parent *vertex // union-find over edges
	active bool    // of a root: an edge of the component carries traffic
	group  int     // number of the published group, from 1; 0 = none
	listed bool    // among the group's VMs
}

// NewInferrer makes an Inferrer without traffic.
func NewInferrer(c Config) *Inferrer {
	c = c.Cooked()
	return &Inferrer{
		cfg: c, slot: c.slot(), slots: c.slots(), removeAfter: c.RemoveAfter,
		ledger:   ledger{nodes: map[string]*attendance{}, limit: c.MaxNodes},
		flows:    map[Pair]*flow{},
		vertices: map[ether.MAC]*vertex{},
		owned:    map[string]int{},
	}
}

// Bound hands in the effective bound on configuration time: edges stay for at least ten of it.
func (in *Inferrer) Bound(d time.Duration) {
	in.removeAfter = in.cfg.RemoveAfter
	if !in.cfg.Global {
		in.removeAfter = max(in.removeAfter, removeBounds*d)
	}
}

// Add counts a report that arrived now. Reports may be late, repeated, out of order, or of a restarted node.
func (in *Inferrer) Add(now time.Time, r Report) {
	at := in.clock(now)
	covers, ok := in.ledger.fresh(at, &r)
	if !ok {
		return
	}
	intervals := max(int((covers+in.slot/2)/in.slot), 1)
	in.other = in.other.Plus(r.Other)
	for _, d := range r.Deltas {
		key, dir := d.Pair, 0
		if key.Src.Compare(key.Dst) > 0 {
			key, dir = Pair{Src: key.Dst, Dst: key.Src}, 1
		}
		f := in.flows[key]
		if f == nil {
			if f = in.enter(at, r.Node, key, d.Tally); f == nil {
				in.other = in.other.Plus(d.Tally)
				continue
			}
		}
		f.heard = max(f.heard, at)
		f.total[dir] = f.total[dir].Plus(d.Tally)
		f.window.add(in.interval(at), intervals, dir, d.Tally)
	}
	in.bins(&r)
}

// Other is what was counted for pairs that found no room, at the nodes or here: the traffic Matrix does not show.
func (in *Inferrer) Other() Tally { return in.other }

// Matrix is the traffic over the window that ends now, by pair, group addresses included.
func (in *Inferrer) Matrix(now time.Time) []Entry {
	at := in.interval(in.clock(now))
	seconds := (time.Duration(in.slots) * in.slot).Seconds()
	var entries []Entry
	for _, f := range in.order {
		sum := f.window.sum(at)
		for dir, p := range [2]Pair{f.pair, {Src: f.pair.Dst, Dst: f.pair.Src}} {
			if f.total[dir].IsZero() {
				continue
			}
			entries = append(entries, Entry{
				Pair: p, Total: f.total[dir], Edge: f.published,
				Offered: float64(sum.offered[dir]) / seconds, Delivered: float64(sum.delivered[dir]) / seconds,
			})
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return a.Pair.Compare(b.Pair) })
	return entries
}

// startedAt is the first call's place on the inner clock; 1 h, so that no interval of a window is numbered below 0.
const startedAt = time.Hour

// clock is now on the inner clock. It does not run backwards.
func (in *Inferrer) clock(now time.Time) time.Duration {
	if !in.started {
		in.started = true
		in.epoch = now.Add(-startedAt)
		in.last = startedAt
	}
	return max(now.Sub(in.epoch), in.last)
}

func (in *Inferrer) interval(at time.Duration) int64 { return int64(at / in.slot) }

// evictionLook is how many flows are looked at to find one that gives way; enough that a flood of addresses evicts itself.
const evictionLook = 8

const (
	// pairShare is the part of all pairs that one node may have reported: a node that lies, or whose guest invents addresses,
	// leaves room for the others. Never fewer than leastMaxPairs.
	pairShare = 4
	// maxEdgesOfNode is how many pairs that one node reported may be edges, or about to be: sixteen VMs that each talk to 128.
	maxEdgesOfNode = 2048
)

// enter makes room for a pair, or returns nil when all that could give way carry more than it does.
func (in *Inferrer) enter(at time.Duration, node string, key Pair, t Tally) *flow {
	greedy := in.owned[node] >= max(in.cfg.MaxPairs/pairShare, leastMaxPairs)
	if greedy || len(in.order) >= in.cfg.MaxPairs {
		looks := evictionLook
		if greedy {
			looks *= pairShare // not all that it looks at are its own
		}
		weakest, least := (*flow)(nil), t.OfferedBytes+1
		for range min(looks, len(in.order)) {
			in.hand = (in.hand + 1) % len(in.order)
			f := in.order[in.hand]
			if greedy && f.owner != node {
				continue
			}
			if sum := f.window.payload(in.interval(at), in.slots); !f.published && sum < least {
				weakest, least = f, sum
			}
		}
		if weakest == nil {
			return nil
		}
		in.forget(weakest)
	}
	in.owned[node]++
	f := &flow{
		pair: key, owner: node, at: len(in.order), a: in.vertex(key.Src), b: in.vertex(key.Dst),
		never:  key.Src == key.Dst || key.Src.IsGroup() || key.Dst.IsGroup(),
		window: newWindow(in.slots, in.interval(at)),
	}
	in.flows[key] = f
	in.order = append(in.order, f)
	return f
}

func (in *Inferrer) vertex(m ether.MAC) *vertex {
	v := in.vertices[m]
	if v == nil {
		v = &vertex{mac: m}
		in.vertices[m] = v
	}
	v.flows++
	return v
}

func (in *Inferrer) forget(f *flow) {
	delete(in.flows, f.pair)
	in.quiet(f)
	end := len(in.order) - 1
	in.order[f.at] = in.order[end]
	in.order[f.at].at = f.at
	in.order[end] = nil
	in.order = in.order[:end]
	if f.candidate {
		in.candidates = slices.DeleteFunc(in.candidates, func(c *flow) bool { return c == f })
	}
	if in.owned[f.owner]--; in.owned[f.owner] == 0 {
		delete(in.owned, f.owner)
	}
	for _, v := range [2]*vertex{f.a, f.b} {
		if v.flows--; v.flows == 0 {
			delete(in.vertices, v.mac)
		}
	}
}
