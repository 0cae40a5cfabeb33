package proxy

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/lang"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

const (
	// tick is how often inference and changes look at the clock: half the
	// interval of the hosts' reports.
	tick = 50 * time.Millisecond
	// slowTick is the same when nobody has said anything for dozeAfter, and dozeAfter far longer than the interval of reports:
	// what ends a silence is heard, what lasts lasts for seconds.
	slowTick  = 500 * time.Millisecond
	dozeAfter = time.Second
	// timeEmpty is how often an empty change measures the configuration time.
	timeEmpty = 10 * time.Minute
	// historyKept is how many changes are remembered for `vnet adapt`.
	historyKept = 100
)

// hub owns the overlay: all fields belong to its goroutine.
type hub struct {
	p     *Proxy
	node  *node.Node
	ctx   context.Context
	calls sync.WaitGroup // answers being worked on; run waits for them

	record *overlay.Overlay // what every node should hold
	hosts  map[overlay.Name]*host
	places *control.Locator
	listed uint64 // version of the directory
	nextID uint64 // of rules, never used twice
	ids    uint64 // the disk says, or soon does, that those below are used
	sure   uint64 // the disk says that those below are used
	key    []byte // of loop probes

	will  overlay.Will // what the user asks of adaptation, but for mode and overall limit: those are in settings
	named []lang.VM    // the VMs that the user gave a name

	traces    map[uint64]chan node.Event // probes under way, and who waits for their reports
	lastTrace uint64

	infer       *vttif.Inferrer
	inferring   vttif.Config // what infer was made with
	recorder    *recorder    // nil while nobody records
	topology    vttif.Topology
	policy      *adapt.Planner
	judge       *adapt.Judge
	judgedAt    time.Time
	agent       *agent // never nil
	journal     journal
	weighed     []adapt.Refusal          // what the policy left when it looked last
	effects     map[vttif.Pair]effect    // the last for each pair
	savings     map[vttif.Pair]saving    // of pairs off the Proxy
	lost        map[adapt.Ends]time.Time // fast paths that are down, since when
	settings    adapt.Config
	failures    map[adapt.Ends]failure // links that could not be made
	proposal    *adapt.Proposal        // what advise mode would do, or auto does
	proposed    time.Time
	pausedUntil time.Time // by the user
	restUntil   time.Time // no proposal is carried out before: one failed, and not because of a link
	restFor     time.Duration

	bound        control.Bound
	timed        time.Time // when the last change was; zero: not since the start
	changes      changes
	audit        audit
	plannedMoves uint64 // when the proposal was made
	moves        uint64 // of VMs; each takes rules out of the record
	history      []pastChange
	timedAt      time.Time // last empty change

	placesDue time.Time // when the directory is written to disk; zero when it is there
}

// host is one host as the hub knows it.
type host struct {
	name    overlay.Name
	session *link.Link // newest; nil when away
	hello   control.Hello
	since   time.Time
	remote  string

	stale     bool      // it missed news of the directory
	refreshed time.Time // when it got all of it last
}

func newHub(ctx context.Context, p *Proxy) (*hub, error) {
	h := &hub{
		p: p, ctx: ctx, node: p.node, hosts: map[overlay.Name]*host{}, places: control.NewLocator(),
		failures: map[adapt.Ends]failure{}, traces: map[uint64]chan node.Event{}, key: make([]byte, 32),
		settings: p.cfg.Adapt, judge: adapt.NewJudge(), agent: &agent{}, effects: map[vttif.Pair]effect{},
		savings: map[vttif.Pair]saving{}, lost: map[adapt.Ends]time.Time{},
	}
	config := p.cfg.VTTIF
	config.LAN = h.onLAN
	h.infer, h.inferring = vttif.NewInferrer(config), config
	h.policy = adapt.NewPlanner(h.settings)
	if _, err := rand.Read(h.key); err != nil {
		return nil, err
	}
	if err := h.restore(time.Now()); err != nil {
		return nil, err
	}
	h.registerSelf()
	h.changes = newChanges(h)
	h.reserve() // the numbers of rules that this run may use
	p.node.Told(h.welcome())
	p.node.Told(h.tune(h.record.Proxy))
	p.node.Told(control.Directory{Full: true, Places: h.places.Snapshot()})
	if err := p.node.Restore(h.record.Nodes[h.record.Proxy].Rules); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *hub) run(ctx context.Context) error {
	defer h.calls.Wait()
	ticker := link.NewTicker(h.p.cfg.Node.Net, tick)
	defer ticker.Stop()
	slow, last := false, time.Now() // last: when something happened
	for {
		select {
		case <-ctx.Done():
			h.changes.stop()
			return nil
		case <-h.p.mail.signal:
			for _, fn := range h.p.mail.take() {
				fn(h)
			}
			if last = time.Now(); slow {
				slow = false
				ticker.Reset(tick)
			}
		case now := <-ticker.C:
			h.tick(now)
			if !h.changes.quiet() {
				last = now
			}
			if doze := now.Sub(last) >= dozeAfter; doze != slow {
				slow = doze
				ticker.Reset(map[bool]time.Duration{false: tick, true: slowTick}[slow])
			}
		}
	}
}

func (h *hub) tick(now time.Time) {
	if now.After(h.places.NextTime()) {
		h.spread(h.places.Tick(now))
	}
	h.flushPlaces(now)
	h.refresh(now)
	h.changes.tick(now)
	topology, changed := h.infer.Step(now)
	h.topology = topology
	if h.recorder != nil {
		h.recorder.step(now, h.view(now))
	}
	if changed {
		h.announceTopology()
	}
	h.tickAudit(now)
	h.giveUp(now)
	h.tickJudge(now)
	if h.changes.idle() && h.audited() {
		h.adapt(now)
	}
	if h.changes.idle() && len(h.hosts) > 0 && (h.timedAt.IsZero() || now.Sub(h.timedAt) > timeEmpty) {
		h.timedAt = now
		h.changes.submit(now, &request{what: "timing an empty change", timing: true})
	}
}

// heard takes a message of a host, or of the node itself.
func (h *hub) heard(now time.Time, peer overlay.Name, message any) {
	switch m := message.(type) {
	case control.Announce:
		h.spread(h.places.Announce(now, peer, m))
	case vttif.Report:
		m.Node = string(peer)
		h.ownTraffic(peer, &m)
		for _, d := range m.Deltas {
			if d.OfferedFrames > 0 {
				h.places.Heard(now, peer, d.Src)
			}
		}
		h.infer.Add(now, m)
		if h.recorder != nil {
			h.recorder.report(now, m)
		}
	case control.StageReply:
		h.changes.replied(now, peer, m)
	case control.Call:
		h.call(peer, m)
	case node.Event:
		if peer != h.record.Proxy && !h.p.desks.at(peer).news.AllowN(now, 1) {
			return // it tells more than can happen
		}
		m.Node = string(peer)
		if m.Kind == node.KindTrace {
			h.tracedAt(m)
			return
		}
		h.linkNews(now, m)
		h.node.Events().Add(m)
	}
}

// onLAN tells whether a MAC lives behind a LAN port.
func (h *hub) onLAN(mac ether.MAC) bool {
	place, ok := h.places.Place(mac)
	if !ok {
		return false
	}
	n, ok := h.record.Nodes[place.Node]
	if !ok {
		return false
	}
	for _, p := range n.Ports {
		if p.Name == place.Port {
			return p.LAN
		}
	}
	return false
}
