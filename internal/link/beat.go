package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

const (
	// epochTime is how long one key seals at most; with it a stolen memory image opens a quarter of an hour.
	epochTime = 15 * time.Minute
	// epochDatagrams is how many datagrams one key seals before the next is taken: an eighth of the 2^28 that RFC 9001
	// appendix B.1.1 allows AES-128-GCM for datagrams of 2 KiB, since the count is looked at once a heartbeat only.
	epochDatagrams = 1 << 25

	upkeepBeats = 8 // heartbeats between two of the dialler's probes at full size: 2 s, 6 kbit/s
	// upkeepTries is how many of them are unanswered in a row when the path counts as narrower: one in 10^5 is by chance at
	// 5 % loss each way. From the second on they are sent with each heartbeat, so that a black hole is found within 5 s.
	upkeepTries = 5
	upkeepID    = 0 // of these probes; those of Prove count from 1

	// linger is how long a dead link stays known: one that the peer closed still delivers stragglers. Meanwhile each end
	// repeats its last words with every heartbeat's time, as the first may have been lost: without them the other end
	// cannot know how many of the last frames it missed.
	linger = time.Second
)

var errNarrow = errors.New("the path no longer takes datagrams of the proved size")

// houseOut seals what the link itself has to say. Several goroutines do, so there is a lock; it guards all fields.
type houseOut struct {
	mu       sync.Mutex
	counters [1 + MaxExtraPorts]uint64 // of its lane, and of those of extra ports
	mem      scratch
	buf      [sizeLargest]byte
}

// sendHouse seals a message of at least size bytes of datagram (0 = as short as it is). Losing it is no failure.
func (l *Link) sendHouse(size int, put func([]byte) int) {
	if l.stream != nil {
		l.stream.house(l, put)
		return
	}
	l.sendHouseTo(*l.remote.Load(), size, put)
}

// sendHouseTo is sendHouse over udp to an address that need not be the peer's.
func (l *Link) sendHouseTo(to netip.AddrPort, size int, put func([]byte) int) {
	l.sendHouseBy(l.e.sockets[0], houseLane, to, size, put)
}

// sendHouseBy is sendHouseTo by a socket of the caller's choice, in the house's lane or that of an extra port.
func (l *Link) sendHouseBy(sock Socket, lane uint16, to netip.AddrPort, size int, put func([]byte) int) {
	h := &l.house
	h.mu.Lock()
	defer h.mu.Unlock()
	n := headerLen + put(h.buf[headerLen:])
	if want := min(size, len(h.buf)) - tagLen; want > n {
		clear(h.buf[n:want])
		n = want
	}
	counter := &h.counters[houseLane-lane]
	*counter++
	d := l.tx.Load().seal(h.buf[:n], header{kind: dgramHouse, lane: lane, link: l.theirs, counter: *counter}, &h.mem)
	// A failed send is a lost message: the next heartbeat, or the prover's next try, makes up for it.
	_ = sock.WriteSegments(to, d, len(d))
}

func (l *Link) sendProbe(m probe) { l.sendHouse(int(m.size), m.put) }

// upkeep asks once more whether a full datagram gets through; false when upkeepTries in a row were not answered. Without it a
// path that became narrower would pass heartbeats and swallow frames.
func (l *Link) upkeep() bool {
	if !l.dialled || l.stream != nil || !l.opened.Load() {
		return true
	}
	l.sendProbe(probe{id: upkeepID, size: uint16(l.MTU())})
	return l.unanswered.Add(1) <= upkeepTries
}

// sendBeat sends a heartbeat. heard is when the peer was last heard, as the judgement of its life has it.
func (l *Link) sendBeat(now, heard time.Time) {
	clock := l.clock(now)
	m := beat{
		sent: clock, echo: time.Duration(l.peers.sent.Load()), silence: now.Sub(heard),
		frames: l.framesSent(), received: l.received.Load(), epoch: l.peers.inEpoch.Load(),
	}
	m.held = clock - time.Duration(l.peers.at.Load())
	m.silence, m.held, m.sent = max(0, m.silence), max(0, m.held), max(1, m.sent)
	l.sendHouse(0, m.put)
}

// turn moves our direction to its next epoch, once the peer has said that it heard the present one: it keeps the keys of
// no more than one epoch ahead.
func (l *Link) turn() bool {
	key := l.tx.Load()
	if key == nil || key.epoch != l.peers.epoch.Load() {
		return false
	}
	next, err := key.next()
	if err != nil {
		l.end(err, false)
		return false
	}
	if l.stream != nil {
		l.stream.turn(l, next)
		return true
	}
	l.tx.Store(next)
	return true
}

// datagramsSealed is how much our keys have sealed, in datagrams.
func (l *Link) datagramsSealed() uint64 {
	if l.stream != nil {
		return l.stream.sealedBlocks() * blockEpoch
	}
	return l.datagramsSent()
}

// clear takes a dead link down: says bye, closes what carries it, and takes it out of the endpoint's tables.
func (l *Link) clear() {
	l.sendHouse(0, l.bye().put)
	if l.stream != nil {
		l.stream.finish()
	}
	l.control.shut(l.bye().lastWords())
	if l.stream == nil {
		l.e.forgetLater(l)
		return
	}
	l.e.forget(l)
}

// bye is what a dead link has to say.
func (l *Link) bye() bye { return bye{frames: l.framesSent(), reason: plain(l.err)} }

// plain is why the link ended, in the words the other end is told.
func plain(err error) string {
	var c *closedError
	if errors.As(err, &c) {
		return c.reason
	}
	return err.Error()
}

// Prove returns when a datagram of the link's full size went there and back, and the peer delivers frames.
func (l *Link) Prove(ctx context.Context) error {
	l.proving.Lock()
	defer l.proving.Unlock()
	if _, err := l.probe(ctx, []int{l.MTU()}, true); err != nil {
		return fmt.Errorf("cannot prove the link to %s: %w", l.peer, err)
	}
	return nil
}

const (
	probeEvery = 100 * time.Millisecond // between tries
	probeTries = 2                      // more tries a larger size gets after a smaller one was answered
)

// probe asks with datagrams of the sizes (largest first) until answered and returns the largest that was. A smaller size
// wins only when the larger ones have had probeTries more tries.
func (l *Link) probe(ctx context.Context, sizes []int, started bool) (int, error) {
	id := l.e.nextProbe.Add(1)
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	best, tries := -1, 0
	for {
		for i, s := range sizes {
			if best < 0 || i < best {
				l.sendProbe(probe{id: id, size: uint16(s)})
			}
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				if best >= 0 {
					return sizes[best], nil
				}
				return 0, fmt.Errorf("no answer at the size of %d bytes: %w", sizes[len(sizes)-1], ctx.Err())
			case <-l.done:
				return 0, l.err
			case m := <-l.answers:
				if m.id == id && (m.started || !started) {
					best = better(best, sizes, int(m.size))
				}
				if best == 0 {
					return sizes[0], nil
				}
			case <-tick.C:
				waiting = false
			}
		}
		if best >= 0 {
			if tries++; tries > probeTries {
				return sizes[best], nil
			}
		}
	}
}

// better is the index of the larger of what was answered before (-1 = nothing) and now.
func better(best int, sizes []int, answered int) int {
	for i, s := range sizes {
		if s == answered && (best < 0 || i < best) {
			return i
		}
	}
	return best
}
