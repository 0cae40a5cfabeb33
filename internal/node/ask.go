package node

import (
	"errors"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

var errStopping = errors.New("cannot answer: the daemon is stopping")

// question is a neighbour request that came from a port while the star was down.
type question struct {
	at    *localPort
	frame ether.Frame
}

// ask hands a neighbour request to the loop; it never waits.
func (n *Node) ask(at *localPort, f ether.Frame) {
	select {
	case n.asked <- question{at, append(ether.Frame(nil), f...)}:
	default: // guests ask again after a second
	}
}

// answer replies from the directory for a VM that a live fast path still
// reaches, while the star is down.
func (s *state) answer(q question) {
	talk, ok := parseNeighbour(q.frame)
	if !ok || !talk.request || talk.gratuitous {
		return
	}
	for mac, place := range s.places {
		if place.Node == s.n.name {
			continue // it hears the request itself: local ports are flooded
		}
		for _, ip := range place.IPs {
			if ip == talk.target && s.reaches(q.frame.Src(), mac) {
				if reply, ok := answerNeighbour(q.frame, mac); ok {
					q.at.port.Write(0, []ether.Packet{{Frame: reply}})
				}
				return
			}
		}
	}
}

// reaches tells whether frames from src to dst have a live fast path.
func (s *state) reaches(src, dst ether.MAC) bool {
	for _, r := range s.rules {
		if r.Src.Kind != overlay.Exact || r.Src.MAC != src || r.Dst.MAC != dst {
			continue
		}
		if one, ok := s.byPeer[r.Out.Peer()]; ok && one.current.Load() != nil {
			return true
		}
	}
	return false
}
