// Package adapt decides how the overlay should change for the applications it carries.
//
// It is pure: what is known goes in as a View, what should be done comes out as a Proposal with its reasons. It does not
// carry a proposal out (see overlay for its stages, control and node for their execution) and does not measure its effect.
package adapt

import (
	"fmt"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// View is what a policy knows. It only reads it.
type View struct {
	Topology vttif.Topology
	Overlay  *overlay.Overlay      // as it is now
	Bound    time.Duration         // effective bound on configuration time
	Failed   map[Ends]time.Time    // links that could not be made or kept, and until when they are barred
	Will     overlay.Will          // of the user; mode and overall limit are in Config
	Away     map[overlay.Name]bool // nodes that cannot be told anything now: their part stays as it is, the rest goes on
}

// frozen tells whether one end of the link is away: then nothing about it is changed.
func (v View) frozen(e Ends) bool { return v.Away[e.A] || v.Away[e.B] }

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

// Config sets a policy; the zero value is the default.
type Config struct {
	Mode     Mode
	MaxLinks int // how many links adaptation may have open at once; 0 = as many as there are pairs
}

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

// Proposal is a change a policy holds to be worth making.
type Proposal struct {
	ID       uint64           // 1, 2, 3 …; the same while the same change is proposed again
	Topology uint64           // version of the application topology it is for
	Target   *overlay.Overlay // a clone of the present overlay with the change; new rules have ID 0, for the caller to number
	Steps    []Step           // never empty
	Gain     float64          // 0..1: estimated share of the groups' bytes taken off the Proxy
	Reason   string           // one line
}
