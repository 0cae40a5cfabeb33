package overlay

import (
	"fmt"
	"slices"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// End is how the path of a frame ends.
type End uint8

// The ends.
const (
	Delivered End = iota // out of one port
	Dropped
	Flooded // to all members of the flood tree, because nobody knows where the destination is
	Loop    // it came by the same side of the same node again
)

// String is the word for e.
func (e End) String() string {
	if e <= Loop {
		return [...]string{"delivered", "dropped", "flooded", "loop"}[e]
	}
	return fmt.Sprintf("end(%d)", uint8(e))
}

// Hop is what one node does with the frame.
type Hop struct {
	Node    Name
	Arrival Side
	Out     Side // the zero Side when it is dropped, or flooded with no destination known
	Rule    Rule // that decided; ID 0 if none did
	Rank    int
	Reason  Reason
}

// String is "host1 from port:vm1 to link:host2 (rule 7, rank 8)".
func (h Hop) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s from %s", h.Node, h.Arrival)
	if h.Out.Kind != AnySide {
		fmt.Fprintf(&b, " to %s", h.Out)
	}
	if h.Rule.ID != 0 {
		fmt.Fprintf(&b, " (%s %d, rank %d)", h.Reason, h.Rule.ID, h.Rank)
	} else {
		fmt.Fprintf(&b, " (%s)", h.Reason)
	}
	return b.String()
}

// Path is the way of a frame through the overlay.
type Path struct {
	Hops []Hop
	End  End
}

// Trace follows a frame from src to dst that enters at a node by arrival. Of a flooded frame it follows the copy that reaches the
// destination's place, if that is known.
func (o *Overlay) Trace(at Name, arrival Side, src, dst ether.MAC) Path {
	return o.TraceIn(at, arrival, src, dst, Condition{})
}

// TraceIn is Trace while some things are out of order.
func (o *Overlay) TraceIn(at Name, arrival Side, src, dst ether.MAC, c Condition) Path {
	var p Path
	for {
		v := o.Decide(at, arrival, src, dst, c)
		h := Hop{Node: at, Arrival: arrival, Out: v.Out, Rule: v.Rule, Rank: v.Rank, Reason: v.Reason}
		switch v.Action {
		case FloodTree:
			h.Out = o.towards(at, dst, v.Outs)
		case Drop:
			h.Out = Side{}
		}
		again := slices.ContainsFunc(p.Hops, func(b Hop) bool { return b.Node == at && b.Arrival == arrival })
		p.Hops = append(p.Hops, h)
		switch {
		case again:
			p.End = Loop
		case v.Action == Drop:
			p.End = Dropped
		case h.Out.Kind == AnySide:
			p.End = Flooded
		case h.Out.Kind == PortSide:
			p.End = Delivered
		default:
			at, arrival = h.Out.Peer(), AtLink(at)
			continue
		}
		return p
	}
}

// towards is the member of the tree that leads to the place of dst; the zero Side if there is none.
func (o *Overlay) towards(at Name, dst ether.MAC, outs []Side) Side {
	vm, known := o.VMs[dst]
	side := AtLink(vm.Node)
	switch {
	case !known:
		return Side{}
	case vm.Node == at:
		side = AtPort(vm.Port)
	case at != o.Proxy:
		side = AtLink(o.Proxy)
	}
	if !slices.Contains(outs, side) {
		return Side{}
	}
	return side
}
