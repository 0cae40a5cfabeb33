package overlay

import (
	"fmt"
	"slices"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
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
	if err := Kinds(from, to); err != nil {
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
		lossy, err := newRehearsal(from, to, s).play()
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
	all := editsOf(steps)
	for _, st := range steps {
		add := func(n *NodeStage) { n.AddRules = append(n.AddRules, st.Rule) }
		del := func(n *NodeStage) { n.DeleteRules = append(n.DeleteRules, st.Rule) }
		switch swap := all.swaps(st); {
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

// edits finds among the steps that add or delete rules those that speak of the same frames as another, without looking at all.
type edits map[editKey][]Rule

// editKey is what a rule is filed under: its node, what it asks for, and the exact addresses among it, each once kept and once left
// out, for the sake of rules that ask for another kind of address.
type editKey struct {
	kind             StepKind
	node             Name
	srcKind, dstKind MatchKind
	anywhere         bool // it names no arrival side
	src, dst         ether.MAC
}

func editsOf(steps []Step) edits {
	e := edits{}
	for _, s := range steps {
		if s.Kind != AddRule && s.Kind != DeleteRule {
			continue
		}
		key := editKey{kind: s.Kind, node: s.Node, srcKind: s.Rule.Src.Kind, dstKind: s.Rule.Dst.Kind, anywhere: s.Rule.Arrival.Kind == AnySide}
		for _, src := range filed(s.Rule.Src) {
			for _, dst := range filed(s.Rule.Dst) {
				key.src, key.dst = src, dst
				e[key] = append(e[key], s.Rule)
			}
		}
	}
	return e
}

// filed are the addresses that a match is filed under.
func filed(m Match) []ether.MAC {
	if m.Kind == Exact {
		return []ether.MAC{{}, m.MAC}
	}
	return []ether.MAC{{}}
}

// swaps says whether a step adds or deletes a rule while another step deletes or adds one that is as strong, for some of the
// same frames: with both in the table the lower number would decide, so they change places in one instant.
func (e edits) swaps(s Step) bool {
	key := editKey{kind: AddRule + DeleteRule - s.Kind, node: s.Node, anywhere: s.Rule.Arrival.Kind == AnySide}
	if s.Kind != AddRule && s.Kind != DeleteRule {
		return false
	}
	a, rank := s.Rule, s.Rule.Rank()
	for key.srcKind = Exact; key.srcKind <= None; key.srcKind++ {
		for key.dstKind = Exact; key.dstKind <= None; key.dstKind++ {
			if RankOf(key.srcKind, key.dstKind) != rank {
				continue
			}
			key.src, key.dst = ether.MAC{}, ether.MAC{}
			if key.srcKind == Exact && a.Src.Kind == Exact {
				key.src = a.Src.MAC
			}
			if key.dstKind == Exact && a.Dst.Kind == Exact {
				key.dst = a.Dst.MAC
			}
			if slices.ContainsFunc(e[key], a.rivals) {
				return true
			}
		}
	}
	return false
}

// rivals says whether for some frames only the number decides between two rules.
func (r Rule) rivals(o Rule) bool {
	return r.ties(o) && r.Src.overlaps(o.Src) && r.Dst.overlaps(o.Dst) && (r.Arrival.Covers(o.Arrival) || o.Arrival.Covers(r.Arrival))
}
