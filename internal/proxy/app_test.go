package proxy

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// appType is the other EtherType for experiments (IEEE 802, 0x88B6): frames of applications.
const appType = 0x88b6

const (
	appFrame  = 1400                   // bytes of a frame with data
	appWindow = 16                     // frames under way between two ranks
	appAgain  = 500 * time.Millisecond // an unacknowledged window is sent again
)

// program is a bulk-synchronous program on guests, as patterns is on TCP: in each iteration every rank sends so many
// frames to each neighbour, in order and acknowledged, waits for theirs, and computes.
type program struct {
	frames  int           // to each neighbour in an iteration
	compute time.Duration // at the end of each
	ranks   []*rank
	stop    chan struct{}
	once    sync.Once // closes stop
	running sync.WaitGroup
}

type rank struct {
	guest *guest
	peers []*rank
	wake  chan struct{}
	dice  *rand.Rand

	mu    sync.Mutex // guards the following
	conns map[ether.MAC]*conn
	done  int // iterations
}

// conn is one rank's end of what it exchanges with a neighbour.
type conn struct {
	sent, acked, got int // frames in all
	progress         time.Time
}

// run starts a program on guests; edges are numbers of ranks.
func (w *world) run(frames int, compute time.Duration, guests []*guest, edges [][2]int) *program {
	a := &program{frames: frames, compute: compute, stop: make(chan struct{})}
	for i, g := range guests {
		a.ranks = append(a.ranks, &rank{guest: g, wake: make(chan struct{}, 1), conns: map[ether.MAC]*conn{}, dice: rand.New(rand.NewPCG(uint64(i), 5))})
	}
	for _, e := range edges {
		x, y := a.ranks[e[0]], a.ranks[e[1]]
		x.peers, y.peers = append(x.peers, y), append(y.peers, x)
		x.conns[y.guest.mac], y.conns[x.guest.mac] = &conn{}, &conn{}
	}
	for _, r := range a.ranks {
		r.guest.mu.Lock()
		r.guest.app = r.heard
		r.guest.mu.Unlock()
		a.running.Go(func() { a.run(r) })
	}
	w.apps = append(w.apps, a)
	return a
}

// end stops it and returns how many iterations the slowest rank made.
func (a *program) end() int {
	a.once.Do(func() { close(a.stop) })
	a.running.Wait()
	return a.iterations()
}

func (a *program) iterations() int {
	least := int(^uint(0) >> 1)
	for _, r := range a.ranks {
		r.mu.Lock()
		least = min(least, r.done)
		r.mu.Unlock()
	}
	return least
}

func (a *program) run(r *rank) {
	for {
		for !r.exchanged(a.frames) {
			select {
			case <-a.stop:
				return
			case <-r.wake:
			case <-time.After(appAgain):
			}
		}
		r.mu.Lock()
		r.done++
		r.mu.Unlock()
		select {
		case <-a.stop:
			return
		case <-time.After(a.compute + time.Duration(r.dice.Int64N(int64(a.compute/10)+1))):
		}
	}
}

// exchanged sends what the windows allow and tells whether the iteration is over.
func (r *rank) exchanged(frames int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	over := true
	for _, p := range r.peers {
		c := r.conns[p.guest.mac]
		target := (r.done + 1) * frames
		if c.sent > c.acked && time.Since(c.progress) >= appAgain {
			c.sent = c.acked
		}
		for c.sent < target && c.sent-c.acked < appWindow {
			c.sent++
			r.send(p.guest.mac, 'd', c.sent, appFrame)
			c.progress = time.Now()
		}
		over = over && c.acked >= target && c.got >= target
	}
	return over
}

func (r *rank) send(to ether.MAC, kind byte, number, size int) {
	f := make(ether.Frame, size)
	copy(f[0:], to[:])
	copy(f[6:], r.guest.mac[:])
	binary.BigEndian.PutUint16(f[12:], appType)
	f[14] = kind
	binary.BigEndian.PutUint64(f[15:], uint64(number))
	r.guest.put(f)
}

// heard takes a frame in the guest's reader.
func (r *rank) heard(f ether.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.conns[f.Src()]
	if c == nil {
		return
	}
	number := int(binary.BigEndian.Uint64(f[15:]))
	if f[14] == 'd' {
		if number == c.got+1 {
			c.got++
		}
		r.send(f.Src(), 'a', c.got, 60)
	} else if number > c.acked {
		c.acked, c.progress = number, time.Now()
		c.sent = max(c.sent, c.acked)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// appPath is the wire to the Proxy, and between hosts unless a test says otherwise: slow, so that virtual time is cheap.
func appPath() wan.Path {
	return wan.Path{Delay: 2 * time.Millisecond, Rate: 4e6, Queue: 2 * time.Second}
}

// inAppWorld lives through a test on wires of 4 Mbit/s; the overlay only observes at first.
func inAppWorld(t *testing.T, seed uint64, guests []int, body func(*world)) {
	t.Helper()
	p := issuePapers(t, len(guests)-1)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p, seed, appPath(), guests...)
		defer w.stop()
		defer func() {
			for _, a := range w.apps {
				a.end()
			}
		}()
		defer func() {
			if t.Failed() {
				t.Log(w.events())
			}
		}()
		w.await("all hosts are there", w.up)
		w.greet()
		time.Sleep(time.Second)
		body(w)
	})
}

// adapts sets the mode.
func (w *world) adapts(m vnetv1.AdaptationMode) {
	w.t.Helper()
	if _, err := w.service().SetAdaptation(context.Background(), &vnetv1.SetAdaptationRequest{Mode: m}); err != nil {
		w.t.Fatal(err)
	}
}

// guest number j of host i.
func (w *world) at(i, j int) *guest { return w.hosts[i-1].guests[j-1] }

// ringOf are the edges of a ring of n ranks.
func ringOf(n int) (edges [][2]int) {
	for i := range n {
		edges = append(edges, [2]int{i, (i + 1) % n})
	}
	return edges
}
