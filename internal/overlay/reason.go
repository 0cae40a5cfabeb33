package overlay

import "fmt"

// Action is what a node does with a frame.
type Action uint8

// The actions. The zero Action does no harm.
const (
	Drop      Action = iota
	Forward          // to the one side a rule names
	FloodTree        // to every other member of the flood tree
)

// String is the word for a.
func (a Action) String() string {
	switch a {
	case Drop:
		return "drop"
	case Forward:
		return "forward"
	case FloodTree:
		return "flood"
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// Reason says why a node does what it does with a frame; drops are counted by it.
type Reason uint8

// The reasons, in the order in which a frame meets them.
const (
	DropBlocked        Reason = iota // it came in by a side that is blocked, because a loop was found there
	DropReserved                     // to 01:80:c2:00:00:0x
	FloodGroup                       // a group frame
	DropFastPathGroup                // a group frame that came over a fast path, where none belongs
	RuleMatched                      // the strongest rule said so
	DropSameSide                     // the strongest rule sends it back where it came from
	FloodDefault                     // only a default rule matches, and it sends to the star
	FloodUnknown                     // nothing matches
	DropFastPathNoRule               // it came over a fast path and nothing matches
	DropOutDown                      // what matches sends to sides that are gone; only what entered at a host falls back to the tree
	DropNoRule                       // nothing matches and flooding is off
	DropNoOutput                     // the flood tree has no other member
	Reasons                          // how many there are, for counters by reason
)

// String is the text for r in status and metrics.
func (r Reason) String() string {
	names := [Reasons]string{
		"blocked port", "reserved address", "group frame", "group frame on a fast path", "rule", "same side", "default rule",
		"unknown destination", "no rule on a fast path", "output down", "no rule", "nowhere to flood",
	}
	if r < Reasons {
		return names[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}
