package patterns

import (
	"context"
	"errors"
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
