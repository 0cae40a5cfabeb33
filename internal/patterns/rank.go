package patterns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

// grace is how long a rank that was asked to stop tries to end in the same iteration as all others, before
// it ends alone. Process managers kill after 10 s or less; a terminal's user waits less.
const grace = 2 * time.Second

// farewell is how long a rank waits for the others' goodbye at the end: all data is there by then.
const farewell = 5 * time.Second

// errInterrupted ends a rank that was asked to stop, be it together with the others or alone.
var errInterrupted = errors.New("interrupted")

// rank carries out the schedule. One goroutine, that of run, owns it.
type rank struct {
	cfg       *config
	schedules []*workload.Schedule // turn t follows number t mod len
	plans     map[*workload.Phase]*plan
	peers     map[int]*peer
	out       *reporter

	agreed  agreement
	clock   clock // rank 0 judges by it
	began   time.Time
	owed    []debt // ticks that neighbours owe, oldest first
	asked   <-chan struct{}
	aborted <-chan time.Time // grace is over
	moved   atomic.Uint64    // bytes in and out; also written by the peers' goroutines
}

// debt is what must have come before iteration+window may start.
type debt struct {
	iteration uint64
	from      []int
}

// run connects, carries out the schedule to its agreed end, and says goodbye. Cancelling ctx asks all ranks
// to stop; it is not an error.
func run(ctx context.Context, cfg *config, out *reporter) error {
	schedules, err := cfg.schedules()
	if err != nil {
		return err
	}
	conns, err := connect(ctx, cfg, neighbours(schedules, cfg.rank))
	if err != nil {
		if ctx.Err() != nil {
			return errInterrupted
		}
		return err
	}
	r := &rank{cfg: cfg, schedules: schedules, plans: map[*workload.Phase]*plan{}, peers: map[int]*peer{}, out: out, asked: ctx.Done()}
	for _, conn := range conns {
		out.congestion(congestionOf(conn), cfg.control)
	}
	return r.runWith(conns)
}

// runWith starts the peers' goroutines around the loop and waits for them.
func (r *rank) runWith(conns map[int]net.Conn) error {
	var group errgroup.Group
	quit := make(chan struct{})
	for n, conn := range conns {
		r.peers[n] = newPeer(n, conn, r.cfg, &r.moved, quit)
		r.peers[n].start(&group)
	}
	err := r.loop()
	if err == nil {
		r.goodbye()
		if r.agreed.stop {
			err = errInterrupted
		}
	} else {
		for _, p := range r.peers {
			close(p.outbox)
		}
	}
	close(quit)
	for _, p := range r.peers {
		p.conn.Close()
	}
	_ = group.Wait() // the goroutines report through the inbox and the letters
	return err
}

// loop runs iterations until the agreed end.
func (r *rank) loop() error {
	r.began = time.Now()
	r.beginTurn(0, 0)
	for iteration := uint64(0); ; iteration++ {
		if err := r.collect(iteration); err != nil {
			return err
		}
		if r.cfg.rank == 0 {
			r.agreed.decide(time.Now(), iteration, r.clock)
		}
		if iteration > r.agreed.until {
			if err := r.collect(unknown); err != nil || r.agreed.final {
				return err
			}
			r.beginTurn(r.agreed.turn+1, iteration)
			if r.cfg.rank == 0 { // a turn may be over as it begins
				r.agreed.decide(time.Now(), iteration, r.clock)
			}
		}
		if err := r.iterate(iteration); err != nil {
			return err
		}
	}
}

// beginTurn resets the agreement for the turn that starts with an iteration.
func (r *rank) beginTurn(turn uint32, iteration uint64) {
	r.agreed = agreement{turn: turn, until: unknown, stop: r.agreed.stop}
	if n := r.cfg.iterations; n > 0 {
		r.agreed.lower(n-1, true)
	}
	r.clock = clock{length: r.cfg.duration, last: true, started: time.Now(), first: iteration}
	if r.cfg.turnTime > 0 {
		rest := max(time.Until(r.began.Add(r.cfg.duration)), 1)
		r.clock.length = min(r.cfg.turnTime, rest)
		r.clock.last = rest <= r.cfg.turnTime
	}
	s := r.schedule()
	spread := reach(s.Edges(), s.Ranks())
	if r.cfg.turnIters > 0 { // edges change on the way: at least one more rank hears it in each window
		spread = s.Ranks() - 1
	}
	r.clock.margin = uint64(window * spread)
}

func (r *rank) schedule() *workload.Schedule {
	return r.schedules[int(r.agreed.turn)%len(r.schedules)]
}

// planFor returns this rank's part of an iteration.
func (r *rank) planFor(iteration uint64) *plan {
	phases := r.schedule().Steps(int(iteration))
	p := r.plans[&phases[0]]
	if p == nil {
		p = planOf(phases, r.cfg.rank)
		r.plans[&phases[0]] = p
	}
	return p
}

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
