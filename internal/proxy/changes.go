package proxy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// request is a change of the overlay that somebody asked for.
type request struct {
	what     string
	edit     func(*overlay.Overlay) error // makes the target out of a clone of the record; nil changes nothing
	from     *overlay.Overlay             // what the nodes hold, when that is not the record
	present  bool                         // only nodes that are here take part
	proposal *adapt.Proposal              // of adaptation, for the history
	past     *pastChange                  // of adaptation: how it is written down
	timing   bool                         // an empty change that measures the configuration time
	done     func(control.Result, error)  // told once, at the commit or when it failed; may be nil

	target  *overlay.Overlay
	started time.Time
	moves   uint64 // of VMs before it started
	told    bool
}

func (r *request) tell(result control.Result, err error) {
	if r.done != nil && !r.told {
		r.told = true
		r.done(result, err)
	}
}

// changes runs changes one after the other. A change counts as made from its
// commit; what is left of it, waiting for stragglers and deleting, goes on
// beside the next one. The hub owns it.
type changes struct {
	h        *hub
	waiting  []*request
	current  *running
	retiring []*running // committed, deleting what is old
	lastID   uint64
}

type running struct {
	machine *control.Change
	request *request
}

func newChanges(h *hub) changes { return changes{h: h, lastID: h.p.cfg.Node.Boot} }

// idle tells whether a new change could start at once.
func (c *changes) idle() bool { return c.current == nil && len(c.waiting) == 0 }

// quiet tells whether no change is under way at any node.
func (c *changes) quiet() bool { return c.idle() && len(c.retiring) == 0 }

func (c *changes) submit(now time.Time, r *request) {
	c.waiting = append(c.waiting, r)
	c.next(now)
}

// next starts the first request that waits, if none runs.
func (c *changes) next(now time.Time) {
	for c.current == nil && len(c.waiting) > 0 && !c.unsettled() {
		r := c.waiting[0]
		c.waiting = c.waiting[1:]
		if err := c.start(now, r); err != nil {
			c.h.unplannable(now, r, err)
			r.tell(control.Result{}, err)
		}
	}
}

// unsettled tells whether a committed change still has old source rules in place.
func (c *changes) unsettled() bool {
	return slices.ContainsFunc(c.retiring, func(r *running) bool { return !r.machine.Draining() })
}

func (c *changes) start(now time.Time, r *request) error {
	h := c.h
	from := r.from
	if from == nil {
		from = h.record
	}
	r.target = h.record.Clone()
	if r.edit != nil {
		if err := r.edit(r.target); err != nil {
			return err
		}
		h.number(r.target)
	}
	if errs := newErrors(h.record, r.target); len(errs) > 0 {
		return errors.Join(errs...)
	}
	stages, err := overlay.Plan(from, r.target)
	if err != nil {
		return err
	}
	if r.present {
		for _, stage := range stages.InOrder() {
			maps.DeleteFunc(stage, func(name overlay.Name, _ overlay.NodeStage) bool { return !h.present(name) })
		}
	}
	r.target.Generation = h.record.Generation + 1
	c.lastID = max(c.lastID+1, uint64(now.UnixMicro()))
	cfg := control.ChangeConfig{
		ID: c.lastID, Stages: stages, Candidates: h.candidates(), Generation: r.target.Generation,
		Wait: control.WaitFor(h.largestRTT()),
	}
	if r.timing {
		for name, at := range h.hosts {
			if at.session != nil {
				cfg.Nodes = append(cfg.Nodes, name)
			}
		}
	}
	r.started, r.moves = now, h.moves
	c.current = &running{machine: control.NewChange(cfg), request: r}
	c.step(now, c.current, control.Start{})
	for _, name := range c.current.nodes() {
		if !h.present(name) {
			c.step(now, c.current, control.NodeLost{Node: name})
		}
	}
	return nil
}

// newErrors are what is wrong with a target and was not before: a host that
// came back without a port must not stop every change of others.
func newErrors(record, target *overlay.Overlay) []error {
	errs := target.Validate()
	if len(errs) == 0 {
		return nil
	}
	before := map[string]bool{}
	for _, err := range record.Validate() {
		before[err.Error()] = true
	}
	return slices.DeleteFunc(errs, func(err error) bool { return before[err.Error()] })
}

// present tells whether a node takes orders now.
func (h *hub) present(name overlay.Name) bool {
	at, ok := h.hosts[name]
	return name == h.record.Proxy || ok && at.session != nil
}

func (r *running) nodes() []overlay.Name {
	if r == nil {
		return nil
	}
	return r.machine.Nodes()
}

func (c *changes) each(fn func(*running)) {
	for _, r := range append(slices.Clone(c.retiring), c.current) {
		if r != nil {
			fn(r)
		}
	}
}

func (c *changes) replied(now time.Time, from overlay.Name, reply control.StageReply) {
	c.each(func(r *running) {
		if r.machine.ID() == reply.Change {
			c.step(now, r, control.Reply{Node: from, StageReply: reply})
		}
	})
	c.next(now)
}

func (c *changes) nodeLost(now time.Time, name overlay.Name) {
	c.each(func(r *running) { c.step(now, r, control.NodeLost{Node: name}) })
	c.next(now)
}

func (c *changes) nodeBack(now time.Time, name overlay.Name) {
	c.each(func(r *running) { c.step(now, r, control.NodeBack{Node: name}) })
	c.next(now)
}

func (c *changes) tick(now time.Time) {
	c.each(func(r *running) {
		if next := r.machine.NextTime(); !next.IsZero() && !now.Before(next) {
			c.step(now, r, control.Tick{})
		}
	})
	c.next(now)
}

// stop tells everybody who waits that nothing will come of it.
func (c *changes) stop() {
	err := errors.New("cannot finish the change: the Proxy is stopping; apply it again when it is back")
	c.each(func(r *running) { r.request.tell(control.Result{}, err) })
	for _, r := range c.waiting {
		r.tell(control.Result{}, err)
	}
}

func (c *changes) step(now time.Time, r *running, ev control.ChangeEvent) {
	for _, effect := range r.machine.Step(now, ev) {
		switch e := effect.(type) {
		case control.Send:
			c.send(r, e)
		case control.Committed:
			c.committed(now, r, e)
		case control.Done:
			c.finished(now, r, e.Result)
		}
	}
}

// send passes a request on. A link that a later change wants again is not closed.
func (c *changes) send(r *running, e control.Send) {
	if r != c.current && e.Request.Stage == control.StageDelete {
		e.Request.CloseLinks = slices.DeleteFunc(slices.Clone(e.Request.CloseLinks), func(peer overlay.Name) bool {
			_, wanted := c.h.record.LinkBetween(e.Node, peer)
			return wanted
		})
	}
	c.h.tell(e.Node, e.Request)
}

func (c *changes) committed(now time.Time, r *running, e control.Committed) {
	h := c.h
	if c.current == r {
		c.current = nil
		c.retiring = append(c.retiring, r)
	}
	if !r.request.timing {
		h.adopt(r.request.target)
		h.p.event("change.committed", fmt.Sprintf("%s: done in %v", r.request.what, e.Took.Round(100*time.Microsecond)), map[string]string{
			"took_us": fmt.Sprint(e.Took.Microseconds()), "change": fmt.Sprint(e.Change)})
	}
	h.remember(r.request, e)
	r.request.tell(control.Result{Change: e.Change, OK: true, Reached: control.StageFlip, Commit: e.Took}, nil)
}

// adopt makes the target of a committed change the record. VMs and ports are
// facts that may have changed meanwhile; they stay as they are known now.
func (h *hub) adopt(target *overlay.Overlay) {
	next := target.Clone()
	next.VMs = h.record.VMs
	for name, n := range h.record.Nodes {
		if to, ok := next.Nodes[name]; ok {
			to.Ports = n.Ports
		} else {
			next.Nodes[name] = n
		}
	}
	h.record = next
	h.save()
}

func (c *changes) finished(now time.Time, r *running, result control.Result) {
	h := c.h
	wasCurrent := c.current == r
	if wasCurrent {
		c.current = nil
	}
	c.retiring = slices.DeleteFunc(c.retiring, func(other *running) bool { return other == r })
	h.bound.Add(result)
	if result.OK {
		h.timed = now
	}
	h.infer.Bound(h.bound.Value().Value)
	h.saveBound()
	h.recordStages(r.request, result)
	if !result.OK || r.request.moves != h.moves { // what is old may be left, or what a move took out came back
		h.doubt(now)
	}
	if !result.OK && wasCurrent {
		h.blame(now, r.request, result)
		r.request.tell(result, fmt.Errorf("cannot finish %s: %s", r.request.what, result.Error))
		if !r.request.timing {
			h.p.event("change.failed", fmt.Sprintf("%s: %s", r.request.what, result.Error), nil)
		}
	}
}

// number gives every new rule an id that was never used before: a late request
// to delete an old rule must not hit a new one. A rule that a node holds already
// keeps its id, though an edit took it out and put it in again: no stage touches it.
func (h *hub) number(target *overlay.Overlay) {
	for _, name := range target.Names() {
		held := map[overlay.Rule]uint64{}
		if n, ok := h.record.Nodes[name]; ok {
			for _, r := range n.Rules {
				held[unnumbered(r)] = r.ID
			}
		}
		n := target.Nodes[name]
		for i := range n.Rules {
			r := &n.Rules[i]
			if id, ok := held[unnumbered(*r)]; ok {
				r.ID = id
				continue
			}
			r.ID = h.newID()
		}
	}
}

// newID is a number for a rule. What the disk says is ahead of what is used:
// a Proxy that dies before it has written a change down uses none of its numbers again.
func (h *hub) newID() uint64 {
	id := h.nextID
	h.nextID++
	if h.nextID >= h.sure {
		h.reserve()
	}
	return id
}

// reserve waits until the disk is ahead. Nearly always it is already: save asks for more in good time.
func (h *hub) reserve() {
	if h.nextID >= h.ids {
		h.save()
	}
	_ = h.p.disk.Settle(h.ctx) // a disk that takes nothing is reported; a restart may then use numbers again
	h.sure = h.ids
}

func unnumbered(r overlay.Rule) overlay.Rule {
	r.ID = 0
	return r
}
