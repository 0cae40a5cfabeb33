package overlay

import (
	"slices"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// graph is an overlay made ready for looking at all ways a frame can go. A state is one side of one node, where a frame has
// come in; states are numbered through.
type graph struct {
	proxy  Name
	flood  bool
	places []place // by state
	nodes  map[Name]*graphNode
	order  []*graphNode
	hosts  []*graphNode // all but the Proxy, those with the most ports first
	scene
	idle []*walk   // that were released
	none [][]*Rule // by node: nothing
}

// place is what a state stands for.
type place struct {
	node *graphNode
	side Side
	peer int  // the state on the other end of a link; -1 of a port
	tree bool // a member of the flood tree
}

type graphNode struct {
	name  Name
	index int          // in order
	sides map[Side]int // the state of each
	first int          // its states are first … first+len(sides)-1, ports before links
	ports int
}

// newGraph takes every port and link that the overlays declare or any rule names to be there: what is missing today may come
// tomorrow, and then the rules are not looked at again.
func newGraph(overlays ...*Overlay) *graph {
	g := &graph{proxy: overlays[0].Proxy, nodes: map[Name]*graphNode{}}
	sides := map[Name]map[Side]bool{}
	put := func(n Name, s Side) {
		if sides[n] == nil {
			sides[n] = map[Side]bool{}
		}
		sides[n][s] = true
	}
	link := func(a, b Name) {
		if a != b {
			put(a, AtLink(b))
			put(b, AtLink(a))
		}
	}
	for _, o := range overlays {
		g.flood = g.flood || o.Flood
		for name, n := range o.Nodes {
			for _, p := range n.Ports {
				put(name, AtPort(p.Name))
			}
			for _, r := range n.Rules {
				for _, s := range []Side{r.Arrival, r.Out} {
					if s.Kind == LinkSide {
						link(name, s.Peer())
					} else if s.Kind == PortSide {
						put(name, s)
					}
				}
			}
			link(name, o.Proxy)
		}
		for _, l := range o.Links {
			link(l.A, l.B)
		}
	}
	g.number(sides)
	g.live, g.cast, g.none = make([]bool, len(g.places)), make([]bool, len(g.order)), make([][]*Rule, len(g.order))
	for _, n := range g.order {
		if n.name != g.proxy && n.ports > 0 {
			g.hosts = append(g.hosts, n)
		}
	}
	slices.SortStableFunc(g.hosts, func(a, b *graphNode) int { return min(b.ports, 2) - min(a.ports, 2) })
	return g
}

func (g *graph) number(sides map[Name]map[Side]bool) {
	names := make([]Name, 0, len(sides))
	for name := range sides {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		n := &graphNode{name: name, index: len(g.order), sides: map[Side]int{}, first: len(g.places)}
		mine := make([]Side, 0, len(sides[name]))
		for s := range sides[name] {
			mine = append(mine, s)
		}
		slices.SortFunc(mine, compareSides)
		for _, s := range mine {
			star := s.Kind == LinkSide && (name == g.proxy || s.Peer() == g.proxy)
			n.sides[s] = len(g.places)
			g.places = append(g.places, place{node: n, side: s, peer: -1, tree: star || s.Kind == PortSide})
			if s.Kind == PortSide {
				n.ports++
			}
		}
		g.nodes[name], g.order = n, append(g.order, n)
	}
	for i := range g.places {
		if p := &g.places[i]; p.side.Kind == LinkSide {
			p.peer = g.nodes[p.side.Peer()].sides[AtLink(p.node.name)]
		}
	}
}

// compareSides orders ports before links, and each by name.
func compareSides(a, b Side) int {
	if a.Kind != b.Kind {
		return int(a.Kind) - int(b.Kind)
	}
	if a.Name < b.Name {
		return -1
	}
	return 1
}

// step is one copy of a frame leaving a node.
type step struct {
	choice int   // steps of one choice happen together; a higher choice happens when the outputs of those before are gone
	to     int   // the state where it arrives; of a port, the state of that port, which it leaves by; -1 = it is dropped
	out    bool  // it leaves the overlay
	rule   *Rule // nil = flood tree
}

// ruleSet is what one node may apply: its rules, the strongest first, found by the addresses they ask for.
type ruleSet struct {
	all   []Rule
	pairs map[[2]ether.MAC][]int // indices into all, by exact source and destination
	dsts  map[ether.MAC][]int    // of the others, by exact destination
	wide  []int                  // of the rest
}

func newRuleSet(rules []Rule) *ruleSet {
	s := &ruleSet{all: slices.Clone(rules), pairs: map[[2]ether.MAC][]int{}, dsts: map[ether.MAC][]int{}}
	slices.SortStableFunc(s.all, func(a, b Rule) int {
		switch {
		case a.stronger(b):
			return -1
		case b.stronger(a):
			return 1
		}
		return 0
	})
	for i, r := range s.all {
		switch {
		case r.Dst.Kind != Exact:
			s.wide = append(s.wide, i)
		case r.Src.Kind != Exact:
			s.dsts[r.Dst.MAC] = append(s.dsts[r.Dst.MAC], i)
		default:
			pair := [2]ether.MAC{r.Src.MAC, r.Dst.MAC}
			s.pairs[pair] = append(s.pairs[pair], i)
		}
	}
	return s
}

// of are the rules that match frames of class c from some side, the strongest first.
func (s *ruleSet) of(c class) []*Rule {
	if s == nil {
		return nil
	}
	var rules []*Rule
	lists := [3][]int{s.pairs[[2]ether.MAC{c.src, c.dst}], s.dsts[c.dst], s.wide}
	for {
		first := -1
		for i, list := range lists {
			if len(list) > 0 && (first < 0 || list[0] < lists[first][0]) {
				first = i
			}
		}
		if first < 0 {
			return rules
		}
		r := &s.all[lists[first][0]]
		lists[first] = lists[first][1:]
		if r.Src.Covers(c.src) && r.Dst.Covers(c.dst) && r.Rank() >= 0 && r.Origin != OriginLearned { // learned rules are the tree's
			rules = append(rules, r)
		}
	}
}

// speaksOf says whether some rule matches frames of class c.
func (s *ruleSet) speaksOf(c class) bool {
	matches := func(i int) bool { return s.all[i].Src.Covers(c.src) && s.all[i].Dst.Covers(c.dst) }
	return len(s.pairs[[2]ether.MAC{c.src, c.dst}]) > 0 || slices.ContainsFunc(s.dsts[c.dst], matches) || slices.ContainsFunc(s.wide, matches)
}
