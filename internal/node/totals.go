package node

import (
	"context"
	"strconv"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
)

// linkTotals sum up sessions, those that ended included, in frames.
type linkTotals struct {
	sent, received, wireLost, duplicates uint64
	drops                                map[string]uint64
	hopLimit, cuts, forged               uint64
}

func (t *linkTotals) add(s link.Stats) {
	t.sent += s.FramesSent
	t.received += s.FramesReceived
	t.wireLost += s.WireLost
	t.duplicates += s.Duplicates
	t.hopLimit += s.Drops[link.DropHopLimit]
	t.cuts += s.Cuts
	t.forged += s.AuthFailures
	t.addDrops(s)
}

func (t *linkTotals) addDrops(s link.Stats) {
	if t.drops == nil {
		t.drops = map[string]uint64{}
	}
	for reason, frames := range s.Drops {
		t.drops["link: "+reason.String()] += frames
	}
}

// linkStats sums the links of this node.
func (s *state) linkStats() linkTotals {
	sum := s.ended
	sum.drops = map[string]uint64{}
	for reason, frames := range s.ended.drops {
		sum.drops[reason] = frames
	}
	for _, one := range s.slots {
		for _, in := range one.live {
			sum.add(in.l.Stats())
		}
	}
	for l := range s.fading {
		sum.add(l.Stats())
	}
	return sum
}

// closeBooks closes the accounts of sessions of which nothing can arrive any more.
func (s *state) closeBooks() {
	for l, detached := range s.fading {
		if detached && l.Settled() {
			s.ended.add(l.Stats())
			delete(s.fading, l)
		}
	}
}

// Totals is the node's own account so far, without its links'.
func (n *Node) Totals() Totals {
	t := Totals{Drops: map[string]uint64{}}
	for _, w := range n.workers {
		w.counts.addTo(&t)
	}
	return t
}

// GetCounters gives this node's part of the conservation of frames.
func (n *Node) GetCounters(context.Context, *vnetv1.GetCountersRequest) (*vnetv1.GetCountersResponse, error) {
	var links linkTotals
	if ok := n.do(func(s *state) { links = s.linkStats() }); !ok {
		return nil, errStopping
	}
	t := n.Totals()
	for reason, frames := range links.drops {
		t.Drops[reason] += frames
	}
	c := &vnetv1.Counters{
		EdgeIn: t.EdgeIn, Copies: t.Copies, EdgeOut: t.EdgeOut, Drops: drops(t.Drops),
		LinkFramesSent: links.sent, LinkFramesReceived: links.received,
		WireLost: links.wireLost, Duplicates: links.duplicates, HopLimitHits: links.hopLimit, Cuts: links.cuts,
		Forged: links.forged, Strays: n.endpoint.Strays(),
	}
	one := &vnetv1.NodeCounters{Node: string(n.name), BootId: strconv.FormatUint(n.cfg.Boot, 10), Counters: c}
	return &vnetv1.GetCountersResponse{Nodes: []*vnetv1.NodeCounters{one}, Total: c}, nil
}
