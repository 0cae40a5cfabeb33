package proxy

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Replanned says what another policy made of a journal or a recording.
type Replanned struct {
	Journal   bool // else a recording
	Decisions int  // it was asked for, or came to
	Same      int  // of a journal: where it does the same as was done
	Unseen    int  // of a journal: entries whose view was too large to keep
}

// Decision is one of a policy that is tried offline.
type Decision struct {
	At    time.Time    `json:"at"`
	Was   string       `json:"was,omitempty"` // what was decided then; of a journal
	Now   string       `json:"now"`           // what the policy decides
	Same  bool         `json:"same"`
	Gain  float64      `json:"gain"`
	Steps []adapt.Step `json:"steps,omitempty"`
}

// Replan asks a policy what it would have done: at each decision of a journal, with all that was known then; or in the course
// of a recording, as if its own changes had been made at once.
func Replan(from io.Reader, policy, told string, see func(Decision)) (Replanned, error) {
	named, err := adapt.PolicyNamed(policy)
	if err == nil {
		err = adapt.Config{Policy: policy, Told: told}.Check()
	}
	if err != nil {
		return Replanned{}, err
	}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLine)
	var out Replanned
	var course *replan
	for n := 1; lines.Scan(); n++ {
		var l line
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return out, fmt.Errorf("cannot read line %d: %w", n, err)
		}
		switch {
		case l.Start != nil:
			course = &replan{replica: newReplica(l.Start.Inference), policy: policy, told: told}
		case course != nil:
			d, fresh, err := course.hear(l)
			if err != nil {
				return out, fmt.Errorf("cannot replay line %d: %w", n, err)
			}
			if fresh {
				out.Decisions++
				see(d)
			}
		default:
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Seq == 0 {
				return out, errors.New("cannot replay: this is neither a recording nor a journal; make one with: vnet traffic record FILE, or vnet adapt history --export FILE")
			}
			out.Journal = true
			if e.View == nil {
				out.Unseen++
				continue
			}
			if err := e.View.check(); err != nil {
				return out, fmt.Errorf("cannot replay line %d: %w", n, err)
			}
			d := e.again(named, policy, told)
			out.Decisions++
			if d.Same {
				out.Same++
			}
			see(d)
		}
	}
	if err := lines.Err(); err != nil {
		return out, fmt.Errorf("cannot read the file: %w", err)
	}
	if course == nil && !out.Journal {
		return out, errors.New("cannot replay: the file is empty")
	}
	return out, nil
}

// again asks a policy what to do in the place of a decision.
func (e entry) again(p adapt.Named, policy, told string) Decision {
	v := e.View.view()
	v.Config.Policy, v.Config.Told = policy, told
	next := p.Policy(e.At, v)
	d := Decision{At: e.At, Was: e.Proposal.Reason, Now: next.Reason, Gain: next.Gain, Steps: next.Steps}
	if len(next.Steps) == 0 && d.Now == "" {
		d.Now = "nothing to change"
	}
	d.Same = slices.Equal(whats(next.Steps), whats(e.Proposal.Steps))
	return d
}

// whats is what steps do, in one order.
func whats(steps []adapt.Step) (list []string) {
	for _, s := range steps {
		list = append(list, s.Kind.String()+" "+s.What)
	}
	slices.Sort(list)
	return list
}

// replan is a recording heard by another policy, whose changes are made at once.
type replan struct {
	*replica
	policy, told string
	own          *overlay.Overlay // with its changes; nil before the first
}

func (r *replan) hear(l line) (Decision, bool, error) {
	if l.Step == 0 {
		_, err := r.replica.hear(l)
		return Decision{}, false, err
	}
	if r.view.Overlay == nil {
		return Decision{}, false, nil
	}
	now := time.Unix(0, l.Step)
	view := r.view
	view.Topology, _ = r.infer.Step(now)
	config := view.Config
	config.Policy, config.Told = r.policy, r.told
	config.Mode = adapt.Auto
	r.replica.policy.Configure(config)
	if r.replica.policy.Policy().Matrix {
		view.Matrix = r.infer.Matrix(now)
	}
	view.Overlay = graft(view.Overlay, r.own)
	p, ok := r.replica.policy.Step(now, view)
	if !ok {
		return Decision{}, false, nil
	}
	r.own = p.Target
	return Decision{At: now, Now: p.Reason, Gain: p.Gain, Steps: p.Steps}, true, nil
}

// graft is the recorded overlay with another's adapted links and rules in place of its own.
func graft(recorded, own *overlay.Overlay) *overlay.Overlay {
	o := recorded.Clone()
	adaptedLink := func(l overlay.Link) bool { return l.Origin == overlay.OriginAdapted }
	adaptedRule := func(r overlay.Rule) bool { return r.Origin == overlay.OriginAdapted }
	o.Links = slices.DeleteFunc(o.Links, adaptedLink)
	for _, n := range o.Nodes {
		n.Rules = slices.DeleteFunc(n.Rules, adaptedRule)
	}
	if own == nil {
		return o
	}
	for _, l := range own.Links {
		if _, there := o.LinkBetween(l.A, l.B); adaptedLink(l) && !there && o.Nodes[l.A] != nil && o.Nodes[l.B] != nil {
			o.AddLink(l)
		}
	}
	for _, name := range own.Names() {
		if o.Nodes[name] == nil {
			continue
		}
		for _, r := range own.Nodes[name].Rules {
			if adaptedRule(r) {
				r.ID = 0
				o.AddRule(name, r)
			}
		}
	}
	return o
}
