package overlay

import "slices"

// maxAlone is how many nodes may change the same class in one stage for every subset of them to be tried: 1,024 overlays. Beyond
// it, circles are ruled out for all mixtures at once, which may refuse what would be safe, and losses are not looked for.
const maxAlone = 10

// rehearsal plays a change through, class by class, before anyone carries it out.
type rehearsal struct {
	from, to *Overlay
	g        *graph
	states   [][]*ruleSet  // by node: what it holds before the first stage, after it, … after the last
	edits    [][4]*ruleSet // by node: what it changes in each stage; nil = nothing
	end      []*ruleSet    // by node: what the new overlay has
}

func newRehearsal(from, to *Overlay, s Stages) *rehearsal {
	r := &rehearsal{from: from, to: to, g: newGraph(to, from)}
	r.states, r.edits, r.end = make([][]*ruleSet, len(r.g.order)), make([][4]*ruleSet, len(r.g.order)), make([]*ruleSet, len(r.g.order))
	for i, n := range r.g.order {
		rules := rulesOf(from, n.name)
		set := newRuleSet(rules)
		r.states[i] = append(r.states[i], set)
		for k, stage := range s.InOrder() {
			if edit, ok := stage[n.name]; ok {
				rules = edit.apply(rules)
				set = newRuleSet(rules)
				r.edits[i][k] = newRuleSet(slices.Concat(edit.AddRules, edit.DeleteRules))
			}
			r.states[i] = append(r.states[i], set)
		}
		if o := to.Nodes[n.name]; o != nil {
			r.end[i] = newRuleSet(o.Rules)
		}
	}
	return r
}

// play is a *CycleError, or the classes that could lose frames.
func (r *rehearsal) play() (lossy []string, err error) {
	for _, c := range classesOf(slices.Concat(allRules(r.from), allRules(r.to)), r.g.flood) {
		lost, err := r.class(c)
		if err != nil {
			return nil, err
		}
		if lost {
			lossy = append(lossy, c.String())
		}
	}
	return lossy, nil
}

// class plays the stages for one class.
func (r *rehearsal) class(c class) (lost bool, err error) {
	var changing [4][]int // nodes, by stage
	touched := false
	for i, e := range r.edits {
		for k, e := range e {
			if e != nil && e.speaksOf(c) {
				changing[k] = append(changing[k], i)
				touched = true
			}
		}
	}
	if !touched {
		return false, nil
	}
	var states [5][][]*Rule // by time and node
	states[0] = make([][]*Rule, len(r.g.order))
	end := make([][]*Rule, len(r.g.order))
	for i := range r.g.order {
		states[0][i], end[i] = r.states[i][0].of(c), r.end[i].of(c)
	}
	for k, nodes := range changing {
		states[k+1] = slices.Clone(states[k])
		for _, i := range nodes {
			states[k+1][i] = r.states[i][k+1].of(c)
		}
	}
	entries := r.entries(c)
	r.g.set(entries, append(states[:], end)...)
	for k, nodes := range changing {
		if len(nodes) == 0 {
			continue
		}
		t := transition{r: r, class: c, nodes: nodes, before: states[k], after: make([][]*Rule, len(r.g.order))}
		for _, i := range nodes {
			t.after[i] = nonNil(states[k+1][i])
		}
		if cycle, bad := t.fault(); bad {
			when := [4]string{"while it is prepared", "while sources flip", "while old sources go", "while old rules go"}[k]
			return false, &CycleError{When: when, Cycles: []Cycle{cycle}}
		}
		lost = lost || t.loses(entries, states[0], end)
	}
	return lost, nil
}

// entries are the states where frames of a class come in if it is known where their source is: there, before or after. It is nil
// when they may come in anywhere.
func (r *rehearsal) entries(c class) []int {
	var known []int
	for _, o := range []*Overlay{r.from, r.to} {
		vm, ok := o.VMs[c.src]
		if !ok || c.otherSrc {
			continue
		}
		known = append(known, -1) // known to be nowhere, if it has no place
		if n := r.g.nodes[vm.Node]; n != nil {
			if s, ok := n.sides[AtPort(vm.Port)]; ok && !slices.Contains(known, s) {
				known = append(known, s)
			}
		}
	}
	return slices.DeleteFunc(known, func(s int) bool { return s < 0 })
}

// nonNil tells no rules from no node.
func nonNil(rules []*Rule) []*Rule {
	if rules == nil {
		return []*Rule{}
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
	gone := make(map[Rule]bool, len(s.DeleteRules))
	for _, r := range s.DeleteRules {
		gone[r] = true
	}
	rules = slices.DeleteFunc(slices.Clone(rules), func(r Rule) bool { return gone[r] })
	return append(rules, s.AddRules...)
}

// transition is one class in one stage: some nodes change, in any order.
type transition struct {
	r      *rehearsal
	class  class
	nodes  []int     // that change
	before [][]*Rule // by node: the rules for the class
	after  [][]*Rule // the same, of those that change; nil of the others
	clean  bool      // no state there can be between the two has a circle
}

// mixed calls f with every state there can be between the two until f says false.
func (t *transition) mixed(f func(*walk) bool) {
	rules := slices.Clone(t.before)
	for subset := range 1 << len(t.nodes) {
		for bit, i := range t.nodes {
			rules[i] = t.before[i]
			if subset&(1<<bit) != 0 {
				rules[i] = t.after[i]
			}
		}
		w := t.r.g.walk(rules, nil)
		more := f(w)
		w.release()
		if !more {
			return
		}
	}
}

// fault is what could go wrong on the way. What is wrong before the stage is no reason to refuse to mend it.
func (t *transition) fault() (Cycle, bool) {
	fault := func(rules, other [][]*Rule) (Cycle, bool) {
		w := t.r.g.walk(rules, other)
		defer w.release()
		return w.fault(t.class)
	}
	cycle, bad := fault(t.before, t.after)
	if t.clean = !bad; !bad || len(t.nodes) > maxAlone {
		return cycle, bad
	}
	if _, already := fault(t.before, nil); already {
		return Cycle{}, false
	}
	bad = false
	t.mixed(func(w *walk) bool {
		cycle, bad = w.fault(t.class)
		return !bad
	})
	t.clean = !bad
	return cycle, bad
}

// loses says whether between the two some frame is not delivered where both the old and the new overlay deliver it.
func (t *transition) loses(entries []int, old, end [][]*Rule) (lost bool) {
	if len(t.nodes) > maxAlone {
		return false
	}
	was, will := t.r.g.walk(old, nil), t.r.g.walk(end, nil)
	defer was.release()
	defer will.release()
	if was.circle() != nil || will.circle() != nil {
		return false
	}
	type way struct{ in, out int }
	var ways []way // that both have
	if entries == nil {
		entries = t.r.g.states
	}
	for _, s := range entries {
		if t.r.g.places[s].side.Kind != PortSide {
			continue
		}
		b := will.delivered(s, nil)
		for _, port := range was.delivered(s, nil) {
			if slices.Contains(b, port) {
				ways = append(ways, way{s, port})
			}
		}
	}
	if len(ways) == 0 {
		return false
	}
	t.mixed(func(w *walk) bool {
		if !t.clean && w.circle() != nil {
			return false
		}
		lost = slices.ContainsFunc(ways, func(way way) bool { return !slices.Contains(w.delivered(way.in, nil), way.out) })
		return !lost
	})
	return lost
}
