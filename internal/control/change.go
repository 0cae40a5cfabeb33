package control

import (
	"fmt"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

const (
	// prepareTimeout is how long nodes may take to open and prove links: UDP gives up after 3 s, TCP needs some round
	// trips more. Together with flipTimeout it stays below expireAfter, so that no flip is asked for after it expired.
	prepareTimeout = 5 * time.Second
	// flipTimeout is how long a flip may take before the change goes on without the silent node.
	flipTimeout = 4 * time.Second
	// stageTimeout is how long Finish and Delete may take: nothing waits for them, so it only bounds the report.
	stageTimeout = 5 * time.Second
	// abortTimeout is how long nodes may take to confirm, beyond the wait for stragglers; silent ones expire by themselves.
	abortTimeout = 2 * time.Second
	// resendAfter is when an unanswered request is repeated: a message may be lost when sessions are swapped under it.
	resendAfter = time.Second
	// lostGrace is how long a node lost after it prepared is waited for: a live one is back on the star within 1 s. Nobody
	// is held up meanwhile but what follows the stage.
	lostGrace = 2 * time.Second
	// minWait is the least wait for stragglers before old rules are deleted; see WaitFor.
	minWait = time.Second
)

// WaitFor is how long stragglers may be under way: max(1 s, 2 × largest round trip) (docs/protocol.md, C37).
func WaitFor(largestRTT time.Duration) time.Duration { return max(minWait, 2*largestRTT) }

// Change carries one change through its stages on all nodes, at the Proxy. The Proxy runs one at a time,
// or starts the next while the one before waits for stragglers.
//
// Nobody flips before all have prepared. If a node or a link fails before that, all is taken back and the result names
// the links, so that the caller can plan again without them. Once flips are under way a lost node holds up nobody's flip (any
// subset of flips is safe), but if it does not come back the change ends there: no stage begins before all nodes have
// finished the one before, and what is old may still be in use. The result says so, and the caller plans again from what the
// nodes have. A flip that is refused (prepared state expired) takes the whole change back.
type Change struct {
	cfg      ChangeConfig
	nodes    []*participant // sorted by name
	stage    Stage          // all nodes are asked to come this far
	waiting  bool           // in StageFinish: until for stragglers
	until    time.Time      // the end of this stage or of the wait
	began    time.Time
	entered  time.Time // when this stage began
	deletes  bool      // StageDelete has something to do: stragglers must be waited for
	why      string    // of an abort
	over     bool
	result   Result
	failures []LinkReport
	out      []ChangeEffect
}

// participant is one node's way through the change.
type participant struct {
	name     overlay.Name
	requests [StageAbort + 1]StageRequest
	reached  Stage     // last stage it confirmed
	aborted  bool      // it confirmed the abort
	lost     bool      // it has no control stream
	lostAt   time.Time // since then
	silent   bool      // it did not answer, or come back, in time; not waited for any more
	refused  string    // its error, once it refused a stage
	sent     time.Time // when its outstanding request was sent last
}

// NewChange prepares the machine; nothing happens before the Start event.
func NewChange(cfg ChangeConfig) *Change {
	nodes, deletes := participants(cfg)
	return &Change{cfg: cfg, nodes: nodes, deletes: deletes}
}

// ID is the number of the change.
func (c *Change) ID() uint64 { return c.cfg.ID }

// Over says that Done was emitted; the machine ignores everything from then on.
func (c *Change) Over() bool { return c.over }

// Nodes are all nodes that take part, sorted.
func (c *Change) Nodes() []overlay.Name {
	names := make([]overlay.Name, len(c.nodes))
	for i, p := range c.nodes {
		names[i] = p.name
	}
	return names
}

// Step takes one event and says what is to be done, in order.
func (c *Change) Step(now time.Time, ev ChangeEvent) []ChangeEffect {
	_, starts := ev.(Start)
	if c.over || starts != (c.stage == StageNone) {
		return nil
	}
	c.out = nil
	switch ev := ev.(type) {
	case Start:
		c.began = now
		c.enter(now, StagePrepare, prepareTimeout)
	case Reply:
		c.reply(now, ev)
	case NodeLost:
		if p := c.node(ev.Node); p != nil {
			p.lost, p.lostAt = true, now
		}
	case NodeBack:
		if p := c.node(ev.Node); p != nil {
			p.lost, p.silent = false, false
			c.send(now, p)
		}
	case Tick:
		c.tick(now)
	}
	for !c.over && !c.waiting && c.settled() {
		c.advance(now)
	}
	return c.out
}

// NextTime is when the machine wants a Tick; zero when it wants none.
func (c *Change) NextTime() time.Time {
	if c.over || c.stage == StageNone {
		return time.Time{}
	}
	next := c.until
	for _, p := range c.nodes {
		due := p.sent.Add(resendAfter)
		if p.lost {
			due = p.lostAt.Add(lostGrace)
		}
		if c.pending(p) != StageNone && !c.givenUp(p) && due.Before(next) {
			next = due
		}
	}
	return next
}

func (c *Change) node(name overlay.Name) *participant {
	for _, p := range c.nodes {
		if p.name == name {
			return p
		}
	}
	return nil
}

// pending is the stage a node is still to confirm, StageNone when it has no more to do for now.
func (c *Change) pending(p *participant) Stage {
	switch {
	case c.stage == StageAbort && !p.aborted:
		return StageAbort
	case c.stage == StageAbort, p.refused != "", p.reached >= c.stage:
		return StageNone
	}
	return p.reached + 1
}

// settled says that nobody is waited for in this stage.
func (c *Change) settled() bool {
	for _, p := range c.nodes {
		if c.pending(p) != StageNone && !p.silent && !c.givenUp(p) {
			return false
		}
	}
	return true
}

// givenUp says that a lost node is not waited for: at once while everything can still be taken back, else after a while.
func (c *Change) givenUp(p *participant) bool {
	return p.lost && (p.silent || c.stage == StagePrepare || c.stage == StageAbort)
}

func (p *participant) lostFor(now time.Time) time.Duration {
	if !p.lost {
		return 0
	}
	return now.Sub(p.lostAt)
}

func (c *Change) send(now time.Time, p *participant) {
	stage := c.pending(p)
	if stage == StageNone || p.lost {
		return
	}
	p.sent = now
	c.out = append(c.out, Send{p.name, p.requests[stage]})
}

// enter moves the whole change to a stage and asks all nodes at once.
func (c *Change) enter(now time.Time, s Stage, timeout time.Duration) {
	if c.stage != StageNone {
		c.result.Took[c.stage] += now.Sub(c.entered)
	}
	c.stage, c.entered, c.until, c.waiting = s, now, now.Add(timeout), false
	for _, p := range c.nodes {
		p.silent = p.silent || p.lostFor(now) >= lostGrace
		c.send(now, p)
	}
}

func (c *Change) reply(now time.Time, r Reply) {
	p := c.node(r.Node)
	if p == nil || r.Change != c.cfg.ID {
		return
	}
	if c.stage == StageAbort && r.Stage != StageAbort {
		if r.OK && r.Stage == p.reached+1 {
			p.reached = r.Stage // it came further than was known when the abort began
		}
		return
	}
	if r.Stage != c.pending(p) {
		return // repeated or late
	}
	p.silent = false
	for _, f := range r.Failed {
		c.failures = append(c.failures, LinkReport{p.name, f})
	}
	switch {
	case !r.OK:
		p.refused = r.Error
		if p.refused == "" {
			p.refused = "refused without saying why"
		}
		p.aborted = r.Stage == StageAbort // it will not do better when asked again
	case r.Stage == StageAbort:
		p.aborted, p.reached = true, StageAbort
	default:
		p.reached = r.Stage
	}
}

func (c *Change) tick(now time.Time) {
	if !now.Before(c.until) {
		if c.waiting {
			c.result.Waited = now.Sub(c.entered)
			c.entered = now // the wait is not part of any stage
			c.stageDelete(now)
			return
		}
		for _, p := range c.nodes {
			p.silent = p.silent || c.pending(p) != StageNone
		}
		return
	}
	for _, p := range c.nodes {
		switch {
		case c.pending(p) == StageNone:
		case p.lost:
			p.silent = p.silent || p.lostFor(now) >= lostGrace
		case !now.Before(p.sent.Add(resendAfter)):
			c.send(now, p)
		}
	}
}

// advance decides what follows a stage in which nobody is waited for any more.
func (c *Change) advance(now time.Time) {
	switch c.stage {
	case StagePrepare:
		if why := c.trouble(StagePrepare); why != "" {
			c.abort(now, why, 0)
			return
		}
		c.enter(now, StageFlip, flipTimeout)
	case StageFlip:
		c.flipped(now)
	case StageFinish:
		c.result.Took[StageFinish] += now.Sub(c.entered)
		c.entered = now
		switch {
		case c.trouble(StageFinish) != "":
			c.finish(now) // someone may still use what is old: it is not deleted
		case c.deletes && c.cfg.Wait > 0:
			c.waiting, c.until = true, now.Add(c.cfg.Wait)
		default:
			c.stageDelete(now)
		}
	case StageDelete, StageAbort:
		c.finish(now)
	}
}

func (c *Change) stageDelete(now time.Time) { c.enter(now, StageDelete, stageTimeout) }

func (c *Change) flipped(now time.Time) {
	var missing []overlay.Name
	for _, p := range c.nodes {
		if p.refused != "" {
			c.abort(now, fmt.Sprintf("%s refused to flip: %s", p.name, p.refused), c.cfg.Wait)
			return
		}
		if p.reached < StageFlip {
			missing = append(missing, p.name)
		}
	}
	if len(missing) < len(c.nodes) || len(c.nodes) == 0 {
		c.result.Commit = now.Sub(c.began)
		c.out = append(c.out, Committed{c.cfg.ID, c.result.Commit, missing})
	}
	if len(missing) > 0 {
		c.finish(now)
		return
	}
	c.enter(now, StageFinish, stageTimeout)
}

// trouble says why not all nodes have reached a stage, empty when all have.
func (c *Change) trouble(s Stage) string {
	for _, p := range c.nodes {
		switch {
		case p.reached >= s:
		case p.refused != "":
			return fmt.Sprintf("%s cannot %s: %s", p.name, p.reached+1, p.refused)
		case p.lost:
			return fmt.Sprintf("%s was lost before it confirmed %s", p.name, p.reached+1)
		default:
			return fmt.Sprintf("%s did not answer %s in time", p.name, p.reached+1)
		}
	}
	return ""
}

func (c *Change) abort(now time.Time, why string, wait time.Duration) {
	c.why = why
	for _, p := range c.nodes {
		p.silent = false
		p.requests[StageAbort].Wait = wait
	}
	c.enter(now, StageAbort, wait+abortTimeout)
}

// finish tells the truth about every node.
func (c *Change) finish(now time.Time) {
	r := &c.result
	r.Took[c.stage] += now.Sub(c.entered)
	r.Change, r.Error, r.Reached = c.cfg.ID, c.why, StageDelete
	if r.Error == "" {
		r.Error = c.trouble(c.stage)
	}
	r.OK = r.Error == ""
	for _, p := range c.nodes {
		r.Nodes = append(r.Nodes, Outcome{p.name, p.reached, p.lost, p.refused})
		r.Reached = min(r.Reached, p.reached)
	}
	if c.stage == StageAbort {
		r.Reached = StageAbort
	}
	r.Failed = c.failures
	slices.SortFunc(r.Failed, LinkReport.compare)
	c.over = true
	c.out = append(c.out, Done{*r})
}
