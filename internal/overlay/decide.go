package overlay

import (
	"slices"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// Condition is what is out of order at the nodes. The zero Condition is a healthy overlay.
type Condition struct {
	DownLinks    []Link          // neither end sends over these
	DownPorts    map[Name][]Side // by node: nothing is sent there
	BlockedPorts map[Name][]Side // by node: nothing is sent there nor taken from there
}

// gone says whether the node at cannot send by side.
func (c Condition) gone(at Name, side Side) bool {
	if side.Kind == LinkSide {
		return slices.ContainsFunc(c.DownLinks, MakeLink(at, side.Peer(), 0).SameEnds)
	}
	return slices.Contains(c.DownPorts[at], side) || slices.Contains(c.BlockedPorts[at], side)
}

// Verdict is what a node does with a frame, and why.
type Verdict struct {
	Action Action
	Out    Side   // of Forward; of DropSameSide, where it would have gone
	Outs   []Side // of FloodTree
	Rule   Rule   // that decided; ID 0 if none did
	Rank   int    // of Rule
	Tied   bool   // another rule was as strong: only the lower ID decided
	Reason Reason
}

// Decide is forwarding at one node, slow and obvious: it looks at every rule. forward does the same fast, and is tested
// against this.
func (o *Overlay) Decide(at Name, arrival Side, src, dst ether.MAC, c Condition) Verdict {
	n := o.Nodes[at]
	switch {
	case n == nil:
		return Verdict{Reason: DropNoRule}
	case slices.Contains(c.BlockedPorts[at], arrival):
		return Verdict{Reason: DropBlocked}
	case dst.IsLinkLocal():
		return Verdict{Reason: DropReserved}
	case o.Flood && dst.IsGroup() && o.IsFastPath(at, arrival):
		return Verdict{Reason: DropFastPathGroup}
	case o.Flood && dst.IsGroup():
		return o.flood(n, arrival, c, Verdict{Reason: FloodGroup})
	}
	v := o.strongest(n, arrival, src, dst, c)
	byDefault := o.Flood && v.Rule.Dst.Kind == None && o.isUpstream(at, v.Out)
	switch {
	case v.Reason == RuleMatched && !byDefault:
		if v.Out == arrival {
			v.Action, v.Reason = Drop, DropSameSide
		}
		return v
	case !o.Flood || v.Reason == DropOutDown && !o.fallsBack(at, arrival):
		return v
	}
	if l, ok := o.learned(n, arrival, dst, c); ok {
		return l
	}
	switch {
	case o.IsFastPath(at, arrival):
		return Verdict{Reason: DropFastPathNoRule}
	case v.Reason == RuleMatched:
		v.Reason = FloodDefault
	default:
		v.Reason = FloodUnknown
	}
	return o.flood(n, arrival, c, v)
}

// learned is where the flood tree may be cut down to one branch, because the destination was seen there. Learned rules
// speak only where the tree would: whatever has been learned, a frame goes no way that the tree does not have, so
// that a rule set without cycles has none after learning either. From a fast path, which is no part of the tree, a
// learned rule leads to a local port and nowhere else.
func (o *Overlay) learned(n *Node, arrival Side, dst ether.MAC, c Condition) (Verdict, bool) {
	for _, r := range n.Rules {
		if r.Origin != OriginLearned || r.Dst.MAC != dst || !o.HasSide(n.Name, r.Out) || c.gone(n.Name, r.Out) ||
			o.IsFastPath(n.Name, arrival) && r.Out.Kind == LinkSide {
			continue
		}
		v := Verdict{Action: Forward, Out: r.Out, Rule: r, Rank: r.Rank(), Reason: RuleMatched}
		if v.Out == arrival {
			v.Action, v.Reason = Drop, DropSameSide
		}
		return v, true
	}
	return Verdict{}, false
}

// fallsBack says whether a frame whose rules all lead to sides that are gone takes the flood tree after all: at a host, if it came
// from a local port, so that it is on the star when a fast path dies. Elsewhere it is dropped: what is known to be
// behind a dead link is nowhere else, and flooding it would burden every host and could meet itself again.
func (o *Overlay) fallsBack(at Name, arrival Side) bool {
	return at != o.Proxy && arrival.Kind == PortSide
}

// strongest is the verdict of the strongest rule that matches and can send: RuleMatched. A rule whose output is gone
// counts as absent; when there are no others it is DropOutDown.
func (o *Overlay) strongest(n *Node, arrival Side, src, dst ether.MAC, c Condition) Verdict {
	v := Verdict{Reason: DropNoRule}
	for _, r := range n.Rules {
		found := v.Reason == RuleMatched
		switch {
		case r.Origin == OriginLearned || !r.Matches(arrival, src, dst):
		case !o.HasSide(n.Name, r.Out) || c.gone(n.Name, r.Out):
			if !found {
				v.Reason = DropOutDown
			}
		case !found || r.stronger(v.Rule):
			v = Verdict{Action: Forward, Out: r.Out, Rule: r, Rank: r.Rank(), Reason: RuleMatched, Tied: found && r.ties(v.Rule)}
		case r.ties(v.Rule):
			v.Tied = true
		}
	}
	return v
}

// flood fills v with the members of the flood tree other than arrival.
func (o *Overlay) flood(n *Node, arrival Side, c Condition, v Verdict) Verdict {
	v.Action, v.Out = FloodTree, Side{}
	for _, side := range o.treeSides(n) {
		if side != arrival && !c.gone(n.Name, side) {
			v.Outs = append(v.Outs, side)
		}
	}
	if len(v.Outs) == 0 {
		v.Action, v.Reason = Drop, DropNoOutput
	}
	return v
}

// treeSides are the members of the flood tree at a node: its ports, and its star link, which at the Proxy means all of them.
func (o *Overlay) treeSides(n *Node) []Side {
	var sides []Side
	for _, p := range n.Ports {
		sides = append(sides, AtPort(p.Name))
	}
	for _, peer := range o.Peers(n.Name) {
		if o.IsStar(n.Name, peer) {
			sides = append(sides, AtLink(peer))
		}
	}
	return sides
}

// HasSide says whether the node at has such a port or link.
func (o *Overlay) HasSide(at Name, side Side) bool {
	n := o.Nodes[at]
	switch {
	case n == nil:
		return false
	case side.Kind == PortSide:
		return n.HasPort(side.Name)
	case side.Kind == LinkSide:
		_, ok := o.LinkBetween(at, side.Peer())
		return ok
	}
	return false
}

// IsFastPath says whether side is a link at the node at that does not belong to the star.
func (o *Overlay) IsFastPath(at Name, side Side) bool {
	return side.Kind == LinkSide && !o.IsStar(at, side.Peer())
}

// isUpstream says whether side is the star link of a host. The default rule that sends there says no more than the flood
// tree does by itself, so it takes the tree; a default rule to anywhere else, and any at the Proxy, is the user's own
// and is followed like every other rule.
func (o *Overlay) isUpstream(at Name, side Side) bool {
	return at != o.Proxy && side == AtLink(o.Proxy)
}
