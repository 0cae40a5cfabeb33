package node

import (
	"context"
	"fmt"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// stages carries out the effects of control.Prepared, the node's side of
// changes. The loop owns it.
type stages struct {
	s       *state
	machine control.Prepared
}

func newStages(s *state) stages { return stages{s: s} }

// asked takes one request of the Proxy.
func (g *stages) asked(r control.StageRequest) { g.step(control.Asked{StageRequest: r}) }

func (g *stages) tick(now time.Time) {
	if next := g.machine.NextTime(); !next.IsZero() && !now.Before(next) {
		g.step(control.Tick{})
	}
}

func (g *stages) step(ev control.PreparedEvent) {
	for _, effect := range g.machine.Step(time.Now(), ev) {
		g.carryOut(effect)
	}
}

func (g *stages) carryOut(effect control.PreparedEffect) {
	switch e := effect.(type) {
	case control.OpenLink:
		g.open(e)
	case control.EditRules:
		g.edit(e)
	case control.CloseLink:
		g.s.unwant(e.Peer)
	case control.Respond:
		g.s.saveRules() // a flip makes firm what was prepared
		g.s.n.tell(e.StageReply)
	}
}

func (g *stages) edit(e control.EditRules) {
	removed, err := g.s.edit(e.Add, e.Delete)
	g.s.publish() // before the answer leaves: what we say is done, is done
	if e.Stage == control.StageAbort {
		if err != nil {
			g.s.n.cfg.Log.Error("cannot take back a change", "change", e.Change, "error", err)
		}
		return
	}
	done := control.RulesEdited{Change: e.Change, Stage: e.Stage, Removed: removed}
	if err != nil {
		done.Error = err.Error()
	}
	g.step(done)
}

// edit adds and removes rules in one publication and returns what was removed.
func (s *state) edit(add []overlay.Rule, del []uint64) ([]overlay.Rule, error) {
	var removed []overlay.Rule
	gone := map[uint64]bool{}
	for _, id := range del {
		if r, ok := s.rules[id]; ok {
			removed = append(removed, r)
			gone[id] = true
		}
	}
	var fresh []overlay.Rule
	for _, r := range add {
		old, held := s.rules[r.ID]
		if held && old == r && !gone[r.ID] {
			continue
		}
		if r.ID&learnedBit != 0 {
			return nil, fmt.Errorf("cannot use rule id %d: ids from 2^63 belong to learned rules", r.ID)
		}
		if held {
			gone[r.ID] = true
		}
		fresh = append(fresh, r)
	}
	ids := make([]uint64, 0, len(gone))
	for id := range gone {
		ids = append(ids, id)
	}
	if len(fresh)+len(ids) == 0 {
		return nil, nil
	}
	if err := s.change(fresh, ids); err != nil {
		return nil, err
	}
	s.saveRules()
	return removed, nil
}

// open asks for a link and tells the machine when it stands and is proven.
func (g *stages) open(e control.OpenLink) {
	existed := false
	if one, ok := g.s.byPeer[e.Peer]; ok {
		existed = one.wanted
	}
	one := g.s.want(e.LinkSpec)
	g.s.saveLinks()
	n := g.s.n
	one.waiting = append(one.waiting, func(err error) {
		if err != nil {
			g.step(control.LinkFailed{Peer: e.Peer, Error: err.Error()})
			return
		}
		g.step(control.LinkProved{Peer: e.Peer, Existed: existed})
	})
	if one.current.Load() != nil {
		n.prove(one)
	}
}

// prove sends a probe of full size both ways over the slot's session and
// settles the slot with the outcome.
func (n *Node) prove(one *slot) {
	l := one.current.Load()
	n.keepers.Add(1)
	go func() {
		defer n.keepers.Done()
		ctx, cancel := context.WithTimeout(n.ctx, proveTimeout)
		defer cancel()
		err := l.Prove(ctx)
		n.do(func(s *state) { s.settle(one, err) })
	}()
}

// proveTimeout bounds the proof: several tries on a slow, full path, and well
// below the 5 s that the Proxy waits for a prepared stage.
const proveTimeout = 3 * time.Second

// settle tells everybody who waits for the slot.
func (s *state) settle(one *slot, err error) {
	waiting := one.waiting
	one.waiting = nil
	for _, tell := range waiting {
		tell(err)
	}
}
