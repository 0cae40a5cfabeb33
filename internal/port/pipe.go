package port

import (
	"net"
	"sync"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// pipeDepth is how many packets wait in a pipe before the next is dropped: a TAP queue holds 500 too.
const pipeDepth = 500

// pipeMTU is the MTU of a pipe in bytes: that of Ethernet.
const pipeMTU = 1500

// Pipe returns two ports made of memory: what is written to one is read from the other. They behave as TAPs
// which take every offload, and wait in a way that a synctest bubble understands.
func Pipe(nameA, nameB string) (Port, Port) {
	ab, ba := newPipeQueue(), newPipeQueue()
	return newPipeEnd(nameA, ba, ab), newPipeEnd(nameB, ab, ba)
}

// pipeQueue is one direction of a pipe. Its lock guards all of it.
type pipeQueue struct {
	mu      sync.Mutex
	arrived sync.Cond
	waiting []ether.Packet
	spare   [][]byte // memory of packets that were read
	readers bool     // false once the reading end is closed
}

func newPipeQueue() *pipeQueue {
	q := &pipeQueue{readers: true}
	q.arrived.L = &q.mu
	return q
}

func (q *pipeQueue) push(p *ether.Packet) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.readers {
		return errDown
	}
	if len(q.waiting) >= pipeDepth {
		return errFull
	}
	var memory []byte
	if n := len(q.spare); n > 0 {
		memory, q.spare = q.spare[n-1], q.spare[:n-1]
	}
	c := *p
	c.Hops = 0 // a wire does not carry it
	c.Frame = append(memory[:0], p.Frame...)
	q.waiting = append(q.waiting, c)
	q.arrived.Signal()
	return nil
}

func (q *pipeQueue) pop(b *Batch) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.readers && len(q.waiting) == 0 {
		q.arrived.Wait()
	}
	if !q.readers {
		return net.ErrClosed
	}
	n := 0
	for n < len(q.waiting) && b.room() {
		b.copyIn(&q.waiting[n])
		q.spare = append(q.spare, q.waiting[n].Frame)
		n++
	}
	rest := copy(q.waiting, q.waiting[n:])
	clear(q.waiting[rest:])
	q.waiting = q.waiting[:rest]
	return nil
}

func (q *pipeQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.readers = false
	q.waiting, q.spare = nil, nil
	q.arrived.Broadcast()
}

// pipeEnd is one end of a pipe.
type pipeEnd struct {
	name    string
	in, out *pipeQueue
	outlet  outlet
	gate    *gate
}

func newPipeEnd(name string, in, out *pipeQueue) *pipeEnd {
	e := &pipeEnd{name: name, in: in, out: out, gate: newGate()}
	e.outlet.door = e
	e.outlet.start(takesAll, "", pipeMTU)
	return e
}

func (e *pipeEnd) put(_ int, p *ether.Packet) error { return e.out.push(p) }

func (e *pipeEnd) refreshMTU() int { return pipeMTU }

func (e *pipeEnd) Name() string { return e.name }

func (e *pipeEnd) Queues() int { return 1 }

func (e *pipeEnd) Read(_ int, b *Batch) error {
	b.reset()
	return e.in.pop(b)
}

func (e *pipeEnd) Write(q int, pkts []ether.Packet) (int, error) {
	if !e.gate.enter() {
		return 0, net.ErrClosed
	}
	defer e.gate.leave()
	return e.outlet.write(q, pkts)
}

func (e *pipeEnd) SetOffloads(names []string) error {
	_, err := e.outlet.use(names)
	return err
}

func (e *pipeEnd) Info() Info {
	return Info{
		Kind:     KindMemory,
		MTU:      pipeMTU,
		Offloads: takes(e.outlet.takes.Load()).names(),
		Off:      e.outlet.off(),
		Queues:   1,
		Drops:    e.outlet.drops.reasons(),
	}
}

func (e *pipeEnd) Close() error {
	if !e.gate.close(e.in.close) {
		return net.ErrClosed
	}
	return nil
}
