package overlay

import "slices"

// maxAlone is how many nodes may change the same class in one stage for every subset of them to be tried: 1,024 overlays. Beyond
// it, circles are ruled out for all mixtures at once, which may refuse what would be safe, and losses are not looked for.
const maxAlone = 10

// rehearsal plays a change through, class by class, before anyone carries it out.
type rehearsal struct {
	from, to *Overlay
	g        *graph
	now      map[Name][]Rule // the rules of each node so far
}

func newRehearsal(from, to *Overlay) *rehearsal {
	r := &rehearsal{from: from, to: to, g: newGraph(to, from), now: map[Name][]Rule{}}
	for name := range r.g.nodes {
		r.now[name] = rulesOf(from, name)
	}
	return r
}

// play is a *CycleError, or the classes that could lose frames.
func (r *rehearsal) play(s Stages) (lossy []string, err error) {
	classes := classesOf(slices.Concat(allRules(r.from), allRules(r.to)), r.g.flood)
	old, end := r.sets(r.from), r.sets(r.to)
	for i, stage := range s.InOrder() {
		before, after := r.current(), map[*graphNode]*ruleSet{}
		for name, n := range stage {
			r.now[name] = n.apply(r.now[name])
			after[r.g.nodes[name]] = newRuleSet(r.now[name])
		}
		for _, c := range classes {
			t := transition{r: r, class: c, before: of(before, c), after: map[*graphNode][]*Rule{}}
			for name, n := range stage {
				if n.concerns(c) {
					node := r.g.nodes[name]
					t.after[node] = after[node].of(c)
					t.nodes = append(t.nodes, node)
				}
			}
			if len(t.nodes) == 0 {
				continue
			}
			cycle, bad := t.fault()
			if bad {
				when := [4]string{"while it is prepared", "while sources flip", "while old sources go", "while old rules go"}[i]
				return nil, &CycleError{When: when, Cycles: []Cycle{cycle}}
			}
			if t.loses(of(old, c), of(end, c)) && !slices.Contains(lossy, c.String()) {
				lossy = append(lossy, c.String())
			}
		}
	}
	return lossy, nil
}

func (r *rehearsal) current() map[*graphNode]*ruleSet {
	sets := map[*graphNode]*ruleSet{}
	for name, rules := range r.now {
		sets[r.g.nodes[name]] = newRuleSet(rules)
	}
	return sets
}

func (r *rehearsal) sets(o *Overlay) map[*graphNode]*ruleSet {
	sets := map[*graphNode]*ruleSet{}
	for name, n := range o.Nodes {
		sets[r.g.nodes[name]] = newRuleSet(n.Rules)
	}
	return sets
}

func of(sets map[*graphNode]*ruleSet, c class) map[*graphNode][]*Rule {
	rules := make(map[*graphNode][]*Rule, len(sets))
	for n, s := range sets {
		rules[n] = s.of(c)
	}
	return rules
}

func allRules(o *Overlay) []Rule {
	var rules []Rule
	for _, n := range o.Nodes {
		rules = append(rules, n.Rules...)
	}
	return rules
}

// apply is what becomes of the rules of a node.
func (s NodeStage) apply(rules []Rule) []Rule {
	rules = slices.DeleteFunc(slices.Clone(rules), func(r Rule) bool { return slices.Contains(s.DeleteRules, r) })
	return append(rules, s.AddRules...)
}

// concerns says whether the stage changes what the node does with frames of class c.
func (s NodeStage) concerns(c class) bool {
	for _, r := range slices.Concat(s.AddRules, s.DeleteRules) {
		if r.Src.Covers(c.src) && r.Dst.Covers(c.dst) {
			return true
		}
	}
	return false
}

// transition is one class in one stage: some nodes change, in any order.
type transition struct {
	r             *rehearsal
	class         class
	nodes         []*graphNode           // that change
	before, after map[*graphNode][]*Rule // the rules for the class, at all nodes; and at those that change
}

// mixed calls f with every state there can be between the two until f says false.
func (t *transition) mixed(f func(*walk) bool) {
	for subset := range 1 << len(t.nodes) {
		rules := make(map[*graphNode][]*Rule, len(t.before))
		for n, have := range t.before {
			rules[n] = have
		}
		for i, n := range t.nodes {
			if subset&(1<<i) != 0 {
				rules[n] = t.after[n]
			}
		}
		if !f(newWalk(t.r.g, rules, nil)) {
			return
		}
	}
}

// fault is what could go wrong on the way. What is wrong before the stage is no reason to refuse to mend it.
func (t *transition) fault() (cycle Cycle, bad bool) {
	if cycle, bad = newWalk(t.r.g, t.before, t.after).fault(t.class); !bad || len(t.nodes) > maxAlone {
		return cycle, bad
	}
	if _, already := newWalk(t.r.g, t.before, nil).fault(t.class); already {
		return Cycle{}, false
	}
	bad = false
	t.mixed(func(w *walk) bool {
		cycle, bad = w.fault(t.class)
		return !bad
	})
	return cycle, bad
}

// loses says whether between the two some frame is not delivered where both the old and the new overlay deliver it.
func (t *transition) loses(old, end map[*graphNode][]*Rule) (lost bool) {
	if len(t.nodes) > maxAlone {
		return false
	}
	was, will := newWalk(t.r.g, old, nil), newWalk(t.r.g, end, nil)
	if was.circle() != nil || will.circle() != nil {
		return false
	}
	t.mixed(func(w *walk) bool {
		if w.circle() != nil {
			return false
		}
		for s, p := range t.r.g.places {
			if p.side.Kind != PortSide || !t.enters(p) {
				continue
			}
			a, b, now := map[int]bool{}, map[int]bool{}, map[int]bool{}
			was.delivered(s, a)
			will.delivered(s, b)
			w.delivered(s, now)
			for port := range a {
				if b[port] && w.live[port] && !now[port] {
					lost = true
					return false
				}
			}
		}
		return true
	})
	return lost
}

// enters says whether frames of the class can come in there: those of a VM do where it lives, before or after.
func (t *transition) enters(p place) bool {
	a, before := t.r.from.VMs[t.class.src]
	b, after := t.r.to.VMs[t.class.src]
	if t.class.otherSrc || !before && !after {
		return true
	}
	here := func(vm VM) bool { return vm.Node == p.node.name && AtPort(vm.Port) == p.side }
	return before && here(a) || after && here(b)
}
