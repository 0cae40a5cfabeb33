package patterns

import "time"

// window is how many iterations a rank may be ahead of a neighbour that only receives from it: it starts
// iteration i when all neighbours have finished iteration i-window. Two keeps one-way patterns busy over a
// long path without letting senders run away.
const window = 2

// agreement is what a rank knows of when the current turn ends. A turn is a stretch of iterations with one
// pattern; there is one turn only, unless two patterns alternate by the clock.
//
// Rank 0 decides, so far ahead that the news, which travels at least one edge in `window` iterations in the
// headers of the pattern's own messages, is at every rank before it would start the iteration after the
// last. Lowering an announced end by the same rule is safe, so the lowest end wins.
type agreement struct {
	turn  uint32
	until uint64 // last iteration of this turn, or unknown
	final bool   // no turn follows
	stop  bool   // some rank was asked to stop; travels to rank 0
}

// hear takes in what a neighbour's header says.
func (a *agreement) hear(h header) {
	a.stop = a.stop || h.Flags&flagStop != 0
	if h.Turn == a.turn {
		a.lower(h.Until, h.Flags&flagFinal != 0)
	}
}

// lower takes an end if it comes before the known one.
func (a *agreement) lower(until uint64, final bool) {
	switch {
	case until < a.until:
		a.until, a.final = until, final
	case until == a.until:
		a.final = a.final || final
	}
}

// mark writes what is known into a header.
func (a *agreement) mark(h *header) {
	h.Turn, h.Until = a.turn, a.until
	if a.final {
		h.Flags |= flagFinal
	}
	if a.stop {
		h.Flags |= flagStop
	}
}

// clock is what rank 0 judges the end of a turn by.
type clock struct {
	length  time.Duration // of the turn; 0 = it has no end in time
	last    bool          // no turn follows this one
	margin  uint64        // iterations the news needs to reach everyone
	started time.Time
	first   uint64 // iteration the turn began with
}

// decide is called by rank 0 before each iteration and announces the end when it is time: so early that
// the iterations needed to spread the news, at the pace so far, fit into the turn.
func (a *agreement) decide(now time.Time, iteration uint64, c clock) {
	if a.stop {
		a.lower(iteration+c.margin, true)
		return
	}
	if c.length == 0 || a.until != unknown {
		return
	}
	elapsed := now.Sub(c.started)
	var ahead time.Duration
	if done := iteration - c.first; done > 0 {
		ahead = elapsed / time.Duration(done) * time.Duration(c.margin)
	}
	if elapsed+ahead >= c.length {
		a.lower(iteration+c.margin, c.last)
	}
}
