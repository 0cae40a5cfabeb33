package overlay

import (
	"fmt"
	"strings"
)

// NodeStage is what one node does in one stage, all at once: links open first, then its rules change in one go, then links close.
type NodeStage struct {
	OpenLinks   []Link
	AddRules    []Rule
	DeleteRules []Rule
	CloseLinks  []Link
}

// Stages is a change in order. All nodes have finished a stage before the next begins; within one they go at their own
// pace.
type Stages struct {
	Prepare map[Name]NodeStage // open links, and the rules that no frame meets yet
	Flip    map[Name]NodeStage // rules at the sources; one that replaces another takes its place in the same instant
	Finish  map[Name]NodeStage // old rules at the sources go
	Delete  map[Name]NodeStage // everything else that is old goes, after stragglers had their time
	Lossy   []string           // classes that may lose frames during the change although old and new deliver them; nil nearly always
}

// InOrder are the four stages.
func (s Stages) InOrder() [4]map[Name]NodeStage {
	return [4]map[Name]NodeStage{s.Prepare, s.Flip, s.Finish, s.Delete}
}

// CycleError says that a change was refused, and why.
type CycleError struct {
	When   string // "in the end", "while sources flip" …
	Cycles []Cycle
}

// Error prints every cycle.
func (e *CycleError) Error() string {
	var text []string
	for _, c := range e.Cycles {
		text = append(text, c.String())
	}
	return fmt.Sprintf("cannot change the overlay: %s %s", e.When, strings.Join(text, "; "))
}

// Plan orders the change from one overlay to another so that no frame is lost which both would deliver, none is delivered twice
// and none circles, whichever nodes are ahead of others within a stage. It refuses with a *CycleError.
func Plan(from, to *Overlay) (Stages, error) {
	if err := checkNumbers(from, to); err != nil {
		return Stages{}, err
	}
	if cycles := to.Cycles(); len(cycles) > 0 {
		return Stages{}, &CycleError{When: "in the end", Cycles: cycles}
	}
	steps := Diff(from, to)
	var best Stages
	var refused error
	found := false
	for _, cautious := range []bool{false, true} {
		s := arrange(to, steps, cautious)
		lossy, err := newRehearsal(from, to).play(s)
		switch {
		case err != nil && refused == nil:
			refused = err
		case err != nil:
		case len(lossy) == 0:
			return s, nil
		case !found:
			best, found = s, true
			best.Lossy = lossy
		}
	}
	if found {
		return best, nil
	}
	return Stages{}, refused
}

// checkNumbers refuses to give the number of an old rule to a new one: during the change a node holds both.
func checkNumbers(from, to *Overlay) error {
	for name, n := range to.Nodes {
		old := map[uint64]Rule{}
		for _, r := range rulesOf(from, name) {
			old[r.ID] = r
		}
		for _, r := range n.Rules {
			if was, taken := old[r.ID]; taken && !was.SameAs(r) {
				return fmt.Errorf("cannot change rule %d at %s from %q to %q: give the new rule a new number", r.ID, name, was, r)
			}
		}
	}
	return nil
}

// arrange deals the steps out to the stages. The cautious way takes every rule that any local frame could meet for one at a
// source; the other sees that frames of a VM enter where it lives, so that a rule for them elsewhere is on the way, and that a
// rule towards a local port is at the end of the way.
func arrange(to *Overlay, steps []Step, cautious bool) Stages {
	s := Stages{Prepare: map[Name]NodeStage{}, Flip: map[Name]NodeStage{}, Finish: map[Name]NodeStage{}, Delete: map[Name]NodeStage{}}
	edit := func(stage map[Name]NodeStage, at Name, f func(*NodeStage)) {
		n := stage[at]
		f(&n)
		stage[at] = n
	}
	source := func(at Name, r Rule) bool { return isSource(r) && (cautious || !onTheWay(to, at, r)) }
	for i, st := range steps {
		add := func(n *NodeStage) { n.AddRules = append(n.AddRules, st.Rule) }
		del := func(n *NodeStage) { n.DeleteRules = append(n.DeleteRules, st.Rule) }
		switch swap := swaps(steps, i); {
		case st.Kind == OpenLink:
			for _, end := range []Name{st.Link.A, st.Link.B} {
				edit(s.Prepare, end, func(n *NodeStage) { n.OpenLinks = append(n.OpenLinks, st.Link) })
			}
		case st.Kind == CloseLink:
			for _, end := range []Name{st.Link.A, st.Link.B} {
				edit(s.Delete, end, func(n *NodeStage) { n.CloseLinks = append(n.CloseLinks, st.Link) })
			}
		case st.Kind == AddRule && (swap || source(st.Node, st.Rule)):
			edit(s.Flip, st.Node, add)
		case st.Kind == AddRule:
			edit(s.Prepare, st.Node, add)
		case swap:
			edit(s.Flip, st.Node, del)
		case source(st.Node, st.Rule):
			edit(s.Finish, st.Node, del)
		default:
			edit(s.Delete, st.Node, del)
		}
	}
	return s
}

// isSource says whether a rule speaks of frames that enter by a local port.
func isSource(r Rule) bool { return r.Arrival.Kind != LinkSide }

// onTheWay says whether a rule that local frames could meet is in truth for frames that come over links.
func onTheWay(o *Overlay, at Name, r Rule) bool {
	vm, known := o.VMs[r.Src.MAC]
	return r.Arrival.Kind == AnySide && (r.Out.Kind == PortSide || r.Src.Kind == Exact && known && vm.Node != at)
}

// swaps says whether step i adds or deletes a rule while another step deletes or adds one that is as strong, for some of the
// same frames: with both in the table the lower number would decide, so they change places in one instant.
func swaps(steps []Step, i int) bool {
	a := steps[i]
	for _, b := range steps {
		if b.Node == a.Node && (a.Kind == AddRule && b.Kind == DeleteRule || a.Kind == DeleteRule && b.Kind == AddRule) &&
			a.Rule.ties(b.Rule) && a.Rule.Src.overlaps(b.Rule.Src) && a.Rule.Dst.overlaps(b.Rule.Dst) &&
			(a.Rule.Arrival.Covers(b.Rule.Arrival) || b.Rule.Arrival.Covers(a.Rule.Arrival)) {
			return true
		}
	}
	return false
}
