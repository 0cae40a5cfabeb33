package overlay

import (
	"fmt"
	"slices"
)

// StepKind says what a step does.
type StepKind uint8

// The kinds, in the order in which steps are taken.
const (
	OpenLink StepKind = iota
	AddRule
	DeleteRule
	CloseLink
)

// Step is one primitive of a change.
type Step struct {
	Kind StepKind
	Node Name // that holds the rule; for links, see Link
	Link Link
	Rule Rule
}

// String is the step in the user's words.
func (s Step) String() string {
	switch s.Kind {
	case OpenLink:
		return fmt.Sprintf("open link %s %s", s.Link.A, s.Link.B)
	case CloseLink:
		return fmt.Sprintf("close link %s %s", s.Link.A, s.Link.B)
	case AddRule:
		return fmt.Sprintf("add rule at %s: %s", s.Node, s.Rule)
	}
	return fmt.Sprintf("delete rule %d at %s: %s", s.Rule.ID, s.Node, s.Rule)
}

// Diff is what turns from into to, additions first. Rules are the same by what they do (SameAs), links by their ends; the star
// is never closed while its host is there. Ports, VMs and nodes come and go by themselves, not by steps.
func Diff(from, to *Overlay) []Step {
	steps := linkSteps(OpenLink, from, to)
	var deletes []Step
	for _, name := range names(from, to) {
		have := rulesOf(from, name)
		there, kept := map[Rule]int{}, map[Rule]int{}
		for _, r := range have {
			there[r.unnumbered()]++
		}
		for _, r := range rulesOf(to, name) {
			if key := r.unnumbered(); kept[key] < there[key] {
				kept[key]++
			} else {
				steps = append(steps, Step{Kind: AddRule, Node: name, Rule: r})
			}
		}
		for _, r := range have {
			if key := r.unnumbered(); kept[key] > 0 {
				kept[key]--
			} else if to.Nodes[name] != nil {
				deletes = append(deletes, Step{Kind: DeleteRule, Node: name, Rule: r})
			}
		}
	}
	steps = append(steps, deletes...)
	return append(steps, linkSteps(CloseLink, to, from)...)
}

// linkSteps are the links that b has and a lacks.
func linkSteps(kind StepKind, a, b *Overlay) []Step {
	var steps []Step
	there := make(map[[2]Name]bool, len(a.Links))
	for _, l := range a.Links {
		there[[2]Name{l.A, l.B}] = true
	}
	for _, l := range b.Links {
		if !there[[2]Name{l.A, l.B}] && !a.IsStar(l.A, l.B) {
			steps = append(steps, Step{Kind: kind, Link: l})
		}
	}
	return steps
}

func names(overlays ...*Overlay) []Name {
	var all []Name
	for _, o := range overlays {
		all = append(all, o.Names()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// rulesOf is a copy of the rules of one node.
func rulesOf(o *Overlay, name Name) []Rule {
	if n := o.Nodes[name]; n != nil {
		return slices.Clone(n.Rules)
	}
	return nil
}
