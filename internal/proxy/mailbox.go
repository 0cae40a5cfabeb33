package proxy

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// mailbox holds what the hub has yet to look at. Leaving something never
// waits, so the node's loop may do it while the hub asks the node something.
type mailbox struct {
	mu      sync.Mutex // guards the following
	waiting []func(*hub)
	signal  chan struct{} // has a token while something waits
}

func newMailbox() *mailbox { return &mailbox{signal: make(chan struct{}, 1)} }

func (m *mailbox) leave(fn func(*hub)) {
	m.mu.Lock()
	m.waiting = append(m.waiting, fn)
	m.mu.Unlock()
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() []func(*hub) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.waiting
	m.waiting = nil
	return all
}

const (
	// lettersWaiting is how many messages of one host may wait for the hub; then its control stream is not read on.
	lettersWaiting = 64
	// callsOpen is how many calls of one host may be worked on at a time; callsEvery and callsBurst bound how many there may
	// be: some people who look at the overlay there, or a program.
	callsOpen  = 32
	callsEvery = time.Second / 50
	callsBurst = 200
	// newsEvery and newsBurst bound the events of one host: what happens at a hundred links at once, and 20 a second for long.
	newsEvery = time.Second / 20
	newsBurst = 200
)

// desk is what one host may have the hub busy with.
type desk struct {
	letters chan struct{} // has a token for each message that waits
	calls   chan struct{} // has a token for each call that is worked on
	asks    *rate.Limiter // of calls
	news    *rate.Limiter // of its events
	seen    *rate.Limiter // of events about addresses that come and go there
}

func newDesk() *desk {
	return &desk{
		letters: make(chan struct{}, lettersWaiting), calls: make(chan struct{}, callsOpen),
		asks: rate.NewLimiter(rate.Every(callsEvery), callsBurst), news: rate.NewLimiter(rate.Every(newsEvery), newsBurst),
		seen: rate.NewLimiter(rate.Every(newsEvery), newsBurst),
	}
}

// desks are those of all hosts. They stay: there are as many as the overlay has certificates.
type desks struct {
	mu sync.Mutex // guards the following
	of map[overlay.Name]*desk
}

func (d *desks) at(peer overlay.Name) *desk {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = map[overlay.Name]*desk{}
	}
	one := d.of[peer]
	if one == nil {
		one = newDesk()
		d.of[peer] = one
	}
	return one
}
