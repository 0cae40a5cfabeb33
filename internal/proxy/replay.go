package proxy

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// viewLine is an adapt.View without its topology, which the replica infers, and the settings of the policy.
type viewLine struct {
	Overlay  *overlay.Overlay `json:"overlay"`
	Bound    time.Duration    `json:"bound_ns"`
	Failed   []failedLine     `json:"failed,omitempty"`
	Away     []overlay.Name   `json:"away,omitempty"`
	Will     overlay.Will     `json:"will"`
	Bars     []adapt.Bar      `json:"bars,omitempty"`
	Rests    []adapt.Rest     `json:"rests,omitempty"`
	Plan     []adapt.Way      `json:"plan,omitempty"`
	PlanWhy  string           `json:"plan_why,omitempty"`
	Settings adapt.Config     `json:"settings"`
}

type failedLine struct {
	Ends  adapt.Ends `json:"ends"`
	Until int64      `json:"until"`
}

func viewOut(v adapt.View, c adapt.Config) viewLine {
	out := viewLine{Overlay: v.Overlay, Bound: v.Bound, Will: v.Will, Bars: v.Bars, Rests: v.Rests, Plan: v.Plan, PlanWhy: v.PlanWhy, Settings: c}
	for ends, until := range v.Failed {
		out.Failed = append(out.Failed, failedLine{ends, until.UnixNano()})
	}
	slices.SortFunc(out.Failed, func(a, b failedLine) int { return compareEnds(a.Ends, b.Ends) })
	for name := range v.Away {
		out.Away = append(out.Away, name)
	}
	slices.Sort(out.Away)
	return out
}

func compareEnds(a, b adapt.Ends) int { return cmp.Or(cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B)) }

// check says what is missing without which nobody can look at the view.
func (l *viewLine) check() error {
	o := l.Overlay
	if o == nil || o.Nodes[o.Proxy] == nil {
		return errors.New("the view has no overlay, or that no Proxy")
	}
	for name, n := range o.Nodes {
		if n == nil {
			return fmt.Errorf("the view says nothing of node %q", name)
		}
	}
	for _, link := range o.Links {
		if o.Nodes[link.A] == nil || o.Nodes[link.B] == nil {
			return fmt.Errorf("the view has a link %s–%s of a node that it has not", link.A, link.B)
		}
	}
	return nil
}

func (l *viewLine) view() adapt.View {
	v := adapt.View{Overlay: l.Overlay, Bound: l.Bound, Will: l.Will, Bars: l.Bars, Rests: l.Rests, Plan: l.Plan, PlanWhy: l.PlanWhy, Config: l.Settings, Failed: map[adapt.Ends]time.Time{}, Away: map[overlay.Name]bool{}}
	for _, f := range l.Failed {
		v.Failed[f.Ends] = time.Unix(0, f.Until)
	}
	for _, name := range l.Away {
		v.Away[name] = true
	}
	return v
}

// replica is inference and policy that hear a recording's lines and nothing else.
type replica struct {
	infer    *vttif.Inferrer
	policy   *adapt.Planner
	view     adapt.View
	lan      map[ether.MAC]bool
	chain    [sha256.Size]byte // of every topology and proposal so far
	proposed uint64
	any      bool
}

func newReplica(i inference) *replica {
	r := &replica{lan: map[ether.MAC]bool{}}
	config := i.config(vttif.Config{})
	config.LAN = func(m ether.MAC) bool { return r.lan[m] }
	r.infer, r.policy = vttif.NewInferrer(config), adapt.NewPlanner(adapt.Config{})
	return r
}

// hear takes a line, and returns the decision it led to.
func (r *replica) hear(l line) ([]byte, error) {
	switch {
	case l.Report != nil:
		message, err := node.Decode(l.Report.Data)
		if err != nil {
			return nil, err
		}
		report, ok := message.(vttif.Report)
		if !ok {
			return nil, fmt.Errorf("cannot use a %T as a report", message)
		}
		report.Node = l.Report.Node
		r.infer.Add(time.Unix(0, l.Report.At), report)
	case l.LAN != nil:
		clear(r.lan)
		for _, m := range *l.LAN {
			r.lan[m] = true
		}
	case l.View != nil:
		if err := l.View.check(); err != nil {
			return nil, err
		}
		r.view = l.View.view()
		r.infer.Bound(l.View.Bound)
		r.policy.Configure(l.View.Settings)
	case l.Step != 0:
		return r.step(time.Unix(0, l.Step))
	}
	return nil, nil
}

// decision is what inference or policy newly concluded, and a digest of all that led there.
type decision struct {
	At       int64           `json:"at"`
	Topology *vttif.Topology `json:"topology,omitempty"`
	Proposal *proposalLine   `json:"proposal,omitempty"`
	Chain    string          `json:"chain"` // SHA-256 over every topology and proposal up to here, each to the last bit
}

type proposalLine struct {
	ID     uint64       `json:"id"`
	Steps  []adapt.Step `json:"steps"`
	Gain   float64      `json:"gain"`
	Reason string       `json:"reason"`
}

func (r *replica) step(now time.Time) ([]byte, error) {
	topology, changed := r.infer.Step(now)
	out := decision{At: now.UnixNano()}
	view := r.view
	view.Topology = topology
	if r.policy.Policy().Matrix {
		view.Matrix = r.infer.Matrix(now)
	}
	proposal, ok := r.policy.Step(now, view)
	if ok {
		out.Proposal = &proposalLine{proposal.ID, proposal.Steps, proposal.Gain, proposal.Reason}
	}
	all, err := json.Marshal([]any{topology, out.Proposal})
	if err != nil {
		return nil, err
	}
	r.chain = sha256.Sum256(append(r.chain[:], all...))
	out.Chain = fmt.Sprintf("%x", r.chain)
	fresh := ok && (!r.any || proposal.ID != r.proposed)
	if ok {
		r.any, r.proposed = true, proposal.ID
	}
	if !changed && !fresh {
		return nil, nil
	}
	if changed {
		out.Topology = &topology
	}
	if !fresh {
		out.Proposal = nil
	}
	return json.Marshal(out)
}

// Replayed says what a replay came to.
type Replayed struct {
	Reports, Steps int
	Decisions      int    // in the recording
	Same           int    // of them, that the replay made bit for bit
	Different      string // the first that it did not, and what it decided instead; empty when all are the same
	Duration       time.Duration
}

// maxLine in bytes bounds a line of a recording: a view of a large overlay.
const maxLine = 256 << 20

// Replay feeds a recording to a fresh inference and policy, compares every decision with the recorded one, and shows each to
// see, which may be nil, as one line of JSON.
func Replay(from io.Reader, see func(text []byte)) (Replayed, error) {
	var out Replayed
	var r *replica
	var due [][]byte
	var first, last int64
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return out, fmt.Errorf("cannot read line %d of the recording: %w", n, err)
		}
		switch {
		case l.Start != nil && l.Start.Format != recordFormat:
			return out, fmt.Errorf("cannot replay a recording of format %d: this version reads %d", l.Start.Format, recordFormat)
		case l.Start != nil:
			r, first = newReplica(l.Start.Inference), l.Start.At
			continue
		case r == nil:
			return out, errors.New("cannot replay: this is no recording; make one with: vnet traffic record FILE")
		case l.Decision != nil:
			out.Decisions++
			out.compare(&due, l.Decision)
			continue
		case l.Report != nil:
			out.Reports++
		case l.Step != 0:
			out.Steps, last = out.Steps+1, l.Step
		}
		decided, err := r.hear(l)
		if err != nil {
			return out, fmt.Errorf("cannot replay line %d: %w", n, err)
		}
		if decided != nil {
			due = append(due, decided)
			if see != nil {
				see(decided)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return out, fmt.Errorf("cannot read the recording: %w", err)
	}
	if r == nil {
		return out, errors.New("cannot replay: the recording is empty")
	}
	if len(due) > 1 { // the last may have been cut off
		out.differ("the replay decided %s, the recording nothing", due[0])
	}
	out.Duration = time.Duration(last - first)
	return out, nil
}

// compare holds a recorded decision against the next one of the replay.
func (o *Replayed) compare(due *[][]byte, recorded []byte) {
	if len(*due) == 0 {
		o.differ("the recording decided %s, the replay nothing", recorded)
		return
	}
	mine := (*due)[0]
	*due = (*due)[1:]
	if bytes.Equal(mine, recorded) {
		o.Same++
		return
	}
	o.differ("the recording decided %s, the replay %s", recorded, mine)
}

func (o *Replayed) differ(format string, args ...any) {
	if o.Different == "" {
		o.Different = fmt.Sprintf(format, args...)
	}
}
