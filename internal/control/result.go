package control

import (
	"cmp"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Result is what became of a change.
type Result struct {
	Change  uint64
	OK      bool   // all nodes hold exactly the new state
	Reached Stage  // by every node; StageAbort when the change was taken back
	Error   string // the first reason why it is not OK
	Nodes   []Outcome
	Failed  []LinkReport                  // links that could not be opened, as each end saw it
	Commit  time.Duration                 // from the start to the last flip; 0 when it was not committed
	Took    [StageAbort + 1]time.Duration // by stage
	Waited  time.Duration                 // for stragglers
}

// Outcome is how far one node came, as far as the Proxy knows.
type Outcome struct {
	Node    overlay.Name
	Reached Stage // the last stage it confirmed; StageAbort = it holds nothing of the change
	Lost    bool  // it had no control stream at the end
	Error   string
}

// LinkReport is a link failure as one node reported it.
type LinkReport struct {
	Node overlay.Name
	LinkFailure
}

func (a LinkReport) compare(b LinkReport) int {
	return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Error, b.Error))
}

// Unwilling are the nodes because of which a change was taken back: they refused, were lost, or did not answer.
func (r Result) Unwilling() (names []overlay.Name) {
	for _, n := range r.Nodes {
		if n.Error != "" || n.Lost || n.Reached < StagePrepare {
			names = append(names, n.Node)
		}
	}
	return names
}

// FailedLinks are the links that failed, each once with its lower end first, for a plan without them.
func (r Result) FailedLinks() [][2]overlay.Name {
	var links [][2]overlay.Name
	for _, f := range r.Failed {
		links = append(links, [2]overlay.Name{min(f.Node, f.Peer), max(f.Node, f.Peer)})
	}
	slices.SortFunc(links, func(a, b [2]overlay.Name) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(links)
}
