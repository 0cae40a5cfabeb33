package link

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

// udpPatience is how long udp may stay without an answer before tcp is tried.
const udpPatience = 3 * time.Second

// Target is a peer to dial.
type Target struct {
	Peer    string           // node name its certificate must have
	Addrs   []netip.AddrPort // tried all at once; the first that proves itself is taken
	Carrier Carrier
	Kind    Kind
	Owner   any // not nil: the link is started for it before the peer can send

	// Trouble is told why udp failed, when tcp is tried next. nil does nothing.
	Trouble func(error)
}

// refusedError is the peer's own no. Trying another carrier would not change it.
type refusedError struct{ reason string }

func (e *refusedError) Error() string { return "the peer refused the link: " + e.reason }

// Dial opens a link. Auto tries udp, and tcp when udp gets no answer in 3 s.
func (e *Endpoint) Dial(ctx context.Context, t Target) (*Link, error) {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	select {
	case <-e.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer context.AfterFunc(e.ctx, cancel)()
	if len(t.Addrs) == 0 {
		return nil, fmt.Errorf("cannot dial %s: no address is known", t.Peer)
	}
	l, err := e.dial(ctx, t)
	if err != nil {
		if e.ctx.Err() != nil {
			err = errStopping
		}
		return nil, fmt.Errorf("cannot link to %s: %w", t.Peer, err)
	}
	return l, nil
}

func (e *Endpoint) dial(ctx context.Context, t Target) (*Link, error) {
	switch t.Carrier {
	case UDP:
		return e.race(ctx, t, "udp was asked for", e.dialUDP)
	case TCP:
		return e.race(ctx, t, "tcp was asked for", e.dialTCP)
	}
	patient, cancel := context.WithTimeout(ctx, udpPatience)
	l, err := e.race(patient, t, "udp answered", e.dialUDP)
	cancel()
	if err == nil || final(err) || ctx.Err() != nil {
		return l, err
	}
	why := "udp failed: " + err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		why = fmt.Sprintf("udp got no answer in %v", udpPatience)
	}
	if t.Trouble != nil {
		t.Trouble(fmt.Errorf("over udp: %w", err))
	}
	l, tcpErr := e.race(ctx, t, why, e.dialTCP)
	if tcpErr != nil {
		return nil, errors.Join(fmt.Errorf("over udp: %w", err), fmt.Errorf("over tcp: %w", tcpErr))
	}
	return l, nil
}

// final says that every address answered and the answer was no.
func final(err error) bool {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range many.Unwrap() {
			if !final(one) {
				return false
			}
		}
		return true
	}
	var refused *refusedError
	var transport *quic.TransportError
	return errors.As(err, &refused) || errors.As(err, &transport) &&
		(transport.ErrorCode.IsCryptoError() || transport.ErrorCode == quic.ConnectionRefused) // it is busy; over tcp too
}

// attempt is one try to set up a link. claim is asked before the peer is told that the link is wanted; false means that
// another address was quicker.
type attempt func(ctx context.Context, t Target, to netip.AddrPort, why string, claim func() bool) (*Link, error)

// race makes the attempt at all addresses at once and returns when all have ended.
func (e *Endpoint) race(ctx context.Context, t Target, why string, try attempt) (*Link, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		l   *Link
		err error
	}
	var claimed atomic.Bool
	claim := func() bool { return claimed.CompareAndSwap(false, true) }
	results := make(chan result, len(t.Addrs))
	for _, to := range t.Addrs {
		go func() {
			l, err := try(ctx, t, to, why, claim)
			results <- result{l, err}
		}()
	}
	var winner *Link
	var failures []error
	for range t.Addrs {
		r := <-results
		if r.err == nil {
			winner = r.l
			cancel() // the others
			continue
		}
		failures = append(failures, r.err)
	}
	if winner != nil {
		return winner, nil
	}
	return nil, errors.Join(failures...)
}

var errOutrun = errors.New("another address was quicker")

// dialUDP sets a link up over QUIC.
func (e *Endpoint) dialUDP(ctx context.Context, t Target, to netip.AddrPort, why string, claim func() bool) (*Link, error) {
	conn, err := e.transport.Dial(ctx, net.UDPAddrFromAddrPort(to), e.identity.Load().TLS(t.Peer, alpnQUIC), quicConfig())
	if err != nil {
		return nil, cause(to, false, err)
	}
	shut := func(reason string) { _ = conn.CloseWithError(quicClosed, reason) }
	defer context.AfterFunc(ctx, func() { shut("given up") })()
	l, err := e.callUDP(ctx, t, to, why, conn, shut, claim)
	if err != nil {
		shut("set-up failed")
		if over := ctx.Err(); over != nil {
			err = errors.Join(over, err)
		}
		return nil, cause(to, true, err)
	}
	return l, nil
}

// callUDP is the dialler's half of the exchange in setup.go.
func (e *Endpoint) callUDP(ctx context.Context, t Target, to netip.AddrPort, why string, conn *quic.Conn, shut func(string), claim func() bool) (*Link, error) {
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	cs := conn.ConnectionState().TLS
	b, err := e.introduce(stream, &cs, t)
	if err != nil {
		return nil, err
	}
	b.why, b.remote, b.control = why, to, newControl(stream, shut)
	l, err := e.newLink(b)
	if err != nil {
		return nil, err
	}
	if err := e.admit(l); err != nil {
		return nil, err
	}
	err = e.prepare(ctx, l, stream, t, claim)
	if err != nil {
		l.end(err, false)
		return nil, err
	}
	return l, nil
}

// prepare finds the path's size and has the peer's owner take the link.
func (e *Endpoint) prepare(ctx context.Context, l *Link, stream io.ReadWriter, t Target, claim func() bool) error {
	mtu := 0
	if p, ok := e.cfg.Net.(pathSizer); ok {
		mtu = p.PathMTU(l.Remote())
	}
	sizes := sizesTo(l.Remote(), mtu)
	if len(sizes) == 0 {
		return fmt.Errorf("the path takes %d bytes only: too small for udp", mtu)
	}
	size, err := l.probe(ctx, sizes, false)
	if err != nil {
		return err
	}
	l.size.Store(int32(size))
	return e.conclude(l, stream, t, size, claim)
}

// conclude is the end of a set-up, over either carrier.
func (e *Endpoint) conclude(l *Link, stream io.ReadWriter, t Target, size int, claim func() bool) error {
	if !claim() {
		return errOutrun
	}
	if t.Owner != nil {
		l.Start(t.Owner)
	}
	if err := writeMessage(stream, msgReady, ready{size}.encode()); err != nil {
		return err
	}
	_, err := expect(stream, msgOpened)
	var closed *closedError
	switch {
	case err == nil:
		return l.control.start(l)
	case errors.As(l.Err(), &closed) && closed.byPeer: // its bye was quicker than its refusal
		return &refusedError{closed.reason}
	}
	return err
}

// introduce sends our hello and takes the welcome.
func (e *Endpoint) introduce(stream io.ReadWriter, cs *tls.ConnectionState, t Target) (birth, error) {
	peer, role, err := pki.PeerOf(*cs)
	if err != nil {
		return birth{}, err
	}
	key, err := pki.KeyOf(*cs)
	if err != nil {
		return birth{}, err
	}
	mine := e.newLinkID()
	m := hello{kind: t.Kind, link: mine, ciphers: e.wish(t.Peer).offer(), overlay: e.identity.Load().Overlay}
	if err := writeMessage(stream, msgHello, m.encode()); err != nil {
		return birth{}, err
	}
	body, err := expect(stream, msgWelcome)
	if err != nil {
		return birth{}, err
	}
	w, err := parseWelcome(body)
	if err != nil {
		return birth{}, err
	}
	if !slices.Contains(m.ciphers, w.cipher) {
		return birth{}, fmt.Errorf("cannot take %v: this node offered %v", w.cipher, m.ciphers)
	}
	s, err := newSession(cs, true, mine, w.link, w.cipher)
	return birth{peer: peer, role: role, key: key, kind: t.Kind, dialled: true, mine: mine, theirs: w.link, cipher: w.cipher, session: s}, err
}

// wish is the cipher that this node's user wants with a peer.
func (e *Endpoint) wish(peer string) Cipher {
	if e.cfg.Cipher == nil {
		return AutoCipher
	}
	return e.cfg.Cipher(peer)
}

// expect reads a set-up message of one kind; a refusal is an error with the peer's words.
func expect(stream io.Reader, want uint8) ([]byte, error) {
	kind, body, err := readMessage(stream, setupMax)
	var app *quic.ApplicationError
	switch {
	case errors.As(err, &app) && app.Remote:
		return nil, &refusedError{parseLastWords(app.ErrorMessage).reason}
	case err != nil:
		return nil, err
	case kind == msgRefused:
		return nil, &refusedError{string(body)}
	case kind != want:
		return nil, errSetup
	}
	return body, nil
}

// dialTCP sets a link up over two TLS connections.
func (e *Endpoint) dialTCP(ctx context.Context, t Target, to netip.AddrPort, why string, claim func() bool) (*Link, error) {
	l, err := e.callTCP(ctx, t, to, why, claim)
	if err != nil {
		if over := ctx.Err(); over != nil {
			err = errors.Join(over, err)
		}
		return nil, cause(to, false, err)
	}
	return l, nil
}

func (e *Endpoint) callTCP(ctx context.Context, t Target, to netip.AddrPort, why string, claim func() bool) (l *Link, err error) {
	ctl, err := e.connect(ctx, to, t.Peer, alpnControl)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { abort(ctl) })()
	defer closeUnless(&err, ctl)
	cs := ctl.ConnectionState()
	b, err := e.introduce(ctl, &cs, t)
	if err != nil {
		return nil, err
	}
	frames, err := e.connect(ctx, to, t.Peer, e.frames...)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { abort(frames) })()
	defer closeUnless(&err, frames)
	m := join{link: b.theirs}
	if m.mac, err = ticketMAC(b.session.ticket, frames.ConnectionState()); err != nil {
		return nil, err
	}
	if err := writeMessage(frames, msgJoin, m.encode()); err != nil {
		return nil, err
	}
	if _, err := expect(frames, msgOpened); err != nil {
		return nil, err
	}
	b.why, b.remote, b.control, b.stream = why, to, newControl(ctl, func(string) { abort(ctl) }), framesOver(frames)
	if l, err = e.newLink(b); err != nil {
		return nil, err
	}
	if err := e.admit(l); err != nil {
		return nil, err
	}
	if err := e.conclude(l, ctl, t, 0, claim); err != nil {
		l.end(err, false)
		return nil, err
	}
	return l, nil
}

// closeUnless closes a connection of a set-up that failed.
func closeUnless(err *error, conn net.Conn) {
	if *err != nil {
		abort(conn)
	}
}

func (e *Endpoint) connect(ctx context.Context, to netip.AddrPort, peer string, alpn ...string) (*tls.Conn, error) {
	raw, err := e.cfg.Net.DialTCP(ctx, to)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(&tlsConn{Conn: raw, careful: true}, e.identity.Load().TLS(peer, alpn...))
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	if conn.ConnectionState().NegotiatedProtocol != alpnSealed {
		tlsAlone(conn)
	}
	return conn, nil
}

// ticketMAC proves, over a frames connection, knowledge of its session's ticket; the connection's own exporter makes it
// good for this connection only.
func ticketMAC(ticket []byte, cs tls.ConnectionState) (mac [32]byte, err error) {
	own, err := cs.ExportKeyingMaterial(labelTicket, nil, secretLen)
	if err != nil {
		return mac, fmt.Errorf("cannot export keys from the handshake: %w", err)
	}
	h := hmac.New(sha256.New, ticket)
	h.Write(own)
	h.Sum(mac[:0])
	return mac, nil
}
