package node

import (
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// reportEvery is how often traffic deltas go to the Proxy: 10 Hz, half the
// seed's fastest rate (§2.2), and enough to publish an edge within 0.5 s.
const reportEvery = 100 * time.Millisecond

// reporter turns the workers' counts into reports of deltas. The loop owns it.
type reporter struct {
	n        *Node
	differ   *vttif.Differ
	counters []*vttif.Counter
	next     time.Time
}

func newReporter(n *Node) reporter {
	r := reporter{n: n, differ: vttif.NewDiffer(string(n.name), n.cfg.Boot)}
	for _, w := range n.workers {
		if w.tally != nil {
			r.counters = append(r.counters, w.tally)
		}
	}
	return r
}

// restart is called when the Proxy is back: what it missed is not told again,
// silence is no change.
func (r *reporter) restart() { r.next = time.Time{} }

func (r *reporter) tick(now time.Time) {
	if now.Before(r.next) {
		return
	}
	r.next = now.Add(reportEvery)
	if !r.n.isProxy() && r.n.starLink() == nil {
		return // the deltas add up until the Proxy is there again
	}
	if report := r.differ.Report(r.n.ms(), r.counters...); len(report.Deltas)+len(report.Bins) > 0 {
		r.n.tell(report)
	}
}

// ms is the clock that milliseconds of traffic are counted by.
func (n *Node) ms() uint32 { return uint32(time.Since(n.started).Milliseconds()) }
