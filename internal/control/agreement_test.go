package control

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// world is the Proxy's machine and those of all nodes, joined by streams that lose, repeat and reorder messages, and by
// sessions that end.
type world struct {
	t      *rapid.T
	now    time.Time
	change *Change
	nodes  map[overlay.Name]*worldNode
	names  []overlay.Name
	result *Result
	calm   int // of 100 things that can happen, how many are good
}

// worldNode is a node: its machine, and what the machine's effects have made of it.
type worldNode struct {
	machine  *Prepared
	rules    map[uint64]bool
	base     map[uint64]bool // rules before the change
	target   map[uint64]bool // rules after it
	inert    []uint64        // what Prepare installs
	flips    []uint64        // what Flip adds
	links    map[overlay.Name]bool
	opening  []overlay.Name
	cut      bool
	requests []StageRequest
	replies  []StageReply
	ready    bool // it has said that it is prepared
	finished bool // it has said that its old source rules are gone
}

func TestNodesAndProxyAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.proxy(Start{})
		for range rapid.SampledFrom([]int{5, 20, 60, 150, 300}).Draw(t, "steps") {
			w.happen()
		}
		w.settle()
	})
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, now: noon(), nodes: map[overlay.Name]*worldNode{}}
	w.calm = rapid.SampledFrom([]int{60, 90, 97, 100}).Draw(t, "calm")
	cfg := ChangeConfig{ID: 7, Wait: time.Second, Stages: overlay.Stages{
		Prepare: map[overlay.Name]overlay.NodeStage{}, Flip: map[overlay.Name]overlay.NodeStage{},
		Finish: map[overlay.Name]overlay.NodeStage{}, Delete: map[overlay.Name]overlay.NodeStage{},
	}}
	all := []overlay.Name{"a", "b", "c", "d"}
	w.names = all[:rapid.IntRange(1, len(all)).Draw(t, "nodes")]
	for i, name := range w.names {
		n := &worldNode{machine: &Prepared{}, base: map[uint64]bool{}, links: map[overlay.Name]bool{}}
		w.nodes[name] = n
		some := func(label string, first uint64) []uint64 {
			var list []uint64
			for id := range uint64(rapid.IntRange(0, 2).Draw(t, label)) {
				list = append(list, uint64(i+1)*100+first+id)
			}
			return list
		}
		replaced, old, rest := some("replaced", 10), some("old", 20), some("rest", 30)
		n.inert, n.flips = some("inert", 40), some("flips", 50)
		for _, id := range slices.Concat([]uint64{uint64(i)}, replaced, old, rest) {
			n.base[id] = true
		}
		n.rules = maps.Clone(n.base)
		n.target = map[uint64]bool{uint64(i): true}
		for _, id := range slices.Concat(n.inert, n.flips) {
			n.target[id] = true
		}
		var links []overlay.Link
		if i > 0 && rapid.Bool().Draw(t, "link") {
			links = append(links, overlay.Link{A: w.names[i-1], B: name})
		}
		cfg.Nodes = append(cfg.Nodes, name)
		cfg.Stages.Prepare[name] = overlay.NodeStage{OpenLinks: links, AddRules: numbered(n.inert...)}
		cfg.Stages.Flip[name] = overlay.NodeStage{AddRules: numbered(n.flips...), DeleteRules: numbered(replaced...)}
		cfg.Stages.Finish[name] = overlay.NodeStage{DeleteRules: numbered(old...)}
		cfg.Stages.Delete[name] = overlay.NodeStage{DeleteRules: numbered(rest...)}
	}
	w.change = NewChange(cfg)
	return w
}

// happen lets one thing happen. Bad things are rare in calm worlds, or hardly a change would get through.
func (w *world) happen() {
	name := rapid.SampledFrom(w.names).Draw(w.t, "node")
	n := w.nodes[name]
	kinds := []string{"deliver", "deliver", "deliver", "deliver", "deliver", "deliver", "later", "heal"}
	if w.misfortune() {
		kinds = []string{"lose", "repeat", "cut", "restart", "due"}
	}
	switch rapid.SampledFrom(kinds).Draw(w.t, "what") {
	case "deliver":
		w.deliver()
	case "due":
		w.due()
	case "later":
		w.now = w.now.Add(time.Duration(rapid.IntRange(1, 50).Draw(w.t, "ms")) * ms)
		w.tick()
	case "lose":
		n.requests, n.replies = nil, nil
	case "repeat":
		if len(n.requests) > 0 {
			n.requests = append(n.requests, rapid.SampledFrom(n.requests).Draw(w.t, "request"))
		}
		if len(n.replies) > 0 {
			n.replies = append(n.replies, rapid.SampledFrom(n.replies).Draw(w.t, "reply"))
		}
	case "cut":
		w.cut(name)
	case "heal":
		w.heal(name)
	case "restart":
		w.cut(name)
		for _, id := range n.machine.Provisional() {
			delete(n.rules, id) // a node does not keep over a restart what may expire
		}
		n.machine, n.opening = &Prepared{}, nil
		clear(n.links)
	}
}

// deliver lets anything that is under way arrive; when nothing is, time passes until something is due.
func (w *world) deliver() {
	var can []func()
	for _, name := range w.names {
		n := w.nodes[name]
		if len(n.requests) > 0 {
			can = append(can, func() { w.node(name, Asked{draw(w.t, &n.requests)}) })
		}
		if len(n.replies) > 0 {
			can = append(can, func() { w.proxy(Reply{name, draw(w.t, &n.replies)}) })
		}
		if len(n.opening) > 0 {
			can = append(can, func() { w.link(name, draw(w.t, &n.opening), !w.misfortune()) })
		}
	}
	if len(can) == 0 {
		w.due()
		return
	}
	can[rapid.IntRange(0, len(can)-1).Draw(w.t, "what arrives")]()
}

// draw takes any element out of a list that has some.
func draw[T any](t *rapid.T, list *[]T) T {
	i := rapid.IntRange(0, len(*list)-1).Draw(t, "which")
	one := (*list)[i]
	*list = slices.Delete(*list, i, i+1)
	return one
}

func (w *world) misfortune() bool { return rapid.IntRange(0, 99).Draw(w.t, "fortune") >= w.calm }

func (w *world) cut(name overlay.Name) {
	if n := w.nodes[name]; !n.cut {
		n.cut, n.requests, n.replies = true, nil, nil
		w.proxy(NodeLost{name})
		w.node(name, ProxyLost{})
	}
}

func (w *world) heal(name overlay.Name) {
	if n := w.nodes[name]; n.cut {
		n.cut = false
		w.node(name, ProxyBack{})
		w.proxy(NodeBack{name})
	}
}

func (w *world) link(name, peer overlay.Name, good bool) {
	if !good {
		w.node(name, LinkFailed{peer, "no luck"})
		return
	}
	w.nodes[name].links[peer] = true
	w.node(name, LinkProved{Peer: peer})
}

func (w *world) due() {
	next := w.change.NextTime()
	for _, n := range w.nodes {
		if t := n.machine.NextTime(); !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if next.After(w.now) {
		w.now = next
	}
	w.tick()
}

func (w *world) tick() {
	w.proxy(Tick{})
	for _, name := range w.names {
		w.node(name, Tick{})
		if next := w.nodes[name].machine.NextTime(); !next.IsZero() && !next.After(w.now) {
			w.t.Fatalf("%s wants the same tick again", name)
		}
	}
	if next := w.change.NextTime(); !next.IsZero() && !next.After(w.now) {
		w.t.Fatal("the change wants the same tick again")
	}
}

func (w *world) proxy(ev ChangeEvent) {
	for _, e := range w.change.Step(w.now, ev) {
		switch e := e.(type) {
		case Send:
			if n := w.nodes[e.Node]; !n.cut {
				n.requests = append(n.requests, e.Request)
			}
		case Committed:
			for _, name := range w.names {
				if n := w.nodes[name]; !slices.Contains(e.Missing, name) && !n.has(n.flips) {
					w.t.Fatalf("committed, but %s has not flipped", name)
				}
			}
		case Done:
			if w.result != nil {
				w.t.Fatal("done twice")
			}
			w.result = &e.Result
			w.judge()
		}
	}
}

func (w *world) node(name overlay.Name, ev PreparedEvent) {
	n := w.nodes[name]
	for _, e := range n.machine.Step(w.now, ev) {
		switch e := e.(type) {
		case OpenLink:
			if n.links[e.Peer] || slices.Contains(n.opening, e.Peer) {
				w.t.Fatalf("%s opens its link to %s twice", name, e.Peer)
			}
			n.opening = append(n.opening, e.Peer)
		case CloseLink:
			delete(n.links, e.Peer)
			n.opening = slices.DeleteFunc(n.opening, func(p overlay.Name) bool { return p == e.Peer })
		case EditRules:
			w.edit(name, n, e)
		case Respond:
			n.ready = n.ready || e.Stage == StagePrepare && e.OK
			n.finished = n.finished || e.Stage == StageFinish && e.OK
			if !n.cut {
				n.replies = append(n.replies, e.StageReply)
			}
		}
	}
}

func (w *world) edit(name overlay.Name, n *worldNode, e EditRules) {
	if e.Stage == StagePrepare && w.misfortune() {
		w.node(name, RulesEdited{Change: e.Change, Stage: e.Stage, Error: "no"})
		return
	}
	for other, m := range w.nodes {
		if e.Stage == StageFlip && !m.ready {
			w.t.Fatalf("%s flips, but %s was never prepared", name, other)
		}
		if e.Stage == StageDelete && !m.finished {
			w.t.Fatalf("%s deletes what %s may still use", name, other)
		}
	}
	var removed []uint64
	for _, id := range e.Delete {
		if n.rules[id] {
			removed = append(removed, id)
		}
		delete(n.rules, id)
	}
	for _, id := range ids(e.Add) {
		if n.rules[id] && e.Stage != StageAbort {
			w.t.Fatalf("%s adds rule %d twice", name, id)
		}
		n.rules[id] = true
	}
	if e.Stage != StageAbort {
		w.node(name, RulesEdited{Change: e.Change, Stage: e.Stage, Removed: numbered(removed...)})
	}
}

func (n *worldNode) has(rules []uint64) bool {
	return !slices.ContainsFunc(rules, func(id uint64) bool { return !n.rules[id] })
}

// judge holds the result against what the nodes really have.
func (w *world) judge() {
	for _, o := range w.result.Nodes {
		n := w.nodes[o.Node]
		wrong := ""
		switch {
		case (w.result.OK || o.Reached == StageDelete) && !maps.Equal(n.rules, n.target):
			wrong = "complete"
		case o.Reached == StageAbort && !maps.Equal(n.rules, n.base):
			wrong = "taken back"
		case o.Reached >= StageFlip && o.Reached < StageAbort && w.result.Reached != StageAbort && !n.has(n.flips):
			wrong = "flipped"
		}
		if wrong != "" {
			w.t.Fatalf("%s is said to be %s; it has %v, before %v, after %v\n%+v", o.Node, wrong, n.rules, n.base, n.target, w.result)
		}
	}
	if w.result.OK == (w.result.Error != "") {
		w.t.Fatalf("result contradicts itself: %+v", w.result)
	}
}

// settle loses all that is under way and lets time pass: the change must end, and prepared state must expire.
func (w *world) settle() {
	for _, name := range w.names {
		w.heal(name)
	}
	for range 200 {
		for _, n := range w.nodes {
			n.requests, n.replies = nil, nil
		}
		w.due()
	}
	if w.result == nil {
		w.t.Fatal("the change never ends")
	}
	for _, name := range w.names {
		n := w.nodes[name]
		if left := n.machine.Provisional(); len(left) > 0 {
			w.t.Fatalf("%s still holds %v", name, left)
		}
		if flipped := n.machine.find(7) != nil && n.machine.find(7).phase.flippedOnce(); flipped || len(n.flips) > 0 && n.has(n.flips) {
			continue
		}
		if len(n.opening) > 0 || len(n.links) > 0 && n.machine.find(7) != nil {
			w.t.Fatalf("%s did not flip, but has links %v, opening %v", name, n.links, n.opening)
		}
		for _, id := range n.inert {
			if n.rules[id] && n.machine.find(7) != nil {
				w.t.Fatalf("%s did not flip, but has rule %d", name, id)
			}
		}
	}
}

func (p phase) flippedOnce() bool { return p == flipped || p == finished || p == deleted }
