// Package adapt decides how the overlay should change for the applications it carries.
//
// It is pure: what is known goes in as a View, what should be done comes out as a Proposal with its reasons. It does not
// carry a proposal out (see overlay for its stages, control and node for their execution) and counts no frame (see vttif).
//
// The way of a decision, in file order: a Planner (planner.go) fills in what was before (past.go) and asks its Policy
// (policy.go): fastpath (fastpath.go) or one of those it is compared with (baseline.go). A policy names the pairs it wants off
// the star; what they have in common turns them into links under the user's will and the budget (wish.go, choose.go, will.go)
// and into the difference to the overlay as it is (change.go). Whether a change helped is judged afterwards (judge.go).
package adapt

import (
	"fmt"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// View is what a policy knows. It only reads it.
type View struct {
	Topology vttif.Topology
	Overlay  *overlay.Overlay      // as it is now
	Bound    time.Duration         // effective bound on configuration time
	Failed   map[Ends]time.Time    // links that could not be made or kept, and until when they are barred
	Will     overlay.Will          // of the user; mode and limits are in Config
	Away     map[overlay.Name]bool // nodes that cannot be told anything now: their part stays as it is, the rest goes on
	Matrix   []vttif.Entry         // the traffic matrix; only for policies that ask for it
	Bars     []Bar                 // what was taken back because it did harm
	Rests    []Rest                // groups that are left as they are for a moment
	Plan     []Way                 // what a program of the user's asks for
	PlanWhy  string                // its reason, in one line; empty if it gave none

	Config Config // set by the Planner
	Past   Past   // kept by the Planner
}

// frozen tells whether one end of the link is away: then nothing about it is changed.
func (v View) frozen(e Ends) bool { return v.Away[e.A] || v.Away[e.B] }

// Bar keeps two VMs' frames off a link that did harm.
type Bar struct {
	Pair  vttif.Pair // Src < Dst
	Ends  Ends
	Until time.Time
	Why   string // "slower by 40 % …"
	Count int    // how often it was taken back
}

// Way is how two VMs' frames are to go, both directions: over the nodes given, in order from A's to B's; none is a direct link.
type Way struct {
	A, B ether.MAC
	Via  []overlay.Name
}

// Ends names a link by the nodes it joins, A < B.
type Ends struct{ A, B overlay.Name }

// EndsOf puts two nodes in order.
func EndsOf(a, b overlay.Name) Ends { return Ends{A: min(a, b), B: max(a, b)} }

// String is the link in words.
func (e Ends) String() string { return fmt.Sprintf("%s–%s", e.A, e.B) }

// Mode says what becomes of proposals.
type Mode uint8

// The modes. The zero value is the default.
const (
	Auto    Mode = iota // proposals are carried out
	Advise              // proposals are shown
	Observe             // none are made
)

// String is the word for m.
func (m Mode) String() string {
	switch m {
	case Auto:
		return "auto"
	case Advise:
		return "advise"
	case Observe:
		return "observe"
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// ParseMode is the inverse of String.
func ParseMode(s string) (Mode, error) {
	for m := Auto; m <= Observe; m++ {
		if s == m.String() {
			return m, nil
		}
	}
	return 0, fmt.Errorf("cannot use mode %q: it is one of observe, advise, auto", s)
}

// Config sets a Planner; the zero value is the default.
type Config struct {
	Mode       Mode
	Policy     string // a name of Policies; empty is fastpath
	Told       string // of policy oracle: the pairs, "vm1=vm2,vm2=vm3"; a VM by name, MAC, or NODE/PORT
	MaxLinks   int    // how many links adaptation may have open at once; 0 = as many as there are pairs
	MaxPerNode int    // how many of them may end at one node; 0 = no limit
	MaxChanges int    // how many changes it may make in a minute; 0 = DefaultMaxChanges, negative = no limit
	Unchecked  bool   // the effect of changes is not judged
}

// DefaultMaxChanges a minute: an application that starts takes one to four, and one that changes its pattern at every chance
// gets the union of its patterns instead (see Past). What only takes back is never held up.
const DefaultMaxChanges = 30

// Kind is what a step does.
type Kind uint8

// The kinds of steps, in the order in which a proposal lists them.
const (
	OpenLink  Kind = iota // a link between two nodes that had none
	Divert                // two VMs' frames take it
	Restore               // two VMs' frames take the star again
	CloseLink             // a link nobody takes any more
)

// String is the word for k.
func (k Kind) String() string {
	switch k {
	case OpenLink:
		return "open link"
	case Divert:
		return "divert"
	case Restore:
		return "restore"
	case CloseLink:
		return "close link"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Step is one part of a proposal, in words. The exact difference is overlay.Diff of the present overlay and the Target.
type Step struct {
	Kind   Kind
	What   string // "host1–host2", "vm1 and vm2 over host1–host2"
	Reason string
}

// Refusal is something a policy weighed and left.
type Refusal struct {
	Pair   vttif.Pair // Src < Dst
	Ends   Ends       // the link that would have carried it
	What   string     // "vm1 and vm2 over host1–host2"
	Reason string
}

// Proposal is a change a policy holds to be worth making. Without steps the overlay is as it should be.
type Proposal struct {
	ID       uint64           // 1, 2, 3 …; the same while the same change is proposed again; given by the Planner
	Topology uint64           // version of the application topology it is for
	Target   *overlay.Overlay // a clone of the present overlay with the change; new rules have ID 0, for the caller to number
	Steps    []Step
	Diverted []Direct  // the pairs that get rules they did not have
	Not      []Refusal // what was not done, at most maxRefusals
	Gain     float64   // 0..1: estimated share of the groups' bytes taken off the Proxy
	Relief   float64   // bytes/s that the Proxy would no longer carry
	Reason   string    // one line; without steps, why nothing may be done now

	restored []vttif.Pair // the pairs that lose rules
}

// Restored are the pairs that lose rules.
func (p Proposal) Restored() []vttif.Pair { return p.restored }

// Direct is a pair of VMs and the link that carries them.
type Direct struct {
	Pair vttif.Pair // Src < Dst
	Ends Ends
}

// Rest leaves a group of VMs as it is until then: nothing new, so that what is measured is one thing.
type Rest struct {
	VMs   []ether.MAC // sorted
	Until time.Time
	Why   string
}

func (r Rest) holds(d direct) bool {
	for _, m := range [2]ether.MAC{d.a.MAC, d.b.MAC} {
		if _, in := slices.BinarySearchFunc(r.VMs, m, ether.MAC.Compare); !in {
			return false
		}
	}
	return true
}

// maxRefusals keeps a proposal readable in an overlay of thousands of pairs.
const maxRefusals = 256
