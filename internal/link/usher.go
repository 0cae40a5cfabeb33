package link

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// What strangers and peers may take up of an endpoint (docs/hardening.md).
const (
	// knocksOpen is how many handshakes may be under way over QUIC, and as many over TCP: the memory of each is some 100 KiB,
	// and 256 that take a round trip of 100 ms are 2,500 a second, more than two cores can compute.
	knocksOpen = 256
	// knocksOpenOne is how many of them may come from one address: a site of hosts behind one translator that starts at once.
	knocksOpenOne = 64
	// knocksEvery and knocksBurst bound how often one address may begin a handshake, which costs about 1 ms of a core.
	knocksEvery = time.Second / 100
	knocksBurst = 400
	// callersKept is how many addresses are remembered; more at a time share one account.
	callersKept = 4096
	callerIdle  = time.Minute // of an address that is forgotten

	// peerSetups is how many set-ups one peer may have under way behind the handshake, peerLinks how many links it may have
	// opened: one is in use, two or three overlap while keys, carrier or address change.
	peerSetups = 16
	peerLinks  = 16
	linksOpen  = 4096 // that peers opened, in all: four times the largest overlay planned for

	// controlEvery, controlBurst and so on bound what one peer may say on its control streams. A host says some 15 messages a
	// second, and its whole state, which may be thousands of rules, when it comes. What is more waits, at the peer.
	controlEvery     = time.Second / 500
	controlBurst     = 2000
	controlByteRate  = 4 << 20  // bytes a second
	controlByteBurst = 16 << 20 // bytes
	// controlHeld bounds the bytes of messages that are being read or that the node has not taken yet, over all links of a
	// peer. One message always fits.
	controlHeld = 8 << 20
	// controlOut bounds what waits to be written to a peer, over all its links: the largest message fits twice.
	controlOut = 16 << 20
	// controlStuck is how long a peer that lives may take nothing of a message that is being written to it.
	controlStuck = 30 * time.Second
)

// Refusals says how often somebody was turned away, and why.
type Refusals map[string]uint64

var (
	errCrowd   = errors.New("too many handshakes are under way")
	errCrowded = errors.New("too many handshakes are under way from this address")
	errHasty   = errors.New("this address begins handshakes too often")
)

// usher decides who comes in: strangers by address, before a handshake is computed, and peers by name behind it.
type usher struct {
	mu      sync.Mutex // guards the following
	open    map[string]int
	links   int // that peers opened
	callers map[netip.Prefix]*caller
	peers   map[string]*account
	refused Refusals
}

// caller is one address that handshakes come from.
type caller struct {
	open int
	rate *rate.Limiter
	last time.Time
}

// account is what one peer takes up, over all its links.
type account struct {
	name   string
	setups int // guarded by usher.mu, as links is
	links  int

	messages, bytes *rate.Limiter

	out atomic.Int64 // bytes waiting to be written to the peer

	mu   sync.Mutex // guards the following
	held int
	room chan struct{} // closed and replaced when held shrinks
}

func newUsher() *usher {
	return &usher{open: map[string]int{}, callers: map[netip.Prefix]*caller{}, peers: map[string]*account{}, refused: Refusals{}}
}

// subnet is what counts as one address: all of an IPv6 subnet is one's own.
func subnet(a netip.Addr) netip.Prefix {
	bits := 32
	if a = a.Unmap(); !a.Is4() {
		bits = 64
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// knock asks whether a handshake over a carrier may begin. leave is called when it is over, any number of times.
func (u *usher) knock(now time.Time, carrier string, from netip.Addr) (leave func(), err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.caller(now, subnet(from))
	switch {
	case u.open[carrier] >= knocksOpen:
		err = errCrowd
	case c.open >= knocksOpenOne:
		err = errCrowded
	case !c.rate.AllowN(now, 1):
		err = errHasty
	}
	if err != nil {
		u.refused[err.Error()]++
		return nil, err
	}
	u.open[carrier]++
	c.open++
	return sync.OnceFunc(func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.open[carrier]--
		c.open--
	}), nil
}

// caller finds an address's account, or makes one; mu is held. When too many are known, those that have been quiet are
// forgotten, and if none has, all that are new share one.
func (u *usher) caller(now time.Time, at netip.Prefix) *caller {
	if c := u.callers[at]; c != nil {
		c.last = now
		return c
	}
	if len(u.callers) >= callersKept {
		for other, c := range u.callers {
			if c.open == 0 && now.Sub(c.last) > callerIdle {
				delete(u.callers, other)
			}
		}
	}
	if len(u.callers) >= callersKept {
		at = netip.Prefix{}
	}
	c := u.callers[at]
	if c == nil {
		c = &caller{rate: rate.NewLimiter(rate.Every(knocksEvery), knocksBurst)}
		u.callers[at] = c
	}
	c.last = now
	return c
}

// account is a peer's. It stays: there are as many as the overlay has certificates.
func (u *usher) account(peer string) *account {
	u.mu.Lock()
	defer u.mu.Unlock()
	a := u.peers[peer]
	if a == nil {
		a = &account{
			name: peer, room: make(chan struct{}),
			messages: rate.NewLimiter(rate.Every(controlEvery), controlBurst),
			bytes:    rate.NewLimiter(controlByteRate, controlByteBurst),
		}
		u.peers[peer] = a
	}
	return a
}

// begin takes a peer in who has shown its certificate and wants to set a link up.
func (u *usher) begin(peer string) (a *account, end func(), err error) {
	a = u.account(peer)
	u.mu.Lock()
	defer u.mu.Unlock()
	if a.setups >= peerSetups {
		u.refused["a peer sets too many links up at once"]++
		return nil, nil, fmt.Errorf("%s has %d set-ups under way", peer, a.setups)
	}
	a.setups++
	return a, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		a.setups--
	}, nil
}

// link counts a link that a peer opened.
func (u *usher) link(a *account) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case a.links >= peerLinks:
		u.refused["a peer has too many links"]++
		return fmt.Errorf("%s has %d links with this node already", a.name, a.links)
	case u.links >= linksOpen:
		u.refused["there are too many links"]++
		return fmt.Errorf("this node has %d links already", u.links)
	}
	a.links++
	u.links++
	return nil
}

func (u *usher) unlink(a *account) {
	u.mu.Lock()
	defer u.mu.Unlock()
	a.links--
	u.links--
}

// Refused says how often strangers and peers were turned away, by reason.
func (e *Endpoint) Refused() Refusals {
	e.usher.mu.Lock()
	defer e.usher.mu.Unlock()
	out := Refusals{}
	for why, n := range e.usher.refused {
		out[why] = n
	}
	return out
}

// pace waits until a peer may say another message of n bytes.
func (a *account) pace(done <-chan struct{}, n int) bool {
	wait := max(a.messages.Reserve().Delay(), a.bytes.ReserveN(time.Now(), min(n, controlByteBurst)).Delay())
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-done:
		return false
	}
}

// hold takes n bytes up until release, and waits while there is no room.
func (a *account) hold(done <-chan struct{}, n int) bool {
	for {
		a.mu.Lock()
		if a.held == 0 || a.held+n <= controlHeld {
			a.held += n
			a.mu.Unlock()
			return true
		}
		room := a.room
		a.mu.Unlock()
		select {
		case <-room:
		case <-done:
			return false
		}
	}
}

func (a *account) release(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held -= n
	close(a.room)
	a.room = make(chan struct{})
}
