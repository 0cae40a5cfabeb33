package seal

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

// alpn keeps a handshake for sealing from being used as one for anything else, and the other way round.
const alpn = "vnet-seal/1"

// ShakeTime is how long a handshake may take: some round trips through the Proxy, and slow machines.
const ShakeTime = 10 * time.Second

// Ask carries one message of a handshake to the peer and brings its answer.
type Ask func(ctx context.Context, message []byte) (answer []byte, err error)

// Shake agrees on a key for sealing frames to peer: TLS 1.3 with both certificates, whose messages travel by ask. Who carries
// them can end it, and no more: the peer must prove that it has the key that this node knows it by.
func Shake(ctx context.Context, now time.Time, id *pki.Identity, peer string, ask Ask) (*Sender, error) {
	ctx, cancel := context.WithTimeout(ctx, ShakeTime)
	defer cancel()
	pipe := &askPipe{ctx: ctx, ask: ask, number: make([]byte, numberLen)}
	rand.Read(pipe.number)
	conn := tls.Client(pipe, id.TLS(peer, alpn))
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("cannot agree on a key with %s: %w", peer, err)
	}
	var raw [4]byte
	if _, err := io.ReadFull(conn, raw[:]); err != nil { // the peer's choice of the key's name; it has judged us too
		return nil, fmt.Errorf("cannot agree on a key with %s: %w", peer, err)
	}
	cs := conn.ConnectionState()
	s := &Sender{ID: ID(binary.BigEndian.Uint32(raw[:])), Born: now}
	var err error
	if s.Peer, err = peerOf(cs); err != nil {
		return nil, err
	}
	s.key, err = newKey(cs, s.ID)
	return s, err
}

func peerOf(cs tls.ConnectionState) (p Peer, err error) {
	var role pki.Role
	if p.Name, role, err = pki.PeerOf(cs); err != nil {
		return p, err
	}
	if role != pki.RoleHost {
		return p, fmt.Errorf("cannot seal for %s: it is no host", p.Name)
	}
	p.Key, err = pki.KeyOf(cs)
	return p, err
}

// numberLen is how many random bytes name a handshake in front of each of its messages.
const numberLen = 16

// askPipe is a connection each of whose reads asks the peer: what was written since the last one goes there, and the
// answer is what is read.
type askPipe struct {
	pipeRest
	ctx    context.Context
	ask    Ask
	number []byte
	out    []byte
	in     []byte
}

func (p *askPipe) Write(b []byte) (int, error) {
	p.out = append(p.out, b...)
	return len(b), nil
}

func (p *askPipe) Read(b []byte) (int, error) {
	for turns := 0; len(p.in) == 0; turns++ {
		if turns > 1 {
			return 0, io.ErrUnexpectedEOF // it has nothing to say
		}
		answer, err := p.ask(p.ctx, append(p.number[:numberLen:numberLen], p.out...))
		if err != nil {
			return 0, err
		}
		p.in, p.out = answer, nil
	}
	n := copy(b, p.in)
	p.in = p.in[n:]
	return n, nil
}

// Bounds on what strangers may have a node keep: anybody in the overlay may begin a handshake.
const (
	maxShakes  = 64
	maxMessage = 64 << 10 // bytes
)

// Desk answers the handshakes that others begin. Its zero value is not usable; see NewDesk.
type Desk struct {
	id    func() *pki.Identity
	taken func(*Receiver)

	ctx   context.Context // ends with Close
	end   context.CancelFunc
	tasks sync.WaitGroup

	mu     sync.Mutex // guards the following
	shakes map[[numberLen]byte]*answerPipe
}

// NewDesk answers with the identity of the moment; taken gets each key that was agreed on, before the peer can use it.
func NewDesk(id func() *pki.Identity, taken func(*Receiver)) *Desk {
	d := &Desk{id: id, taken: taken, shakes: map[[numberLen]byte]*answerPipe{}}
	d.ctx, d.end = context.WithCancel(context.Background())
	return d
}

// Close gives up what is under way and waits until it has ended.
func (d *Desk) Close() {
	d.mu.Lock()
	d.end()
	d.mu.Unlock()
	d.tasks.Wait()
}

// Answer takes one message of a handshake and returns what the peer is to hear.
func (d *Desk) Answer(ctx context.Context, message []byte) ([]byte, error) {
	if len(message) < numberLen || len(message) > maxMessage {
		return nil, fmt.Errorf("cannot use a message of %d bytes", len(message))
	}
	pipe, err := d.pipe([numberLen]byte(message[:numberLen]))
	if err != nil {
		return nil, err
	}
	select {
	case pipe.in <- message[numberLen:]:
	case <-pipe.ended:
		return nil, pipe.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case out := <-pipe.out:
		return out, nil
	case <-pipe.ended:
		if pipe.err != nil {
			return nil, pipe.err
		}
		return pipe.rest, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pipe finds the handshake, or begins it.
func (d *Desk) pipe(number [numberLen]byte) (*answerPipe, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p, ok := d.shakes[number]; ok {
		return p, nil
	}
	if len(d.shakes) >= maxShakes {
		return nil, errors.New("cannot answer: too many handshakes are under way; try again")
	}
	if d.ctx.Err() != nil {
		return nil, d.ctx.Err()
	}
	ctx, cancel := context.WithTimeout(d.ctx, ShakeTime)
	p := &answerPipe{ctx: ctx, in: make(chan []byte), out: make(chan []byte), ended: make(chan struct{})}
	d.shakes[number] = p
	d.tasks.Go(func() {
		defer cancel()
		p.err = d.shake(ctx, p)
		p.rest = p.wrote
		close(p.ended)
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.shakes, number)
	})
	return p, nil
}

// shake is the answering end of a handshake.
func (d *Desk) shake(ctx context.Context, p *answerPipe) error {
	id := d.id()
	conn := tls.Server(p, id.TLS("", alpn))
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	cs := conn.ConnectionState()
	r := &Receiver{Born: time.Now()}
	var raw [4]byte
	rand.Read(raw[:])
	r.ID = ID(binary.BigEndian.Uint32(raw[:]))
	var err error
	if r.Peer, err = peerOf(cs); err != nil {
		return err
	}
	if r.key, err = newKey(cs, r.ID); err != nil {
		return err
	}
	d.taken(r)
	_, err = conn.Write(raw[:])
	return err
}

// answerPipe is a connection whose reads wait for the peer's next message; what was written since the last one is the answer
// to that.
type answerPipe struct {
	pipeRest
	ctx   context.Context
	in    chan []byte
	out   chan []byte
	asked bool // a message waits for its answer
	wrote []byte
	has   []byte

	ended chan struct{} // closed when the handshake is over; then
	err   error         // says how, and
	rest  []byte        // is the last answer
}

func (p *answerPipe) Write(b []byte) (int, error) {
	p.wrote = append(p.wrote, b...)
	return len(b), nil
}

func (p *answerPipe) Read(b []byte) (int, error) {
	for len(p.has) == 0 {
		if p.asked {
			p.asked = false
			select {
			case p.out <- p.wrote:
				p.wrote = nil
			case <-p.ctx.Done():
				return 0, os.ErrDeadlineExceeded
			}
		}
		select {
		case p.has = <-p.in:
			p.asked = true
		case <-p.ctx.Done():
			return 0, os.ErrDeadlineExceeded
		}
	}
	n := copy(b, p.has)
	p.has = p.has[n:]
	return n, nil
}

// pipeRest is what a connection that is none has to have.
type pipeRest struct{}

func (pipeRest) Close() error                     { return nil }
func (pipeRest) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (pipeRest) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (pipeRest) SetDeadline(time.Time) error      { return nil }
func (pipeRest) SetReadDeadline(time.Time) error  { return nil }
func (pipeRest) SetWriteDeadline(time.Time) error { return nil }
