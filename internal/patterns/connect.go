package patterns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// The pace of finding each other.
const (
	retryEvery  = 100 * time.Millisecond // between attempts to reach a peer that is not up: unnoticed by a person
	attemptTime = 3 * time.Second        // for one attempt: over three lost packets of a handshake on a slow path
)

// meeting is the state of connecting to all neighbours. Its goroutines only report on joined.
type meeting struct {
	cfg    *config
	joined chan joined
}

type joined struct {
	rank int
	conn net.Conn
}

// connect returns one connection for each neighbour. The lower rank dials. Both sides check that they
// belong to the same run, and neither counts on a connection before the dialler has confirmed it, so an
// attempt given up half-way leaves no dead connection behind.
func connect(ctx context.Context, cfg *config, neighbours []int) (map[int]net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.start, errNotFound)
	defer cancel()
	own := sockets{own: cfg.peers[cfg.rank], control: cfg.control}
	listener, err := own.listen(ctx)
	if err != nil {
		return nil, err
	}
	m := &meeting{cfg: cfg, joined: make(chan joined)}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		<-ctx.Done()
		return listener.Close()
	})
	group.Go(func() error { return m.accept(ctx, group, listener, neighbours) })
	for _, n := range neighbours {
		if n > cfg.rank {
			group.Go(func() error { return m.reach(ctx, own, n) })
		}
	}
	conns := map[int]net.Conn{}
	for len(conns) < len(neighbours) && ctx.Err() == nil {
		select {
		case j := <-m.joined:
			if _, twice := conns[j.rank]; twice {
				j.conn.Close()
				continue
			}
			conns[j.rank] = j.conn
		case <-ctx.Done():
		}
	}
	cause := context.Cause(ctx)
	cancel()
	err = group.Wait()
	if len(conns) == len(neighbours) {
		return conns, nil
	}
	missing := slices.DeleteFunc(slices.Clone(neighbours), func(n int) bool { return conns[n] != nil })
	for _, c := range conns {
		c.Close()
	}
	if err != nil {
		return nil, err
	}
	if errors.Is(cause, errNotFound) {
		return nil, fmt.Errorf("ranks %v did not answer within %v: check that they run and that their --peers are the same", missing, cfg.start)
	}
	return nil, cause
}

// errNotFound is the cause of giving up on peers.
var errNotFound = errors.New("peers not found in time")

// accept takes connections from lower ranks until ctx ends.
func (m *meeting) accept(ctx context.Context, group *errgroup.Group, l net.Listener, neighbours []int) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return nil // closed at the end of connect
		}
		group.Go(func() error { return m.welcome(ctx, conn, neighbours) })
	}
}

// welcome is the accepting side's half of the greeting. Strangers are turned away without a word; a rank
// with other options is an error.
func (m *meeting) welcome(ctx context.Context, conn net.Conn, neighbours []int) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(expired()) })
	defer stop()
	hello, err := readGreeting(conn)
	if err != nil || hello.Kind != kindHello {
		conn.Close()
		return nil
	}
	from := int(hello.From)
	answer := m.greeting(kindHello, from)
	if hello.Iteration != m.cfg.fingerprint() || int(hello.To) != m.cfg.rank || from >= m.cfg.rank || !slices.Contains(neighbours, from) {
		answer.Kind = kindRefuse
		_ = writeGreeting(conn, answer)
		conn.Close()
		return otherOptions(from)
	}
	if err := writeGreeting(conn, answer); err != nil {
		conn.Close()
		return nil
	}
	if confirm, err := readGreeting(conn); err != nil || confirm.Kind != kindGo || !stop() {
		conn.Close()
		return nil
	}
	return m.hand(ctx, from, conn)
}

// reach dials a higher rank until it answers.
func (m *meeting) reach(ctx context.Context, own sockets, rank int) error {
	for ctx.Err() == nil {
		conn, err := m.attempt(ctx, own, rank)
		if err == nil {
			return m.hand(ctx, rank, conn)
		}
		if errors.Is(err, errRefused) {
			return otherOptions(rank)
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
		}
	}
	return nil
}

var errRefused = errors.New("refused")

// attempt is the dialling side's half of the greeting.
func (m *meeting) attempt(ctx context.Context, own sockets, rank int) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	conn, err := own.dial(ctx, m.cfg.peers[rank])
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(expired()) })
	defer stop()
	if err = writeGreeting(conn, m.greeting(kindHello, rank)); err == nil {
		var answer header
		answer, err = readGreeting(conn)
		switch {
		case err != nil:
		case answer.Kind == kindRefuse:
			err = errRefused
		case answer.Kind != kindHello || int(answer.From) != rank:
			err = errors.New("not the rank that was dialled")
		case !stop(): // nothing may touch the deadline once the other side counts on us
			err = context.Cause(ctx)
		default:
			err = writeGreeting(conn, m.greeting(kindGo, rank))
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// hand gives a greeted connection to connect.
func (m *meeting) hand(ctx context.Context, rank int, conn net.Conn) error {
	if t, ok := conn.(*net.TCPConn); ok {
		if err := t.SetNoDelay(m.cfg.nodelay); err != nil {
			return fmt.Errorf("cannot set TCP_NODELAY: %w", err)
		}
	}
	select {
	case m.joined <- joined{rank, conn}:
	case <-ctx.Done():
		conn.Close()
	}
	return nil
}

func (m *meeting) greeting(k kind, to int) header {
	return header{Kind: k, From: uint16(m.cfg.rank), To: uint16(to), Iteration: m.cfg.fingerprint(), Until: unknown}
}

func otherOptions(rank int) error {
	return fmt.Errorf("rank %d runs with other options: all ranks need the same pattern, peers, bytes, seed, and end", rank)
}

// expired is a deadline that makes blocked reads and writes return at once.
func expired() time.Time { return time.Unix(1, 0) }

func readGreeting(r io.Reader) (header, error) {
	var b [headerLen]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return header{}, err
	}
	return parseHeader(b[:])
}

func writeGreeting(w io.Writer, h header) error {
	var b [headerLen]byte
	h.put(b[:])
	_, err := w.Write(b[:])
	return err
}
