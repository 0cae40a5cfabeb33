package simulate

import (
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// count tells the nodes' counters what was moved, millisecond by millisecond, as their workers would have.
func (w *World) count() {
	now := w.engine.now
	if now.Sub(w.told) < tell {
		return
	}
	passed := uint32(max(1, now.Sub(w.told).Milliseconds()))
	w.told = now
	for back := passed; back > 0; back-- {
		for _, m := range w.machines {
			m.counter.At(m.node.Clock() - back + 1)
		}
		for _, f := range w.engine.flows {
			if f.moved == 0 {
				continue
			}
			bytes := uint64(f.moved * wire / float64(passed))
			frames := bytes/1514 + 1
			a, b := w.guests[f.from], w.guests[f.to]
			a.at.counter.Offered(a.mac, b.mac, bytes, frames, false)
			b.at.counter.Delivered(a.mac, b.mac, bytes, frames)
		}
	}
	for _, f := range w.engine.flows {
		if f.moved > 0 {
			acks := uint64(f.moved/mss/2) + 1
			a, b := w.guests[f.from], w.guests[f.to]
			b.at.counter.Offered(b.mac, a.mac, acks*66, acks, true)
			a.at.counter.Delivered(b.mac, a.mac, acks*66, acks)
			f.moved = 0
		}
	}
}

// queues lets the delay of control messages follow how busy the wires were.
func (w *World) queues() {
	passed := w.engine.now.Sub(w.felt)
	if passed < feel {
		return
	}
	w.felt = w.engine.now
	moved := false
	for _, p := range w.ground.pipes {
		target := time.Duration(standing * float64(p.queue) * float64(p.busy) / float64(passed))
		p.busy = 0
		change := (target - p.delay) * 3 / 10 // a queue fills and empties in some round trips
		if change.Abs() > time.Millisecond/2 {
			p.delay += change
			moved = true
		}
	}
	if moved {
		w.lay()
	}
}

// probe has every pair of VMs that talks send a numbered frame now and then.
func (w *World) probe() {
	if w.engine.now.Before(w.next) {
		return
	}
	w.next = w.engine.now.Add(probing)
	for _, f := range w.engine.flows {
		w.number++
		to := w.guests[f.to]
		w.guests[f.from].send(to.mac, w.number)
		w.probed = append(w.probed, probe{w.number, to})
	}
}

// Account is what became of all frames.
type Account struct {
	Probes     int   `json:"probes"`
	Lost       int   `json:"probes_lost"`
	Twice      int   `json:"duplicates"`
	FramesLost int64 `json:"frames_lost"` // by conservation: in at the edges, not out, not dropped for a reason
	Dropped    int64 `json:"dropped"`     // for a reason, wires included
}

// Plus is both together.
func (a Account) Plus(b Account) Account {
	return Account{a.Probes + b.Probes, a.Lost + b.Lost, a.Twice + b.Twice, a.FramesLost + b.FramesLost, a.Dropped + b.Dropped}
}

// Account stops the applications' model and closes the books.
func (w *World) Account() (Account, error) {
	w.engine.flows, w.engine.active = nil, nil
	if err := w.Pass(2*time.Second, nil); err != nil { // stragglers, and the heartbeats that tell of them
		return Account{}, err
	}
	a := Account{Probes: len(w.probed)}
	for _, p := range w.probed {
		switch n := p.to.times(p.number); {
		case n == 0:
			a.Lost++
		case n > 1:
			a.Twice++
		}
	}
	var sum vnetv1.Counters
	for _, m := range w.machines {
		c := m.counters()
		sum.EdgeIn += c.EdgeIn
		sum.Copies += c.Copies
		sum.Cuts += c.Cuts
		sum.EdgeOut += c.EdgeOut
		sum.WireLost += c.WireLost
		for _, d := range c.Drops {
			a.Dropped += int64(d.Frames)
		}
	}
	a.Dropped += int64(sum.WireLost)
	a.FramesLost = int64(sum.EdgeIn+sum.Copies+sum.Cuts) - int64(sum.EdgeOut) - a.Dropped
	return a, nil
}
