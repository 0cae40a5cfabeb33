package node

import (
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/forward"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Ways is where a node forwards frames at one moment. Two values are equal when nothing was published between them.
type Ways struct{ s *snapshot }

// Ways is for simulations that move traffic in a model instead of as frames; see Config.Imagined.
func (n *Node) Ways() Ways { return Ways{n.snapshot.Load()} }

// Next is where a frame from src to dst that arrives at a side goes; false where it is dropped or flooded.
func (w Ways) Next(arrival overlay.Side, src, dst ether.MAC) (overlay.Side, bool) {
	from, ok := w.side(arrival)
	if !ok {
		return overlay.Side{}, false
	}
	v := w.s.table.Decide(from, src, dst)
	if v.Action != forward.Forward {
		return overlay.Side{}, false
	}
	if v.Out.IsLink() {
		one := w.s.slots[v.Out.Index()]
		return overlay.AtLink(one.peer), one.current.Load() != nil
	}
	return overlay.AtPort(w.s.ports[v.Out.Index()].name), true
}

func (w Ways) side(named overlay.Side) (forward.Side, bool) {
	if named.Kind == overlay.LinkSide {
		for _, one := range w.s.slots {
			if one.peer == named.Peer() {
				return one.side, true
			}
		}
		return 0, false
	}
	for _, at := range w.s.ports {
		if at.name == named.Name {
			return at.side, true
		}
	}
	return 0, false
}

// Clock is the node's own time in milliseconds, by which traffic is counted (vttif.Counter.At).
func (n *Node) Clock() uint32 { return n.ms() }
