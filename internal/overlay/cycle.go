package overlay

import (
	"fmt"
	"slices"
	"strings"
)

// CycleKind says what is wrong with a rule set.
type CycleKind uint8

// The kinds.
const (
	Circle    CycleKind = iota // a frame comes by the same side of the same node again, without end
	Duplicate                  // a frame leaves by one port twice, or by the port it came from
)

// Cycle is one class of frames that a rule set would send in a circle or deliver twice, in the healthy overlay or when some
// links or ports are down.
type Cycle struct {
	Kind  CycleKind
	Class string // "src 02:… dst other"
	Hops  []Hop  // of a circle: once around; of a duplicate: where it enters, and where it comes out twice
}

// String prints the class and the hops, node by node.
func (c Cycle) String() string {
	var b strings.Builder
	if c.Kind == Duplicate {
		from, to := c.Hops[0], c.Hops[len(c.Hops)-1]
		fmt.Fprintf(&b, "frames %s would be delivered twice: in at %s of %s, more than once at %s of %s", c.Class, from.Arrival, from.Node, to.Out, to.Node)
		return b.String()
	}
	fmt.Fprintf(&b, "frames %s would circle: ", c.Class)
	for _, h := range c.Hops {
		fmt.Fprintf(&b, "%s, ", h)
	}
	fmt.Fprintf(&b, "and again %s", c.Hops[0].Node)
	return b.String()
}

// Cycles are all classes of frames that the rules would send in a circle or deliver twice. It looks at every class, from every
// side of every node, and at what each node falls to when outputs are gone, in any combination: an overlay without cycles
// has none after failures either.
func (o *Overlay) Cycles() []Cycle {
	var rules []Rule
	for _, n := range o.Nodes {
		rules = append(rules, n.Rules...)
	}
	return o.cyclesIn(classesOf(rules, o.Flood))
}

// CyclesOf are those of Cycles that frames matched by the given rules are part of: what to look at after a change of these.
func (o *Overlay) CyclesOf(touched ...Rule) []Cycle {
	rules := slices.Clone(touched)
	for _, n := range o.Nodes {
		rules = append(rules, n.Rules...)
	}
	var classes []class
	for _, c := range classesOf(rules, o.Flood) {
		for _, t := range touched {
			if t.Src.Covers(c.src) && t.Dst.Covers(c.dst) {
				classes = append(classes, c)
				break
			}
		}
	}
	return o.cyclesIn(classes)
}

func (o *Overlay) cyclesIn(classes []class) []Cycle {
	g := newGraph(o)
	sets, rules := make([]*ruleSet, len(g.order)), make([][]*Rule, len(g.order))
	for name, n := range o.Nodes {
		if at := g.nodes[name]; at != nil { // a node without ports, links and rules has no frames
			sets[at.index] = newRuleSet(n.Rules)
		}
	}
	var cycles []Cycle
	for _, c := range classes {
		for i, s := range sets {
			rules[i] = s.of(c)
		}
		g.set(nil, rules)
		w := g.walk(rules, nil)
		if cycle, bad := w.fault(c); bad {
			cycles = append(cycles, cycle)
		}
		w.release()
	}
	return cycles
}

// fault is the first thing wrong with the walk.
func (w *walk) fault(c class) (Cycle, bool) {
	if w.simple() {
		return Cycle{}, false
	}
	if way := w.circle(); way != nil {
		cycle := Cycle{Kind: Circle, Class: c.String()}
		way = way[1:]
		start := slices.Index(way, slices.Min(way)) // the same circle always prints the same
		for i := range way {
			cycle.Hops = append(cycle.Hops, w.hop(way[(start+i)%len(way)], way[(start+i+1)%len(way)]))
		}
		return cycle, true
	}
	if entry, port, ok := w.double(); ok {
		in, out := w.g.places[entry], w.g.places[port]
		return Cycle{Kind: Duplicate, Class: c.String(), Hops: []Hop{
			{Node: in.node.name, Arrival: in.side}, {Node: out.node.name, Out: out.side},
		}}, true
	}
	return Cycle{}, false
}

// hop is how a frame gets from state s to state next.
func (w *walk) hop(s, next int) Hop {
	at := w.g.places[s]
	h := Hop{Node: at.node.name, Arrival: at.side, Reason: FloodUnknown, Out: w.g.places[w.g.places[next].peer].side}
	for _, st := range w.from(s) {
		if st.to == next && !st.out {
			if st.rule != nil {
				h.Rule, h.Rank, h.Reason = *st.rule, st.rule.Rank(), RuleMatched
			}
			break
		}
	}
	return h
}
