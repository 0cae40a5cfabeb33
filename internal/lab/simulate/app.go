package simulate

import (
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

const (
	// ahead is how many iterations a rank may be ahead of a neighbour that only receives from it, as in cmd/patterns.
	ahead = 2
	// tickBytes is the message that a receiver answers such a sender with, headers included.
	tickBytes = 28
	// guestDelay is what a guest's kernel and the benchmark take between the last byte of a message and the answer to it.
	guestDelay = 200 * time.Microsecond
)

// App is the benchmark `patterns`: its ranks compute nothing, exchange, and go on when their own exchanges are done. It
// belongs to the goroutine that drives the world.
type App struct {
	w          *World
	schedules  []*workload.Schedule
	turn       time.Duration // how long each schedule lasts; 0 with one of them
	iterations int           // 0: until the world ends
	began      time.Time
	ranks      []*rank
	ended      time.Time            // when the last rank was done
	done       int                  // ranks that are done
	chosen     []*workload.Schedule // by iteration, once its first rank has begun it
}

// rank is one participant.
type rank struct {
	app       *App
	number    int
	vm        int
	flows     map[int]*flow // to other ranks
	iteration int
	phase     int
	phases    []workload.Phase
	running   bool
	sending   int         // messages of this phase under way
	wanted    []int       // ranks that owe a message of this phase
	came      map[int]int // messages from a rank that were not wanted yet
	ticks     map[int]int // iterations that a receiver has acknowledged
	owed      map[int]int // to which iteration each receiver must have come
	finished  []time.Time // of iterations
}

// Start begins a run of so many iterations, or without an end for 0: rank i runs in VM order[i]. With several schedules the
// ranks take turns with them. Several applications may run at once.
func (w *World) Start(order []int, iterations int, turn time.Duration, schedules ...*workload.Schedule) *App {
	a := &App{w: w, schedules: schedules, turn: turn, iterations: iterations, began: w.engine.now}
	for n, vm := range order {
		r := &rank{app: a, number: n, vm: vm, flows: map[int]*flow{}, came: map[int]int{}, ticks: map[int]int{}, owed: map[int]int{}}
		a.ranks = append(a.ranks, r)
	}
	for _, r := range a.ranks {
		for _, s := range schedules {
			for _, e := range s.Edges() {
				for _, pair := range [][2]int{{e.A, e.B}, {e.B, e.A}} {
					if pair[0] == r.number && r.flows[pair[1]] == nil {
						r.flows[pair[1]] = w.connect(r.vm, a.ranks[pair[1]].vm)
					}
				}
			}
		}
	}
	w.apps = append(w.apps, a)
	for _, r := range a.ranks {
		r.begin()
	}
	return a
}

// Stop lets all ranks end after the same iteration, as soon as may be.
func (a *App) Stop() {
	for _, r := range a.ranks {
		a.iterations = max(a.iterations, r.iteration+1)
	}
}

// Done tells whether every rank has done all its iterations.
func (a *App) Done() bool { return a.done == len(a.ranks) }

// Took is the running time.
func (a *App) Took() time.Duration { return a.ended.Sub(a.began) }

// Iterations is how many iterations rank 0 has done.
func (a *App) Iterations() int { return len(a.ranks[0].finished) }

// FinishedAt is when rank 0 was done with an iteration.
func (a *App) FinishedAt(i int) time.Time { return a.ranks[0].finished[i] }

// schedule is what an iteration follows: decided by the clock when its first rank begins it.
func (a *App) schedule(iteration int) *workload.Schedule {
	if a.turn == 0 {
		return a.schedules[0]
	}
	if iteration == len(a.chosen) {
		a.chosen = append(a.chosen, a.schedules[int(a.w.engine.now.Sub(a.began)/a.turn)%len(a.schedules)])
	}
	return a.chosen[iteration]
}

// begin starts the rank's next iteration, once its receivers are near enough.
func (r *rank) begin() {
	for peer, upTo := range r.owed {
		if r.ticks[peer] < upTo-(ahead-1) {
			r.running = false
			return // a tick begins again
		}
	}
	if r.app.iterations > 0 && r.iteration >= r.app.iterations {
		r.running = false
		if r.app.done++; r.app.Done() {
			r.app.ended = r.app.w.engine.now
		}
		r.iteration = -1
		return
	}
	r.running = true
	r.phases, r.phase = r.app.schedule(r.iteration).Steps(r.iteration), 0
	r.exchange()
}

// exchange starts the present phase.
func (r *rank) exchange() {
	r.sending, r.wanted = 0, r.wanted[:0]
	for _, e := range r.phases[r.phase] {
		if e.To == r.number {
			r.wanted = append(r.wanted, e.From)
		}
	}
	for _, e := range r.phases[r.phase] {
		if e.From == r.number {
			r.sending++
			to := r.app.ranks[e.To]
			r.app.w.engine.send(r.flows[e.To], message{
				left:    float64(e.Bytes),
				sent:    func() { r.sending--; r.goOn() },
				arrived: func() { to.came[r.number]++; to.goOn() },
			})
		}
	}
	r.goOn()
}

// goOn takes what has come, and goes to the next phase or iteration when all has.
func (r *rank) goOn() {
	if !r.running {
		return
	}
	r.wanted = slices.DeleteFunc(r.wanted, func(from int) bool {
		if r.came[from] == 0 {
			return false
		}
		r.came[from]--
		return true
	})
	if r.sending > 0 || len(r.wanted) > 0 {
		return
	}
	if r.phase++; r.phase < len(r.phases) {
		r.exchange()
		return
	}
	r.finish()
}

// finish ends an iteration: who only sent to us is told that all is here.
func (r *rank) finish() {
	r.finished = append(r.finished, r.app.w.engine.now)
	to, from := map[int]bool{}, map[int]bool{}
	for _, phase := range r.phases {
		for _, e := range phase {
			if e.From == r.number {
				to[e.To] = true
			}
			if e.To == r.number {
				from[e.From] = true
			}
		}
	}
	for peer := range to {
		if !from[peer] {
			r.owed[peer]++
		}
	}
	for n, peer := range r.app.ranks { // in order, so that the same seed gives the same run
		if from[n] && !to[n] {
			r.app.w.engine.send(r.flows[n], message{left: tickBytes, arrived: func() { peer.ticked(r.number) }})
		}
	}
	r.iteration++
	r.running = false
	r.begin()
}

// ticked hears that a receiver has finished one more iteration.
func (r *rank) ticked(from int) {
	r.ticks[from]++
	if !r.running && r.iteration >= 0 {
		r.begin()
	}
}
