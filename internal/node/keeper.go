package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
)

const (
	// fresh is how often a link gets a new handshake: forward secrecy by the hour.
	fresh = time.Hour
	// homeward is how often a link that fell back to tcp tries udp again.
	homeward = time.Minute
	// firstHome is when it tries first; each try doubles the wait. A peer that
	// started while it was dialled is often found over tcp first.
	firstHome = 5 * time.Second
	// overlap is how long a replaced session still receives, at least.
	overlap = time.Second
	// courtesy is how long the higher of two names lets the lower dial a new fast
	// path alone: one handshake instead of two for nearly every link. It is the
	// Connection Attempt Delay of RFC 8305 §8; where only the other way works, the
	// link is that much later.
	courtesy = 250 * time.Millisecond
	// dialTimeout bounds one attempt: udp's 3 s, then tcp's handshake on a slow path.
	dialTimeout = 8 * time.Second
)

// keeper dials one neighbour and dials again whenever the slot needs a session:
// none is left, the present one is an hour old, or it is on the wrong carrier.
// Its fields but the channels belong to its goroutine.
type keeper struct {
	n    *Node
	slot *slot

	wake   chan struct{} // something about the slot has changed
	orders chan order    // from the loop and from clients
	cancel context.CancelFunc

	spec    control.LinkSpec
	backoff *control.Backoff
	dialled time.Time     // last successful dial
	homeAt  time.Time     // when udp is tried again
	homeIn  time.Duration // the wait after that; zero while not on tcp
	mine    *link.Link    // the session we dialled last
}

// order asks the keeper for something now.
type order struct {
	spec    *control.LinkSpec // new target
	redial  bool              // a fresh handshake
	carrier *link.Carrier     // another wish
	done    chan error        // told the outcome; may be nil
}

func startKeeper(n *Node, one *slot, spec control.LinkSpec) *keeper {
	ctx, cancel := context.WithCancel(n.ctx)
	k := &keeper{n: n, slot: one, spec: spec, wake: make(chan struct{}, 1), orders: make(chan order, 16), cancel: cancel}
	k.backoff = control.FastBackoff()
	if one.kind == link.Star {
		k.backoff = control.StarBackoff()
	}
	n.keepers.Add(1)
	go func() {
		defer n.keepers.Done()
		k.run(ctx)
	}()
	return k
}

func (k *keeper) stop() { k.cancel() }

func (k *keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) retarget(spec control.LinkSpec) { k.order(order{spec: &spec}) }

// order hands o over without waiting; a keeper that is swamped refuses.
func (k *keeper) order(o order) {
	select {
	case k.orders <- o:
	default:
		if o.done != nil {
			o.done <- fmt.Errorf("cannot change link to %q: too many requests wait; try again", k.slot.peer)
		}
	}
}

func (k *keeper) run(ctx context.Context) {
	dice := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), k.n.cfg.Boot))
	var retry time.Time
	if k.slot.kind == link.Fast && !control.Stays(k.n.name, k.slot.peer, true) {
		retry = time.Now().Add(courtesy)
	}
	stood := false // a session stood when we looked last
	for ctx.Err() == nil {
		now := time.Now()
		stands := k.slot.current.Load() != nil
		if stood && !stands {
			retry = k.backoff.Down(now, dice)
		}
		stood = stands
		if carrier, need := k.due(now); need && !now.Before(retry) {
			if err := k.dial(ctx, carrier); err != nil {
				retry = k.backoff.Down(time.Now(), dice)
				k.failed(err)
			} else {
				k.backoff.Up(time.Now())
			}
			continue
		}
		timer := time.NewTimer(k.sleep(now, retry))
		select {
		case <-ctx.Done():
		case <-k.wake:
		case <-timer.C:
		case o := <-k.orders:
			k.obey(ctx, o)
		}
		timer.Stop()
	}
}

// due tells whether a session has to be dialled, and over which carrier.
func (k *keeper) due(now time.Time) (link.Carrier, bool) {
	current := k.slot.current.Load()
	wish := k.wish()
	if current != nil && current.Dialled() && (k.mine == nil || ended(k.mine)) {
		k.mine, k.dialled = current, current.Since() // what was to replace it has died
	}
	switch {
	case current == nil:
		return wish, k.mine == nil || ended(k.mine) // else our own is about to be answered
	case current != k.mine:
		return wish, false // the other end dialled it: it keeps it fresh
	case now.Sub(k.dialled) > fresh:
		return current.Carrier(), true
	case wish == link.Auto && current.Carrier() == link.TCP && now.After(k.homeAt):
		k.homeAt = now.Add(k.homeIn)
		k.homeIn = min(2*k.homeIn, homeward)
		return link.UDP, true
	}
	return wish, false
}

func ended(l *link.Link) bool {
	select {
	case <-l.Done():
		return true
	default:
		return false
	}
}

func (k *keeper) wish() link.Carrier {
	switch k.spec.Carrier {
	case "udp":
		return link.UDP
	case "tcp":
		return link.TCP
	}
	return link.Auto
}

func (k *keeper) sleep(now, retry time.Time) time.Duration {
	if retry.After(now) {
		return retry.Sub(now)
	}
	return 5 * time.Second // fresh and homeward are looked at this often
}

// dial opens one session and puts it into the slot.
func (k *keeper) dial(ctx context.Context, carrier link.Carrier) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	addrs, err := k.addrs(ctx)
	if err != nil {
		return err
	}
	l, err := k.n.endpoint.Dial(ctx, link.Target{Peer: string(k.slot.peer), Addrs: addrs, Carrier: carrier, Kind: k.slot.kind, Trouble: k.trouble})
	if err != nil {
		return err
	}
	k.mine, k.dialled = l, time.Now()
	if l.Carrier() == link.TCP {
		k.homeIn = min(max(2*k.homeIn, firstHome), homeward)
		k.homeAt = time.Now().Add(k.homeIn)
	} else {
		k.homeIn = 0
	}
	if err := k.n.greet(k.slot, l); err != nil {
		l.Close("not greeted")
		return err
	}
	return nil // what it replaces retires when the far end has answered
}

// trouble tells whoever waits for the slot what is in the way so far.
func (k *keeper) trouble(err error) {
	k.n.do(func(s *state) {
		if k.slot.current.Load() == nil {
			k.slot.lastErr = err.Error()
			s.stages.step(control.LinkTrouble{Peer: k.slot.peer, Error: err.Error()})
		}
	})
}

// failed tells whoever waits for the slot.
func (k *keeper) failed(err error) {
	k.n.do(func(s *state) {
		k.slot.lastErr = err.Error()
		if k.slot.current.Load() == nil {
			s.settle(k.slot, err)
		}
	})
}

func (k *keeper) obey(ctx context.Context, o order) {
	var err error
	switch {
	case o.spec != nil:
		k.spec = *o.spec
	case o.carrier != nil:
		if err = k.dial(ctx, *o.carrier); err == nil {
			k.spec.Carrier = ""
			if *o.carrier != link.Auto {
				k.spec.Carrier = o.carrier.String()
			}
		}
	case o.redial:
		carrier := k.wish()
		if current := k.slot.current.Load(); current != nil {
			carrier = current.Carrier()
		}
		err = k.dial(ctx, carrier)
	}
	if o.done != nil {
		o.done <- err
	}
}

// addrs are where the neighbour may be; the Proxy's names are looked up anew each time.
func (k *keeper) addrs(ctx context.Context) ([]netip.AddrPort, error) {
	if k.slot.kind != link.Star {
		return k.spec.PeerAddrs, nil
	}
	var addrs []netip.AddrPort
	var last error
	for _, text := range k.n.cfg.Proxy {
		found, err := resolve(ctx, text)
		if err != nil {
			last = err
		}
		addrs = append(addrs, found...)
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("cannot find the Proxy: %w", last)
	}
	return addrs, nil
}

func resolve(ctx context.Context, text string) ([]netip.AddrPort, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return []netip.AddrPort{at}, nil
	}
	host, service, err := net.SplitHostPort(text)
	if err != nil {
		return nil, fmt.Errorf("cannot use address %q: want host:port", text)
	}
	number, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("cannot use port %q of %q: want a number", service, text)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	var addrs []netip.AddrPort
	for _, ip := range ips {
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), uint16(number)))
	}
	return addrs, err
}
