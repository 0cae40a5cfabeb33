package overlay

import "slices"

// walk is every way that frames of one class can go, given the rules of each node, within the graph's scene.
type walk struct {
	g     *graph
	rules [][]*Rule // by node, the strongest first
	other [][]*Rule // by node: what it may as well apply instead, during a change; nil = nothing else
	steps [][]step  // by state, worked out when first asked for
	known []bool    // by state
	asked []int     // the states that are known
	arena []step    // that steps are cut from
	mark  []uint8   // by state, of circle
	memo  []int8    // by state, of copies
}

// walk takes rules and other as walk has them; other may be nil. Who is done with it may release it.
func (g *graph) walk(rules, other [][]*Rule) *walk {
	var w *walk
	if n := len(g.idle); n > 0 {
		w, g.idle = g.idle[n-1], g.idle[:n-1]
	} else {
		n := len(g.places)
		w = &walk{g: g, steps: make([][]step, n), known: make([]bool, n), mark: make([]uint8, n), memo: make([]int8, n)}
	}
	if other == nil {
		other = g.none
	}
	w.rules, w.other = rules, other
	return w
}

// release lets the next walk have the memory.
func (w *walk) release() {
	for _, s := range w.asked {
		w.known[s], w.mark[s] = false, 0
	}
	w.asked, w.arena = w.asked[:0], w.arena[:0]
	w.g.idle = append(w.g.idle, w)
}

// simple says that the rules only use the star. Then no frame comes by the same place twice: it goes up once and
// down once.
func (w *walk) simple() bool {
	for _, i := range w.g.actors {
		n := w.g.order[i]
		fast := func(r *Rule) bool {
			return r.Out.Kind == LinkSide && n.name != w.g.proxy && r.Out.Peer() != w.g.proxy
		}
		if slices.ContainsFunc(w.rules[i], fast) || slices.ContainsFunc(w.other[i], fast) {
			return false
		}
	}
	return true
}

// from are the copies that leave a node when a frame came in at state s: the choice of the healthy overlay first, then those it
// falls to when outputs are gone. It must agree with Decide.
func (w *walk) from(s int) []step {
	if !w.known[s] {
		w.known[s] = true
		w.asked = append(w.asked, s)
		node, first := w.g.places[s].node.index, len(w.arena)
		w.arena = w.work(w.arena, s, 0, w.rules[node])
		if other := w.other[node]; other != nil {
			w.arena = w.work(w.arena, s, len(w.rules[node])+1, other)
		}
		w.steps[s] = w.arena[first:]
	}
	return w.steps[s]
}

// work adds the steps by rules, their choices numbered from first.
func (w *walk) work(steps []step, s, first int, rules []*Rule) []step {
	at := &w.g.places[s]
	choice, host := first, at.node.name != w.g.proxy
	for _, r := range rules {
		if !r.Arrival.Covers(at.side) {
			continue
		}
		if w.g.flood && r.Dst.Kind == None && host && r.Out == AtLink(w.g.proxy) {
			steps = w.flood(steps, s, choice)
		} else if r.Out == at.side {
			return append(steps, step{choice: choice, to: -1, rule: r}) // dropped, and it cannot be gone: the frame just came from there
		} else {
			steps = append(steps, w.step(at.node.sides[r.Out], choice, r))
		}
		choice++
	}
	if w.g.flood && (choice == first || host && at.side.Kind == PortSide) {
		steps = w.flood(steps, s, choice)
	}
	return steps
}

func (w *walk) flood(steps []step, s, choice int) []step {
	at, before := &w.g.places[s], len(steps)
	for i := at.node.first; at.tree && i < at.node.first+len(at.node.sides); i++ {
		if i != s && w.g.live[i] && w.g.places[i].tree {
			steps = append(steps, w.step(i, choice, nil))
		}
	}
	if len(steps) == before {
		steps = append(steps, step{choice: choice, to: -1})
	}
	return steps
}

// step is a copy leaving by the side of state i.
func (w *walk) step(i, choice int, r *Rule) step {
	if peer := w.g.places[i].peer; peer >= 0 {
		return step{choice: choice, to: peer, rule: r}
	}
	return step{choice: choice, to: i, out: true, rule: r}
}

// circle is a way that comes by the same state twice, if there is one: the states in order, the first also the last.
func (w *walk) circle() []int {
	const (
		unseen = iota
		open
		closed
	)
	mark := w.mark
	for _, s := range w.asked {
		mark[s] = unseen
	}
	var way []int
	var visit func(s int) []int
	visit = func(s int) []int {
		mark[s] = open
		way = append(way, s)
		for _, st := range w.from(s) {
			if st.out || st.to < 0 {
				continue
			}
			if mark[st.to] == open {
				for way[0] != st.to {
					way = way[1:]
				}
				return append(way, st.to)
			}
			if mark[st.to] == unseen {
				if found := visit(st.to); found != nil {
					return found
				}
			}
		}
		mark[s] = closed
		way = way[:len(way)-1]
		return nil
	}
	for _, s := range w.g.states {
		if mark[s] == unseen {
			way = way[:0]
			if found := visit(s); found != nil {
				return found
			}
		}
	}
	return nil
}

// copies says how often a frame that came in at s can leave by the port of state target, in the worst of the choices at each
// node. memo holds -1 for what is not known yet. There must be no circle.
func (w *walk) copies(s, target int, memo []int8) int8 {
	if memo[s] >= 0 {
		return memo[s]
	}
	var worst, sum int8
	choice := 0
	for _, st := range w.from(s) {
		if st.choice != choice {
			worst, sum, choice = max(worst, sum), 0, st.choice
		}
		switch {
		case st.to < 0:
		case st.out && st.to == target:
			sum++
		case !st.out:
			sum += w.copies(st.to, target, memo)
		}
		sum = min(sum, 2)
	}
	memo[s] = max(worst, sum)
	return memo[s]
}

// double is an entry and a port that one frame can leave by twice, or that it came from; ok is false if there is none.
func (w *walk) double() (entry, port int, ok bool) {
	for _, t := range w.g.states {
		if w.g.places[t].side.Kind != PortSide {
			continue
		}
		for _, i := range w.g.states {
			w.memo[i] = -1
		}
		for _, s := range w.g.states {
			if w.g.places[s].side.Kind != PortSide {
				continue
			}
			n := w.copies(s, t, w.memo)
			if s == t {
				n++
			}
			if n > 1 {
				return s, t, true
			}
		}
	}
	return 0, 0, false
}

// delivered adds the ports that a frame which came in at s leaves by while nothing is down. There must be no circle.
func (w *walk) delivered(s int, to []int) []int {
	steps := w.from(s)
	for _, st := range steps {
		switch {
		case st.choice != steps[0].choice || st.to < 0:
			return to
		case st.out:
			to = append(to, st.to)
		default:
			to = w.delivered(st.to, to)
		}
	}
	return to
}
