package patterns

import (
	"fmt"
	"time"
)

// iterate computes and carries out the phases of one iteration.
func (r *rank) iterate(iteration uint64) error {
	p := r.planFor(iteration)
	start := time.Now()
	if err := r.compute(); err != nil {
		return err
	}
	var sent, received int64
	for i, phase := range p.phases {
		if err := r.exchange(iteration, i, phase); err != nil {
			return err
		}
		for _, e := range phase.sends {
			sent += e.Bytes
		}
		for _, e := range phase.receives {
			received += e.Bytes
		}
	}
	r.out.iteration(iteration, start, time.Since(start), sent, received)
	for _, n := range p.ticksTo {
		r.post(n, header{Kind: kindTick, Iteration: iteration}, nil)
	}
	if len(p.ticksFrom) > 0 {
		r.owed = append(r.owed, debt{iteration, p.ticksFrom})
	}
	return nil
}

// compute stands for the work between exchanges.
func (r *rank) compute() error {
	if r.cfg.compute == 0 {
		return nil
	}
	done := time.NewTimer(r.cfg.compute)
	defer done.Stop()
	_, err := await(r, done.C, "its own computation")
	return err
}

// exchange sends and receives one phase, all at once.
func (r *rank) exchange(iteration uint64, phase int, p phasePlan) error {
	done := make(chan error, len(p.sends))
	for _, e := range p.sends {
		r.post(e.To, header{Kind: kindData, Iteration: iteration, Phase: uint16(phase), Length: uint64(e.Bytes)}, done)
	}
	for _, e := range p.receives {
		if err := r.receive(e.From, iteration, phase); err != nil {
			return err
		}
	}
	for range p.sends {
		err, stuck := await(r, done, "a send")
		if stuck != nil {
			return stuck
		}
		if err != nil {
			return r.excuse(err)
		}
	}
	return nil
}

// collect waits for the ticks that must have come before an iteration starts.
func (r *rank) collect(iteration uint64) error {
	for len(r.owed) > 0 && (iteration == unknown || r.owed[0].iteration+window <= iteration) {
		for _, n := range r.owed[0].from {
			for p := r.peers[n]; p.ticked <= r.owed[0].iteration; {
				a, err := r.next(p)
				if err != nil {
					return err
				}
				if a.Kind != kindTick {
					return fmt.Errorf("rank %d is out of step: no tick for iteration %d", n, r.owed[0].iteration)
				}
			}
		}
		r.owed = r.owed[1:]
	}
	return nil
}

// post hands a message to a peer's writer, with what is known of the end.
func (r *rank) post(to int, h header, done chan<- error) {
	r.agreed.mark(&h)
	r.peers[to].outbox <- letter{h, done}
}

// receive waits for an exchange, which must be the peer's next one.
func (r *rank) receive(from int, iteration uint64, phase int) error {
	for {
		a, err := r.next(r.peers[from])
		if err != nil {
			return err
		}
		if a.Kind == kindTick {
			continue
		}
		if a.Kind != kindData || a.Iteration != iteration || int(a.Phase) != phase {
			return fmt.Errorf("rank %d is out of step: sent kind %d of iteration %d, phase %d, not an exchange of %d, %d",
				from, a.Kind, a.Iteration, a.Phase, iteration, phase)
		}
		return nil
	}
}

// next takes a peer's next message and what it says of the end.
func (r *rank) next(p *peer) (arrival, error) {
	a, err := await(r, p.inbox, p.name)
	if err != nil {
		return a, err
	}
	if a.err != nil {
		return a, r.excuse(a.err)
	}
	r.agreed.hear(a.header)
	if a.Kind == kindTick {
		p.ticked = a.Iteration + 1
	}
	return a, nil
}

// excuse turns the loss of a peer into a clean end when stopping was asked for.
func (r *rank) excuse(err error) error {
	if r.agreed.stop {
		return errInterrupted
	}
	return fmt.Errorf("lost a peer: %w", err)
}

// await waits for a value. It gives up when no byte moved for the stall time, or when grace after a request
// to stop is over.
func await[T any](r *rank, from <-chan T, whom string) (T, error) {
	var none T
	patience := r.cfg.stall + 2*r.cfg.compute
	stall := time.NewTimer(patience)
	defer stall.Stop()
	for moved := r.moved.Load(); ; {
		select {
		case v := <-from:
			return v, nil
		case <-r.asked:
			r.asked = nil
			r.agreed.stop = true
			r.aborted = time.After(grace)
		case <-r.aborted:
			return none, errInterrupted
		case <-stall.C:
			if now := r.moved.Load(); now != moved {
				moved = now
				stall.Reset(patience)
				continue
			}
			return none, fmt.Errorf("stalled: no byte moved for %v while waiting for %s", patience, whom)
		}
	}
}

// goodbye tells all peers that nothing follows and waits a little for theirs, so that no data is cut off.
func (r *rank) goodbye() {
	late := time.NewTimer(farewell)
	defer late.Stop()
	for n, p := range r.peers {
		r.post(n, header{Kind: kindBye}, nil)
		close(p.outbox)
	}
	for _, p := range r.peers {
		for open := true; open; {
			select {
			case _, open = <-p.inbox:
			case <-late.C:
				return
			}
		}
	}
}
