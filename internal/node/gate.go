package node

import (
	"sync/atomic"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

const (
	// maxPortMACs bounds the MACs that are learned behind a port of guests, which have a few, or some hundred containers.
	maxPortMACs = 1024
	// maxLANMACs bounds them behind a LAN port: a whole campus fits.
	maxLANMACs = 32768
	// sightsASecond bounds how often workers bother the loop with senders of one port, sightsBurst at once: a lesson costs
	// the loop some 10 µs.
	sightsASecond, sightsBurst = 2000, 4096
	// asksASecond bounds the questions of one port that a node answers from its directory while the star is down.
	asksASecond, asksBurst = 100, 200
	// linkStorm bounds the flooded frames a second that the Proxy takes from one host, all its ports together.
	linkStorm = 50_000
)

// gate is what a port lets in. Its workers share it, without a lock: what the user said is replaced whole, the rest is words.
type gate struct {
	rule    atomic.Pointer[gateRule] // nil: no limit but the default storm
	storm   bucket
	sights  bucket
	asks    bucket
	refused [numDrops]atomic.Uint64
	strange atomic.Uint64 // senders that were not learned: too many

	residents int  // learned behind the port; the loop's
	warned    bool // that there are too many; the loop's
}

// gateRule is an overlay.PortLimit for workers.
type gateRule struct {
	limit overlay.PortLimit
	only  map[ether.MAC]struct{} // that may send; nil: all
}

func newGateRule(l overlay.PortLimit) *gateRule {
	r := &gateRule{limit: l}
	if len(l.MACs) > 0 {
		r.only = make(map[ether.MAC]struct{}, len(l.MACs))
		for _, mac := range l.MACs {
			r.only[mac] = struct{}{}
		}
	}
	return r
}

// lets says whether mac may send at the port.
func (r *gateRule) lets(mac ether.MAC) bool {
	if r == nil || r.only == nil {
		return true
	}
	_, ok := r.only[mac]
	return ok
}

// flooding is how many flooded frames a second the port may send; negative: any number.
func (r *gateRule) flooding() int {
	if r == nil || r.limit.Storm == 0 {
		return overlay.DefaultStorm
	}
	return r.limit.Storm
}

// refuse counts frames that the port did not let in.
func (g *gate) refuse(why Drop, frames uint64) { g.refused[why].Add(frames) }

// bucket lets so many a second through, at an even pace, and so many at once. Any number of goroutines may share one.
type bucket struct {
	due atomic.Int64 // ns of the clock of take, when all that was let through would be over at an even pace
}

// take says whether n more may go through now, a moment on any clock; burst is how many may at once.
func (b *bucket) take(now time.Duration, n, aSecond, burst int) bool {
	each := int64(time.Second) / int64(max(aSecond, 1))
	for {
		was := b.due.Load()
		next := max(was, int64(now)) + int64(n)*each
		if next-int64(now) > int64(burst)*each {
			return false
		}
		if b.due.CompareAndSwap(was, next) {
			return true
		}
	}
}

// clock is the time of the batch under way, since the node started. It is looked up when the first frame needs it.
func (w *worker) clock() time.Duration {
	if w.now == 0 {
		w.now = max(time.Since(w.node.started), 1)
	}
	return w.now
}

// floods says whether a port may send so many more flooded frames.
func (w *worker) floods(at *localPort, frames uint64) bool {
	most := at.gate.rule.Load().flooding()
	return most < 0 || at.gate.storm.take(w.clock(), int(frames), most, 2*most)
}

// limit takes down what the user lets in at this node's ports.
func (s *state) limit(limits []overlay.PortLimit) {
	of := map[string]overlay.PortLimit{}
	for _, l := range limits {
		of[l.Port] = l
	}
	for _, at := range s.n.ports {
		l, ok := of[at.name]
		if !ok || l.IsZero() {
			at.gate.rule.Store(nil)
			continue
		}
		at.gate.rule.Store(newGateRule(l))
	}
	s.limits = limits
	s.bound.publish()
	s.learnEpoch++ // who may speak again is to be learned again
	s.dirty = true
}

// describe tells what the user lets in at the port, and what was refused there.
func (g *gate) describe(p *vnetv1.Port) {
	if r := g.rule.Load(); r != nil {
		p.Limit = &vnetv1.PortLimit{Storm: int32(r.limit.Storm), DropSpoof: r.limit.DropSpoof, Fixed: r.limit.Fixed}
		for _, mac := range r.limit.MACs {
			p.Limit.Macs = append(p.Limit.Macs, mac.String())
		}
	}
	refused := map[string]uint64{}
	for why := range g.refused {
		if n := g.refused[why].Load(); n > 0 {
			refused[Drop(why).String()] = n
		}
	}
	p.Refused, p.NotLearned = drops(refused), g.strange.Load()
}
