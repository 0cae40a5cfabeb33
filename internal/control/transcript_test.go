package control

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

const ms = time.Millisecond

// noon is where the clocks of all stories start.
func noon() time.Time { return time.Date(2004, 10, 22, 12, 0, 0, 0, time.UTC) }

// machine is any session machine of this room.
type machine[Event, Effect any] interface {
	Step(now time.Time, ev Event) []Effect
	NextTime() time.Time
}

// said is one step of a story: at this time after noon this happens, and the machine wants this, one effect a line.
type said[Event any] struct {
	at   time.Duration
	ev   Event
	want string
}

// tell plays a story to a machine.
func tell[Event, Effect any](t *testing.T, m machine[Event, Effect], story []said[Event]) {
	t.Helper()
	for i, s := range story {
		var got []string
		for _, e := range m.Step(noon().Add(s.at), s.ev) {
			got = append(got, line(e))
		}
		var want []string
		for l := range strings.Lines(s.want) {
			if l = strings.TrimSpace(l); l != "" {
				want = append(want, l)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("step %d, %v after %+v (-want +got):\n%s", i, s.at, s.ev, d)
		}
	}
}

// line is an effect as a transcript has it.
func line(e any) string {
	switch e := e.(type) {
	case Send:
		r := e.Request
		return fmt.Sprintf("to %s: %s%s", e.Node, r.Stage, work(r))
	case Committed:
		return strings.TrimSuffix(fmt.Sprintf("committed after %v %v", e.Took, e.Missing), " []")
	case Done:
		r := e.Result
		l := fmt.Sprintf("done ok=%v reached=%s", r.OK, r.Reached)
		for _, n := range r.Nodes {
			l += fmt.Sprintf(" %s=%s", n.Node, n.Reached)
			if n.Lost {
				l += "(lost)"
			}
		}
		if r.Error != "" {
			l += ": " + r.Error
		}
		return l
	case OpenLink:
		return fmt.Sprintf("open link to %s", e.Peer)
	case CloseLink:
		return fmt.Sprintf("close link to %s: %s", e.Peer, e.Reason)
	case EditRules:
		return fmt.Sprintf("edit rules for %s +%v -%v", e.Stage, ids(e.Add), e.Delete)
	case Respond:
		l := fmt.Sprintf("reply %s ok=%v", e.Stage, e.OK)
		if e.Error != "" {
			l += ": " + e.Error
		}
		return l
	case SendProbe:
		return fmt.Sprintf("probe %d out of %s", e.Probe.Seq, e.Port)
	case Block:
		return fmt.Sprintf("block %s: %s", e.Port, e.Why)
	case Unblock:
		return fmt.Sprintf("unblock %s", e.Port)
	}
	return fmt.Sprintf("%T %+v", e, e)
}

func work(r StageRequest) string {
	l := ""
	for _, o := range r.OpenLinks {
		l += fmt.Sprintf(" open %s", o.Peer)
		if o.Dial {
			l += " (dial)"
		}
	}
	if len(r.AddRules)+len(r.DeleteRules) > 0 && r.Stage != StageAbort {
		l += fmt.Sprintf(" +%v -%v", ids(r.AddRules), r.DeleteRules)
	}
	for _, c := range r.CloseLinks {
		l += fmt.Sprintf(" close %s", c)
	}
	if r.Wait > 0 {
		l += fmt.Sprintf(" wait %v", r.Wait)
	}
	return l
}

// numbered are rules of which only the numbers matter.
func numbered(list ...uint64) []overlay.Rule {
	var rules []overlay.Rule
	for _, id := range list {
		rules = append(rules, overlay.Rule{ID: id, Src: overlay.Match{Kind: overlay.Any}, Dst: overlay.Match{Kind: overlay.Any}})
	}
	return rules
}
