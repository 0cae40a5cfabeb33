package control

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// ChangeConfig is what a Change is made of.
type ChangeConfig struct {
	// ID was never used before, also not by an earlier run of the Proxy (nodes remember what they did for an ID and would
	// answer from memory): start from the Proxy's boot time in microseconds.
	ID         uint64
	Stages     overlay.Stages
	Nodes      []overlay.Name                    // nodes that take part with nothing to do; an empty change times the configuration
	Candidates map[overlay.Name][]netip.AddrPort // where each node may be reached; a link's end dials when its peer has any
	Wait       time.Duration                     // for stragglers before what is old is deleted, see WaitFor
	Generation uint64                            // of the overlay the change leads to
}

// participants lays out what every node will be asked for. It says too whether anything old is deleted at the end.
func participants(cfg ChangeConfig) (nodes []*participant, deletes bool) {
	stages := [...]map[overlay.Name]overlay.NodeStage{
		StagePrepare: cfg.Stages.Prepare, StageFlip: cfg.Stages.Flip, StageFinish: cfg.Stages.Finish, StageDelete: cfg.Stages.Delete,
	}
	all := map[overlay.Name]*participant{}
	join := func(name overlay.Name) {
		if all[name] != nil {
			return
		}
		p := &participant{name: name}
		for s := range p.requests {
			p.requests[s] = StageRequest{Change: cfg.ID, Stage: Stage(s), Generation: cfg.Generation}
		}
		all[name] = p
	}
	for _, n := range cfg.Nodes {
		join(n)
	}
	for _, byNode := range stages {
		for n, work := range byNode {
			join(n)
			for _, l := range work.OpenLinks {
				join(l.A)
				join(l.B)
			}
		}
	}
	for s, byNode := range stages {
		for n, work := range byNode {
			r := &all[n].requests[s]
			r.AddRules = work.AddRules
			for _, rule := range work.DeleteRules {
				r.DeleteRules = append(r.DeleteRules, rule.ID)
			}
			deletes = deletes || Stage(s) == StageDelete && len(work.DeleteRules)+len(work.CloseLinks) > 0
			for _, l := range work.CloseLinks {
				closeAt(all[l.A], Stage(s), l.B)
				closeAt(all[l.B], Stage(s), l.A)
			}
			for _, l := range work.OpenLinks {
				openAt(all[l.A], l, l.B, cfg.Candidates[l.B])
				openAt(all[l.B], l, l.A, cfg.Candidates[l.A])
			}
		}
	}
	for n, p := range all {
		p.requests[StageAbort].AddRules = cfg.Stages.Flip[n].DeleteRules
		p.requests[StageAbort].DeleteRules = append(ids(cfg.Stages.Prepare[n].AddRules), ids(cfg.Stages.Flip[n].AddRules)...)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		nodes = append(nodes, all[name].sorted())
	}
	return nodes, deletes
}

// openAt has a node open its end of a link, once, whichever end the plan named.
func openAt(p *participant, l overlay.Link, peer overlay.Name, addrs []netip.AddrPort) {
	r := &p.requests[StagePrepare]
	if slices.ContainsFunc(r.OpenLinks, func(s LinkSpec) bool { return s.Peer == peer }) {
		return
	}
	r.OpenLinks = append(r.OpenLinks, LinkSpec{Peer: peer, PeerAddrs: addrs, Dial: len(addrs) > 0, Origin: l.Origin, Carrier: l.Carrier, Cipher: l.Cipher, ExtraPorts: l.ExtraPorts})
}

// closeAt has a node that takes part close its end of a link, once.
func closeAt(p *participant, s Stage, peer overlay.Name) {
	if p == nil || slices.Contains(p.requests[s].CloseLinks, peer) {
		return
	}
	p.requests[s].CloseLinks = append(p.requests[s].CloseLinks, peer)
}

// sorted makes the requests the same whatever order maps gave.
func (p *participant) sorted() *participant {
	for s := range p.requests {
		r := &p.requests[s]
		slices.SortFunc(r.OpenLinks, func(a, b LinkSpec) int { return cmp.Compare(a.Peer, b.Peer) })
		slices.Sort(r.CloseLinks)
	}
	return p
}
