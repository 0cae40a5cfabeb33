package control

import (
	"fmt"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// phase is what a node holds of a change.
type phase uint8

const (
	fresh     phase = iota // nothing yet
	preparing              // links are being opened, rules installed
	prepared               // inert; expires
	flipped                // its sources use the new rules
	finished               // its old source rules are gone
	draining               // taken back; prepared rules stay for stragglers
	deleted                // complete
	aborted                // taken back; nothing is left
	expired                // nobody asked for the flip; nothing is left
	failed                 // could not be prepared; nothing is left
)

// held is one change at a node. It belongs to its Prepared.
type held struct {
	change    uint64
	phase     phase
	deadline  time.Time // of preparing, prepared and draining
	links     []*heldLink
	current   Stage // being carried out; StageNone when idle
	began     time.Time
	editing   bool          // RulesEdited is waited for
	editError string        // what it said
	abortNext *StageRequest // came while editing; carried out after
	requests  [StageAbort + 1]StageRequest
	asked     [StageAbort + 1]bool
	removed   [StageAbort + 1][]overlay.Rule // by each stage
	replies   [StageAbort + 1]*StageReply    // sent; sent again when asked again
}

type linkState uint8

const (
	linkOpening linkState = iota
	linkUp
	linkBad
)

// heldLink is one link a change asked for.
type heldLink struct {
	peer  overlay.Name
	state linkState
	ours  bool // opened by this change, so closed when it is taken back
	why   string
}

// find returns a remembered change.
func (n *Prepared) find(change uint64) *held {
	for _, h := range n.held {
		if h.change == change {
			return h
		}
	}
	return nil
}

// remember adds a change and forgets the oldest that needs nothing any more.
func (n *Prepared) remember(change uint64) *held {
	h := &held{change: change}
	n.held = append(n.held, h)
	if len(n.held) > maxRemembered {
		for i, old := range n.held {
			if !n.timed(old) && old.phase != prepared && old != h {
				n.held = slices.Delete(n.held, i, i+1)
				break
			}
		}
	}
	return h
}

// ask notes a stage that is carried out from now on.
func (h *held) ask(now time.Time, r StageRequest) {
	h.asked[r.Stage], h.requests[r.Stage] = true, r
	h.current, h.began, h.editing, h.editError = r.Stage, now, false, ""
}

// refuses says why a stage cannot be carried out, empty when it can.
func (h *held) refuses(s Stage) string {
	switch {
	case h.phase == expired:
		return fmt.Sprintf("change %d expired here: no flip within %v of preparing", h.change, expireAfter)
	case h.phase == aborted || h.phase == draining:
		return fmt.Sprintf("change %d was taken back", h.change)
	case h.phase == failed:
		return fmt.Sprintf("change %d could not be prepared here", h.change)
	case h.current != StageNone:
		return fmt.Sprintf("%s of change %d is still under way", h.current, h.change)
	case s != h.next():
		return fmt.Sprintf("change %d cannot %s here before it can %s", h.change, s, h.next())
	}
	return ""
}

// next is the only stage that may follow.
func (h *held) next() Stage {
	switch h.phase {
	case fresh:
		return StagePrepare
	case prepared:
		return StageFlip
	case flipped:
		return StageFinish
	case finished:
		return StageDelete
	}
	return StageNone
}

func (h *held) link(peer overlay.Name) *heldLink {
	for _, l := range h.links {
		if l.peer == peer {
			return l
		}
	}
	return nil
}

// installed are the rules Prepare added.
func (h *held) installed() []uint64 { return ids(h.requests[StagePrepare].AddRules) }

// reply begins a favourable reply.
func (h *held) reply(s Stage, now time.Time) StageReply {
	return StageReply{Change: h.change, Stage: s, OK: true, Took: now.Sub(h.began)}
}

// over lets go of everything but what it takes to answer again. Nothing that was taken back is answered favourably any more.
func (h *held) over(p phase) {
	done := held{change: h.change, phase: p}
	if p == deleted {
		done.asked, done.replies = h.asked, h.replies
	}
	*h = done
}

func ids(rules []overlay.Rule) []uint64 {
	var list []uint64
	for _, r := range rules {
		list = append(list, r.ID)
	}
	return list
}
