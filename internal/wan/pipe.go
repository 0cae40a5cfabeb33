package wan

import (
	"math/rand/v2"
	"time"
)

// Pipe is one direction of a path with the packets it holds at this moment. Its caller owns it: it is not
// safe for concurrent use, and `now` must never go back.
type Pipe struct {
	path  Path
	free  time.Time // when the bottleneck has sent what it accepted
	carry int64     // the part of a nanosecond that free does not show, in 1/Rate ns
	last  time.Time // arrival of the packet accepted last, so that order is kept
}

// New returns an empty pipe.
func New(p Path) *Pipe { return &Pipe{path: p} }

// Path returns what the pipe obeys.
func (p *Pipe) Path() Path { return p.path }

// SetPath changes what the pipe obeys from now on; packets accepted earlier keep their arrival.
func (p *Pipe) SetPath(path Path) {
	p.path = path
	p.carry = 0
}

// Backlog is how long a packet offered now would wait in front of the bottleneck.
func (p *Pipe) Backlog(now time.Time) time.Duration {
	if p.path.Rate == 0 || !p.free.After(now) {
		return 0
	}
	return p.free.Sub(now)
}

// Offer hands over a packet of size bytes, headers included, and says when it arrives; when ok is false it
// does not arrive, and why names the reason. A lost packet has used its share of the rate. The dice are
// rolled once for Loss and once for Jitter, if the path has them, for every packet that was not refused
// at the queue.
func (p *Pipe) Offer(now time.Time, size int, dice *rand.Rand) (deliver time.Time, ok bool, why Drop) {
	if p.path.MTU > 0 && size > p.path.MTU {
		return time.Time{}, false, TooBig
	}
	if p.Backlog(now) > p.path.Depth() {
		return time.Time{}, false, Full
	}
	sent, took := p.transmit(now, size)
	lost := p.path.Loss > 0 && dice.Float64() < p.path.Loss
	deliver = sent.Add(p.path.Delay)
	if p.path.Jitter > 0 {
		deliver = deliver.Add(time.Duration(dice.Int64N(int64(p.path.Jitter) + 1)))
	}
	if lost {
		return time.Time{}, false, Lost
	}
	if p.path.Reorder {
		return deliver, true, Kept
	}
	// Behind a late packet the next one is not only later but leaves room for its own length: the far end
	// never sees more than the rate. The lag cannot build up, because departures keep the same distance.
	if earliest := p.last.Add(took); !p.last.IsZero() && deliver.Before(earliest) {
		deliver = earliest
	}
	p.last = deliver
	return deliver, true, Kept
}

// transmit books the bottleneck for a packet and returns when its last bit is out and how long that took.
func (p *Pipe) transmit(now time.Time, size int) (sent time.Time, took time.Duration) {
	if p.path.Rate == 0 {
		return now, 0
	}
	if !p.free.After(now) {
		p.free, p.carry = now, 0
	}
	bits := int64(size)*8*int64(time.Second) + p.carry
	took = time.Duration(bits / p.path.Rate)
	p.carry = bits % p.path.Rate
	p.free = p.free.Add(took)
	return p.free, took
}
