package control

import (
	"fmt"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

const (
	// expireAfter is how long prepared state waits for its flip while the Proxy is in contact: longer than the Proxy
	// keeps trying (prepareTimeout + flipTimeout), short enough that a forgotten change leaves nothing behind.
	expireAfter = 10 * time.Second
	// linkTimeout is how long a link may take to be proven: one second less than prepareTimeout, so that the reply that
	// names the link arrives before the Proxy stops waiting for it.
	linkTimeout = 4 * time.Second
	// maxRemembered is how many changes a node remembers for repeated requests; the Proxy runs one at a time, and a
	// message can be late by a few.
	maxRemembered = 32
)

// Prepared is a node's side of changes: what it has prepared, what it answered, and when prepared state expires. Effects
// are carried out in order; each EditRules is atomic.
//
// Prepare opens links and installs inert rules at once and answers when all links are settled; if any failed, nothing is
// kept. Flip, Finish and Delete edit rules, then close links. A stage asked for again is answered again and not done again.
type Prepared struct {
	held      []*held // in the order they came, at most maxRemembered
	proxyAway bool
	out       []PreparedEffect
}

// Step takes one event and says what is to be done, in order.
func (n *Prepared) Step(now time.Time, ev PreparedEvent) []PreparedEffect {
	n.out = nil
	switch ev := ev.(type) {
	case Asked:
		n.asked(now, ev.StageRequest)
	case LinkProved:
		n.linkSettled(now, ev.Peer, func(l *heldLink) {
			l.state, l.ours = linkUp, !ev.Existed || n.disown(ev.Peer)
		})
	case LinkTrouble:
		for _, h := range n.held {
			if l := h.link(ev.Peer); h.phase == preparing && l != nil && l.state == linkOpening {
				l.why = ev.Error
			}
		}
	case LinkFailed:
		n.linkSettled(now, ev.Peer, func(l *heldLink) { l.state, l.why = linkBad, ev.Error })
	case RulesEdited:
		n.edited(now, ev)
	case ProxyLost:
		n.proxyAway = true
	case ProxyBack:
		n.proxyAway = false
		for _, h := range n.held {
			if h.phase == prepared {
				h.deadline = now.Add(expireAfter)
			}
		}
	case Tick:
		n.tick(now)
	}
	return n.out
}

// NextTime is when the machine wants a Tick; zero when it wants none.
func (n *Prepared) NextTime() time.Time {
	var next time.Time
	for _, h := range n.held {
		if n.timed(h) && (next.IsZero() || h.deadline.Before(next)) {
			next = h.deadline
		}
	}
	return next
}

// Provisional are the rules a change has installed without having flipped: a Hello leaves them out, since they may expire.
func (n *Prepared) Provisional() []uint64 {
	var ids []uint64
	for _, h := range n.held {
		if h.phase == preparing || h.phase == prepared || h.phase == draining {
			ids = append(ids, h.installed()...)
		}
	}
	slices.Sort(ids)
	return ids
}

// timed says whether a change's deadline counts now.
func (n *Prepared) timed(h *held) bool {
	return h.phase == preparing || h.phase == draining || h.phase == prepared && !n.proxyAway && !h.editing
}

func (n *Prepared) tick(now time.Time) {
	for _, h := range n.held {
		if !n.timed(h) || now.Before(h.deadline) {
			continue
		}
		switch h.phase {
		case preparing:
			for _, l := range h.links {
				if l.state == linkOpening {
					l.state, l.why = linkBad, late(l.why)
				}
			}
			if h.editing { // the owner never answered: it cannot be trusted to have done it
				h.editing, h.editError = false, "rules were not installed in time"
			}
			n.prepareDone(now, h)
		case prepared:
			n.takeBack(h, "prepared state expired")
			h.over(expired)
		case draining:
			reply := h.reply(StageAbort, now)
			n.takeBack(h, "change was taken back")
			h.over(aborted)
			n.respond(h, reply)
		}
	}
}

// late says why a link was given up that is still being opened, as far as that is known.
func late(trouble string) string {
	if trouble == "" {
		return fmt.Sprintf("not proven within %v", linkTimeout)
	}
	return fmt.Sprintf("not proven within %v: %s", linkTimeout, trouble)
}

func (n *Prepared) asked(now time.Time, r StageRequest) {
	h := n.find(r.Change)
	if h == nil {
		if r.Stage != StagePrepare && r.Stage != StageAbort {
			n.refuse(r, fmt.Sprintf("change %d is not known here; the node has restarted or forgotten it", r.Change))
			return
		}
		h = n.remember(r.Change)
	}
	if r.Stage > StageAbort || r.Stage == StageNone {
		n.refuse(r, "this stage is not known here; the node may be older than the Proxy")
		return
	}
	if again := h.replies[r.Stage]; again != nil {
		n.out = append(n.out, Respond{*again})
		return
	}
	if h.asked[r.Stage] {
		return // the answer is under way
	}
	if r.Stage == StageAbort {
		n.abort(now, h, r)
		return
	}
	if why := h.refuses(r.Stage); why != "" {
		n.refuse(r, why)
		return
	}
	h.ask(now, r)
	n.inherit(h, r.AddRules)
	if r.Stage == StagePrepare {
		h.phase, h.deadline = preparing, now.Add(linkTimeout)
		for _, spec := range r.OpenLinks {
			h.links = append(h.links, &heldLink{peer: spec.Peer})
			n.out = append(n.out, OpenLink{r.Change, spec})
		}
	}
	if len(r.AddRules)+len(r.DeleteRules) > 0 {
		h.editing = true
		n.out = append(n.out, EditRules{r.Change, r.Stage, r.AddRules, r.DeleteRules})
	}
	n.proceed(now, h)
}

// proceed ends the stage under way if nothing more is waited for.
func (n *Prepared) proceed(now time.Time, h *held) {
	switch {
	case h.editing || h.current == StageNone:
	case h.current != StagePrepare:
		n.stageDone(now, h)
	case !slices.ContainsFunc(h.links, func(l *heldLink) bool { return l.state == linkOpening }):
		n.prepareDone(now, h)
	}
}

func (n *Prepared) prepareDone(now time.Time, h *held) {
	reply := h.reply(StagePrepare, now)
	for _, l := range h.links {
		if l.state == linkUp {
			reply.Opened = append(reply.Opened, l.peer)
		} else {
			reply.Failed = append(reply.Failed, LinkFailure{l.peer, l.why})
		}
	}
	switch {
	case h.editError != "":
		reply.Error = h.editError
	case len(reply.Failed) > 0:
		reply.Error = fmt.Sprintf("cannot open link to %s: %s", reply.Failed[0].Peer, reply.Failed[0].Error)
	}
	if reply.OK = reply.Error == ""; reply.OK {
		h.phase, h.deadline = prepared, now.Add(expireAfter)
	} else {
		n.takeBack(h, "change could not be prepared")
		h.over(failed)
	}
	n.respond(h, reply)
}

// stageDone ends Flip, Finish or Delete.
func (n *Prepared) stageDone(now time.Time, h *held) {
	reply := h.reply(h.current, now)
	if h.editError != "" {
		reply.OK, reply.Error, h.editError = false, h.editError, ""
		n.respond(h, reply)
		n.abortAfter(now, h)
		return
	}
	for _, peer := range h.requests[h.current].CloseLinks {
		if heir, later := n.heir(h, peer); later { // the Proxy starts a change while the one before still drains
			heir.ours = true
			continue
		}
		n.out = append(n.out, CloseLink{h.change, peer, "no longer part of the topology"})
	}
	switch h.current {
	case StageFlip:
		h.phase = flipped
	case StageFinish:
		h.phase = finished
	case StageDelete:
		h.over(deleted)
	}
	n.respond(h, reply)
	n.abortAfter(now, h)
}

// abortAfter carries out an abort that came while rules were being edited.
func (n *Prepared) abortAfter(now time.Time, h *held) {
	if r := h.abortNext; r != nil {
		h.abortNext = nil
		n.abort(now, h, *r)
	}
}

// abort takes a change back whatever it has reached. Sources go back at once; what they sent is still delivered for Wait.
func (n *Prepared) abort(now time.Time, h *held, r StageRequest) {
	if h.editing && h.phase != preparing {
		h.abortNext = &r // what the edit removes is needed to take it back
		return
	}
	switch h.phase {
	case deleted:
		n.refuse(r, "the change is complete here and cannot be taken back")
		return
	case finished:
		n.refuse(r, "the old rules are gone here; the change cannot be taken back")
		return
	case preparing, prepared, flipped:
		n.unflip(h)
		h.ask(now, r)
		if r.Wait > 0 && h.phase != preparing {
			h.phase, h.deadline = draining, now.Add(r.Wait)
			return
		}
		n.takeBack(h, "change was taken back")
	case fresh: // perhaps it was carried out before a restart
		h.ask(now, r)
		if len(r.AddRules)+len(r.DeleteRules) > 0 {
			n.out = append(n.out, EditRules{r.Change, StageAbort, r.AddRules, r.DeleteRules})
		}
	default:
		h.ask(now, r)
	}
	reply := h.reply(StageAbort, now)
	h.over(aborted)
	n.respond(h, reply)
}

// unflip puts the rules at sources back as they were, in one publication.
func (n *Prepared) unflip(h *held) {
	if r := h.requests[StageFlip]; h.phase == flipped && len(r.AddRules)+len(r.DeleteRules) > 0 {
		n.out = append(n.out, EditRules{Change: h.change, Stage: StageAbort, Add: h.removed[StageFlip], Delete: ids(r.AddRules)})
	}
}

// takeBack removes what Prepare installed. A link that another change prepares meanwhile becomes that change's.
func (n *Prepared) takeBack(h *held, why string) {
	if ids := h.installed(); len(ids) > 0 {
		n.out = append(n.out, EditRules{Change: h.change, Stage: StageAbort, Delete: ids})
	}
	for _, l := range h.links {
		if l.state == linkUp && !l.ours {
			continue
		}
		if heir, _ := n.heir(h, l.peer); heir != nil {
			heir.ours = true
			continue
		}
		n.out = append(n.out, CloseLink{h.change, l.peer, why})
	}
}

// heir finds the link in the newest other change that needs it, and whether that change came after this one.
func (n *Prepared) heir(h *held, peer overlay.Name) (l *heldLink, later bool) {
	for i, other := range slices.Backward(n.held) {
		if other == h || other.phase >= draining {
			continue
		}
		if l := other.link(peer); l != nil && l.state != linkBad {
			return l, i > slices.Index(n.held, h)
		}
	}
	return nil, false
}

// disown takes a link from the changes that opened it, for a later one that needs it too, and says whether any had.
func (n *Prepared) disown(peer overlay.Name) bool {
	found := false
	for _, h := range n.held {
		if l := h.link(peer); l != nil && l.ours {
			l.ours, found = false, true
		}
	}
	return found
}

// inherit takes rules from changes that only prepared them, for one that adds them too: they must not expire with the other.
func (n *Prepared) inherit(h *held, rules []overlay.Rule) {
	for _, other := range n.held {
		if other == h || other.phase > prepared && other.phase != draining {
			continue
		}
		prepare := &other.requests[StagePrepare]
		prepare.AddRules = slices.DeleteFunc(slices.Clone(prepare.AddRules), func(r overlay.Rule) bool {
			return slices.ContainsFunc(rules, func(mine overlay.Rule) bool { return mine.ID == r.ID })
		})
	}
}

func (n *Prepared) linkSettled(now time.Time, peer overlay.Name, settle func(*heldLink)) {
	for _, h := range n.held {
		l := h.link(peer)
		if h.phase != preparing || l == nil || l.state != linkOpening {
			continue
		}
		settle(l)
		n.proceed(now, h)
	}
}

func (n *Prepared) edited(now time.Time, ev RulesEdited) {
	h := n.find(ev.Change)
	if h == nil || !h.editing || h.current != ev.Stage {
		return
	}
	h.editing, h.editError = false, ev.Error
	if ev.Error == "" {
		h.removed[ev.Stage] = ev.Removed
	}
	n.proceed(now, h)
}

func (n *Prepared) respond(h *held, r StageReply) {
	h.replies[r.Stage] = &r
	h.current = StageNone
	n.out = append(n.out, Respond{r})
}

func (n *Prepared) refuse(r StageRequest, why string) {
	n.out = append(n.out, Respond{StageReply{Change: r.Change, Stage: r.Stage, Error: why}})
}
