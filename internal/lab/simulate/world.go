package simulate

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/proxy"
	"github.com/virtuoso-vnet/virtuoso/internal/simnet"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

const (
	// glance is how often the model looks whether the nodes forward otherwise than before.
	glance = 10 * time.Millisecond
	// tell is how often at most the nodes' counters are told what was moved: their finest bins are of 1 ms.
	tell = 4 * time.Millisecond
	// feel is how often the delay of control messages follows the queues.
	feel = 20 * time.Millisecond
	// probing is how often each pair of VMs that talks sends a numbered probe.
	probing = 250 * time.Millisecond
	// certified is how long identities are good: longer than any run.
	certified = 365 * 24 * time.Hour
	// patience bounds every wait for the overlay.
	patience = time.Minute
)

// Config says how a world is made; the zero value is as a user's overlay is.
type Config struct {
	Seed  uint64 // of the memory network's dice
	Adapt adapt.Config
	VTTIF vttif.Config
}

// World is an overlay on the machines of a lab file, in virtual time. The goroutine that was given it owns it.
type World struct {
	cfg      Config
	spec     *lab.Spec
	ground   *ground
	net      *simnet.Net
	machines []*machine // the Proxy's first
	byName   map[overlay.Name]*machine
	guests   []*guest // in the order of the file
	engine   engine
	apps     []*App

	starred          time.Duration
	born, told, felt time.Time
	next             time.Time // of probes
	probed           []probe
	number           uint64
	problem          error
}

type probe struct {
	number uint64
	to     *guest
}

// Run builds the world in a bubble of virtual time, waits until every host is attached, and calls body.
func Run(spec *lab.Spec, cfg Config, body func(*World) error) (err error) {
	// Virtual time is a property of testing/synctest, which wants a test to report to: an empty one will do, for nothing here
	// fails by it.
	synctest.Test(new(testing.T), func(*testing.T) {
		var w *World
		if w, err = build(spec, cfg); err == nil {
			err = w.awaitStar()
		}
		if err == nil {
			w.starred = w.Since()
			err = body(w)
		}
		err = errors.Join(err, w.stop())
	})
	return err
}

func build(spec *lab.Spec, cfg Config) (*World, error) {
	now := time.Now()
	w := &World{cfg: cfg, spec: spec, ground: newGround(spec), net: simnet.New(cfg.Seed), byName: map[overlay.Name]*machine{}}
	w.engine = engine{now: now, pipes: w.ground.pipes}
	w.born, w.told, w.felt, w.next = now, now, now, now
	ca, err := pki.NewCA(spec.Overlay.Name, now)
	if err != nil {
		return w, err
	}
	w.add(spec.Overlay.Proxy)
	for _, h := range spec.Hosts {
		if h.Name != spec.Overlay.Proxy && len(spec.VMsOn(h.Name)) > 0 {
			w.add(h.Name)
		}
	}
	w.lay()
	for _, m := range w.machines {
		role := pki.RoleHost
		if m.name == spec.Overlay.Proxy {
			role = pki.RoleProxy
		}
		id, err := ca.Issue(m.name, role, now, certified)
		if err != nil {
			return w, err
		}
		if err := m.start(w, id, ca); err != nil {
			return w, fmt.Errorf("cannot start %s: %w", m.name, err)
		}
	}
	return w, nil
}

func (w *World) add(name string) {
	h, _ := w.spec.Host(name)
	m := &machine{name: name, addr: h.Address.Addr(), counter: vttif.NewCounter(256)}
	for i, vm := range w.spec.VMs {
		if vm.Host == name {
			m.guests = append(m.guests, &guest{number: i, name: vm.Name, mac: vm.MAC, at: m, got: map[uint64]int{}})
		}
	}
	w.machines = append(w.machines, m)
	w.byName[overlay.Name(name)] = m
}

// lay gives every pair of machines its path for control messages: as long as the wires and what their queues hold now.
func (w *World) lay() {
	for _, a := range w.machines {
		for _, b := range w.machines {
			pipes, delay, ok := w.ground.hop(a.name, b.name)
			if a == b || !ok {
				continue
			}
			for _, p := range pipes {
				delay += p.delay
			}
			w.net.SetPath(a.addr, b.addr, wan.Path{Delay: delay})
		}
	}
}

func (w *World) stop() error {
	var errs []error
	for _, m := range w.machines {
		if m.node != nil {
			errs = append(errs, m.stop())
		}
	}
	return errors.Join(errs...)
}

// awaitStar waits until all hosts are attached and all VMs known.
func (w *World) awaitStar() error {
	w.guests = make([]*guest, len(w.spec.VMs))
	for _, m := range w.machines {
		for _, g := range m.guests {
			w.guests[g.number] = g
			g.send(ether.MAC{255, 255, 255, 255, 255, 255}, 0)
		}
	}
	return w.Await("the star", func() bool {
		nodes, err := w.Service().ListNodes(context.Background(), &vnetv1.ListNodesRequest{})
		if err != nil {
			return false
		}
		up, vms := 0, 0
		for _, n := range nodes.Nodes {
			vms += len(n.Vms)
			if n.State == vnetv1.NodeState_NODE_STATE_UP {
				up++
			}
		}
		return up == len(w.machines) && vms == len(w.guests)
	})
}

// Service is the API at the Proxy.
func (w *World) Service() proxy.Service { return w.machines[0].proxy.Service() }

// Now is the virtual time.
func (w *World) Now() time.Time { return w.engine.now }

// Await lets time pass until the condition holds, at most a minute.
func (w *World) Await(what string, holds func() bool) error {
	held := holds()
	err := w.Pass(patience, func() bool {
		held = held || holds()
		return held
	})
	if held || err != nil {
		return err
	}
	return fmt.Errorf("waited %v in vain for %s", patience, what)
}

// Pass lets so much time pass, or less: until the condition holds. nil is a condition that never does.
func (w *World) Pass(d time.Duration, holds func() bool) error {
	for end := w.engine.now.Add(d); w.engine.now.Before(end) && w.problem == nil; {
		w.lead()
		if w.engine.stale {
			w.engine.settle()
		}
		at := w.engine.next(glance)
		if at.After(end) {
			at = end
		}
		time.Sleep(time.Until(at))
		w.engine.advance(at)
		w.count()
		w.queues()
		w.probe()
		if holds != nil && holds() {
			break
		}
	}
	return w.problem
}

// connect makes one direction of a connection between two VMs.
func (w *World) connect(from, to int) *flow {
	f := &flow{from: from, to: to, window: newWindow(w.engine.now), delay: hostDelay}
	w.engine.flows = append(w.engine.flows, f)
	w.route(f)
	return f
}

// lead makes flows follow the nodes' tables, if any has changed.
func (w *World) lead() {
	changed := false
	for _, m := range w.machines {
		if ways := m.node.Ways(); ways != m.ways {
			m.ways, changed = ways, true
		}
	}
	if !changed {
		return
	}
	for _, f := range w.engine.flows {
		w.route(f)
	}
	w.engine.stale = true
}

// route follows a flow's frames from node to node.
func (w *World) route(f *flow) {
	from, to := w.guests[f.from], w.guests[f.to]
	at, arrival := from.at, from.side()
	path, delay := []*pipe{}, hostDelay
	f.path = nil
	for range 16 {
		out, ok := at.node.Ways().Next(arrival, from.mac, to.mac)
		if !ok {
			return // dropped until something changes
		}
		if out == to.side() && at == to.at {
			f.path, f.delay = path, delay
			return
		}
		peer := w.byName[out.Peer()]
		if peer == nil {
			return
		}
		pipes, hop, ok := w.ground.hop(at.name, peer.name)
		if !ok {
			return
		}
		path, delay = append(path, pipes...), delay+hop
		at, arrival = peer, overlay.AtLink(overlay.Name(at.name))
	}
	w.problem = fmt.Errorf("the frames from %s to %s circle", from.name, to.name)
}

// Since is how long the world exists.
func (w *World) Since() time.Duration { return w.engine.now.Sub(w.born) }

// Starred is how long it took from the start of the daemons until every host was attached and every VM known.
func (w *World) Starred() time.Duration { return w.starred }
