package node

import (
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// reportEvery is how often traffic deltas go to the Proxy: 10 Hz, half the
// seed's fastest rate (§2.2), and enough to publish an edge within 0.5 s.
const reportEvery = 100 * time.Millisecond

// reportAtMost is the longest time between two reports: bins reach back a quarter of a second, what is older is lost.
const reportAtMost = 10 * time.Second

// reporter turns the workers' counts into reports of deltas. The loop owns it.
type reporter struct {
	n        *Node
	differ   *vttif.Differ
	counters []*vttif.Counter
	every    time.Duration // between two reports; the Proxy's wish
	next     time.Time
}

func newReporter(n *Node) reporter {
	r := reporter{n: n, every: reportEvery, differ: vttif.NewDiffer(string(n.name), n.cfg.Boot)}
	for _, w := range n.workers {
		if w.tally != nil {
			r.counters = append(r.counters, w.tally)
		}
	}
	if n.cfg.Imagined != nil {
		r.counters = append(r.counters, n.cfg.Imagined)
	}
	return r
}

// restart is called when the Proxy is back: what it missed is not told again,
// silence is no change.
func (r *reporter) restart() { r.next = time.Time{} }

// tune sets how often to report, within what the loop can do.
func (r *reporter) tune(every time.Duration) { r.every = min(max(every, tick), reportAtMost) }

func (r *reporter) tick(now time.Time) {
	if now.Before(r.next) {
		return
	}
	if r.next = r.next.Add(r.every); r.next.Before(now) {
		r.next = now.Add(r.every - tick/2) // late, or the first: the loop looks at the clock once a tick
	}
	if !r.n.isProxy() && r.n.starLink() == nil {
		return // the deltas add up until the Proxy is there again
	}
	if report := r.differ.Report(r.n.ms(), r.counters...); len(report.Deltas)+len(report.Bins) > 0 {
		r.n.tell(report)
	}
}

// ms is the clock that milliseconds of traffic are counted by.
func (n *Node) ms() uint32 { return uint32(time.Since(n.started).Milliseconds()) }
