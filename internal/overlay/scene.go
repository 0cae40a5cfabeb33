package overlay

import "slices"

// scene is the part of a graph that one class of frames needs to be looked at in. Hosts that no rule of the class speaks of are all
// alike: what enters at their ports goes to the other ports and up the star, what comes down the star goes to the ports, and
// what comes over a fast path is dropped, so none of them is ever in the middle of a way. Two of them stand for all, one where a
// frame enters and one where it comes out; and so do two of the ports of a node. A fast path that no rule names carries nothing.
type scene struct {
	live   []bool // by state
	states []int  // that are live, in order
	cast   []bool // by node: it is in the scene
	actors []int  // the nodes that have rules of the class, in order
}

// set makes the scene for a class that has these rules, each by node, at one time or another. What enters at the states
// called entries is looked at too.
func (g *graph) set(entries []int, rules ...[][]*Rule) {
	for _, s := range g.states {
		g.live[s] = false
	}
	clear(g.cast)
	g.states, g.actors = g.states[:0], g.actors[:0]
	if p := g.nodes[g.proxy]; p != nil {
		g.cast[p.index] = true
	}
	for _, s := range entries {
		g.enliven(s)
	}
	for i, n := range g.order {
		acts := false
		for _, by := range rules {
			for _, r := range by[i] {
				acts = true
				g.named(n, r.Arrival)
				g.named(n, r.Out)
			}
		}
		if acts {
			g.cast[i] = true
			g.actors = append(g.actors, i)
		}
	}
	spare := 2
	for _, n := range g.hosts {
		if spare == 0 {
			break
		}
		if !g.cast[n.index] {
			g.cast[n.index] = true
			spare--
		}
	}
	for i, n := range g.order {
		if g.cast[i] {
			g.furnish(n)
		}
	}
	slices.Sort(g.states)
}

// enliven takes a state in, and the node that it belongs to.
func (g *graph) enliven(s int) {
	g.cast[g.places[s].node.index] = true
	if !g.live[s] {
		g.live[s] = true
		g.states = append(g.states, s)
	}
}

// named takes in a side of a node, and the other end if it is a link.
func (g *graph) named(n *graphNode, side Side) {
	if s, ok := n.sides[side]; ok {
		g.enliven(s)
		if peer := g.places[s].peer; peer >= 0 {
			g.enliven(peer)
		}
	}
}

// furnish takes in a node's star link, and two ports that no rule names.
func (g *graph) furnish(n *graphNode) {
	if n.name != g.proxy {
		g.named(n, AtLink(g.proxy))
	}
	spare := 2
	for s := n.first; s < n.first+n.ports && spare > 0; s++ {
		if !g.live[s] {
			g.enliven(s)
			spare--
		}
	}
}
