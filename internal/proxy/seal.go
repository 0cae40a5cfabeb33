package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// SetSeal has the frames between two hosts' guests sealed end to end, or no longer. The hosts agree on keys among themselves:
// this Proxy only says who is to, and carries what they say.
func (p *Proxy) SetSeal(ctx context.Context, req *vnetv1.SetSealRequest) (*vnetv1.SetSealResponse, error) {
	want, err := sealIn(req)
	if err != nil {
		return nil, err
	}
	var refused error
	err = p.ask(ctx, func(h *hub) {
		for _, name := range []overlay.Name{want.A, want.B} {
			if want.A == "" {
				break
			}
			if _, refused = at(h.record, name); refused != nil {
				return
			}
			if name == h.record.Proxy {
				refused = precondition("cannot seal with %s: it is the Proxy; frames are sealed between hosts", name)
				return
			}
		}
		refused = h.setSeal(want, req.GetOn())
	})
	if err = errors.Join(err, refused); err != nil {
		return nil, err
	}
	if err := p.saved(ctx, nil); err != nil {
		return nil, err
	}
	stored, missed, err := p.tellSeals(ctx)
	return &vnetv1.SetSealResponse{Told: stored, NotTold: missed}, err
}

func sealIn(req *vnetv1.SetSealRequest) (s overlay.Seal, err error) {
	a, b := req.GetA(), req.GetB()
	if a == "" && b == "" {
		return s, nil
	}
	for _, name := range []string{a, b} {
		if err := overlay.ValidName(name); err != nil {
			return s, invalid("%w", err)
		}
	}
	if a == b {
		return s, invalid("cannot seal %s with itself: name two hosts, or none for all", a)
	}
	return overlay.Seal{A: overlay.Name(min(a, b)), B: overlay.Name(max(a, b))}, nil
}

// setSeal edits the user's will.
func (h *hub) setSeal(want overlay.Seal, on bool) error {
	has := slices.Contains(h.will.Seals, want)
	switch {
	case on && !has:
		h.will.Seals = append(slices.Clone(h.will.Seals), want)
	case !on && want == overlay.Seal{}:
		h.will.Seals = nil
	case !on && !has && h.will.Sealed(want.A, want.B):
		return precondition("cannot take the seal off %s and %s alone: all hosts are sealed; take it off all, then name those that keep it", want.A, want.B)
	case !on:
		h.will.Seals = slices.DeleteFunc(slices.Clone(h.will.Seals), func(s overlay.Seal) bool { return s == want })
	}
	h.will = h.will.Normal()
	h.saveWill()
	return nil
}

// sealsOf is with whom a host is to seal.
func (h *hub) sealsOf(name overlay.Name) []overlay.Name {
	out := []overlay.Name{}
	for _, other := range h.record.Names() {
		if other != name && other != h.record.Proxy && name != h.record.Proxy && h.will.Sealed(name, other) {
			out = append(out, other)
		}
	}
	return out
}

// hostsHere are the hosts that are connected.
func (h *hub) hostsHere() (names []overlay.Name) {
	for _, name := range h.record.Names() {
		if name != h.record.Proxy && h.present(name) {
			names = append(names, name)
		}
	}
	return names
}

// sealTime is how long a host gets to take in with whom it seals.
const sealTime = 5 * time.Second

// sealTelling keeps two lists for one host from overtaking each other, and spares hosts of an overlay where nothing is sealed.
type sealTelling struct {
	turn chan struct{}         // has one token, taken while a host is told
	ever map[overlay.Name]bool // told before; who has the token owns it
}

// tellSeals tells every host that is here.
func (p *Proxy) tellSeals(ctx context.Context) (stored []string, missed []*vnetv1.NotTold, err error) {
	var hosts []overlay.Name
	err = p.ask(ctx, func(h *hub) {
		for _, name := range h.record.Names() {
			switch {
			case name == h.record.Proxy:
			case h.present(name):
				hosts = append(hosts, name)
			case len(h.sealsOf(name)) > 0:
				missed = append(missed, &vnetv1.NotTold{Node: string(name), Why: "it is away; it is told when it is back"})
			}
		}
	})
	for _, name := range hosts {
		switch told, err := p.tellSeal(ctx, name); {
		case err != nil:
			missed = append(missed, &vnetv1.NotTold{Node: string(name), Why: err.Error()})
		case told:
			stored = append(stored, string(name))
		}
	}
	slices.SortFunc(missed, func(a, b *vnetv1.NotTold) int { return strings.Compare(a.GetNode(), b.GetNode()) })
	return stored, missed, err
}

// tellSeal tells one host what holds at this moment; false where there was nothing to tell.
func (p *Proxy) tellSeal(ctx context.Context, name overlay.Name) (bool, error) {
	select {
	case <-p.sealing.turn:
		defer func() { p.sealing.turn <- struct{}{} }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	var names []overlay.Name
	if err := p.ask(ctx, func(h *hub) { names = h.sealsOf(name) }); err != nil {
		return false, err
	}
	if len(names) == 0 && !p.sealing.ever[name] {
		return false, nil
	}
	body, err := json.Marshal(names)
	if err != nil {
		return false, fmt.Errorf("cannot encode with whom to seal: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, sealTime)
	defer cancel()
	switch a, err := p.node.Call(ctx, name, node.MethodSealWith, body); {
	case err != nil:
		return false, err
	case a.Code != "":
		return false, fmt.Errorf("cannot have %s seal: %s; a host of version 0.1.0 cannot", name, a.Error)
	}
	p.sealing.ever[name] = true
	return true, nil
}

func newSealTelling() sealTelling {
	t := sealTelling{turn: make(chan struct{}, 1), ever: map[overlay.Name]bool{}}
	t.turn <- struct{}{}
	return t
}

// sealAgain tells a host that has come, or all when a file was applied.
func (p *Proxy) sealAgain(names ...overlay.Name) {
	p.tasks.Go(func() {
		for _, name := range names {
			if _, err := p.tellSeal(p.ctx, name); err != nil {
				p.cfg.Log.Warn("not told with whom to seal", "node", name, "error", err)
			}
		}
	})
}
