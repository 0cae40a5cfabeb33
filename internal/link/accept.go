package link

import (
	"context"
	"crypto/hmac"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

// awaitedFrames is a tcp session whose control connection stands and whose frames connection has not come.
type awaitedFrames struct {
	peer   string
	ticket []byte
	conn   chan *tls.Conn // room for one
}

func (e *Endpoint) acceptQUIC() {
	for {
		conn, err := e.listener.Accept(e.ctx)
		if err != nil {
			return // the endpoint is stopping
		}
		if leave, ok := conn.Context().Value(knockKey{}).(func()); ok {
			leave() // its certificate is good: it is no stranger any more
		}
		shut := func(reason string) { _ = conn.CloseWithError(quicClosed, reason) }
		e.spawn(func() {
			ctx, cancel := context.WithTimeout(e.ctx, setupTimeout)
			defer cancel()
			defer context.AfterFunc(ctx, func() { shut("set-up took too long") })()
			cs := conn.ConnectionState().TLS
			end, err := e.begin(&cs)
			if err != nil {
				shut(err.Error())
				return
			}
			defer end()
			stream, err := conn.AcceptStream(ctx)
			if err != nil {
				shut("no control stream")
				return
			}
			if err := e.answerUDP(ctx, stream, &cs, addrPort(conn.RemoteAddr()), shut); err != nil {
				e.cfg.Log.Debug("link not opened", "from", conn.RemoteAddr(), "error", err)
			}
		})
	}
}

// knockKey is where the context of a QUIC connection keeps what ends its time as a stranger.
type knockKey struct{}

// knocked is asked before a QUIC handshake is begun.
func (e *Endpoint) knocked(ctx context.Context, who *quic.ClientInfo) (context.Context, error) {
	leave, err := e.usher.knock(time.Now(), "quic", addrPort(who.RemoteAddr).Addr())
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, leave)
	return context.WithValue(ctx, knockKey{}, leave), nil
}

// begin takes a peer in behind its handshake; end is called when its set-up is over.
func (e *Endpoint) begin(cs *tls.ConnectionState) (end func(), err error) {
	peer, _, err := pki.PeerOf(*cs)
	if err != nil {
		return nil, err
	}
	_, end, err = e.usher.begin(peer)
	return end, err
}

func addrPort(a net.Addr) netip.AddrPort {
	var at netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		at = a.AddrPort()
	case *net.TCPAddr:
		at = a.AddrPort()
	default:
		at, _ = netip.ParseAddrPort(a.String()) // a twin's address: text is all it promises
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// answerUDP is the acceptor's half of the exchange in setup.go.
func (e *Endpoint) answerUDP(ctx context.Context, stream io.ReadWriter, cs *tls.ConnectionState, from netip.AddrPort, shut func(string)) error {
	b, err := e.welcome(stream, cs)
	if err != nil {
		e.refuse(stream, err, shut)
		return err
	}
	b.remote, b.control = from, newControl(stream, shut)
	l, err := e.newLink(b)
	if err == nil {
		err = e.admit(l) // the dialler's probes may come as soon as it is welcome
	}
	if err != nil {
		e.refuse(stream, err, shut)
		return err
	}
	return e.greet(stream, l, b)
}

// greet sends the welcome, waits for the dialler to want the link, and lets the owner decide.
func (e *Endpoint) greet(stream io.ReadWriter, l *Link, b birth) error {
	err := writeMessage(stream, msgWelcome, welcome{link: b.mine, cipher: b.cipher}.encode())
	if err == nil {
		err = e.settle(stream, l)
	}
	if err != nil {
		l.end(err, false)
	}
	return err
}

// settle is the end of an acceptor's set-up, over either carrier.
func (e *Endpoint) settle(stream io.ReadWriter, l *Link) error {
	body, err := expect(stream, msgReady)
	if err != nil {
		return err
	}
	m, err := parseReady(body)
	if err != nil || (m.size == 0) != (l.stream != nil) {
		return errSetup
	}
	l.size.Store(int32(m.size))
	if err := e.accept(l); err != nil {
		e.refuse(stream, err, func(string) {})
		return &closedError{reason: err.Error()}
	}
	if err := writeMessage(stream, msgOpened, nil); err != nil {
		return err
	}
	return l.control.start(l)
}

func (e *Endpoint) accept(l *Link) error {
	if e.cfg.Accept == nil {
		return errors.New("it takes no links")
	}
	return e.cfg.Accept(l)
}

// refuse tells the dialler why: over tcp in a message, over QUIC in the connection's last words.
func (e *Endpoint) refuse(stream io.Writer, reason error, shut func(string)) {
	text := reason.Error()
	text = text[:min(len(text), reasonMax)]
	_ = writeMessage(stream, msgRefused, []byte(text)) // a peer that cannot be told sees the connection close
	shut(text)
}

// welcome reads the dialler's hello and agrees, or not.
func (e *Endpoint) welcome(stream io.ReadWriter, cs *tls.ConnectionState) (birth, error) {
	peer, role, err := pki.PeerOf(*cs)
	if err != nil {
		return birth{}, err
	}
	key, err := pki.KeyOf(*cs)
	if err != nil {
		return birth{}, err
	}
	body, err := expect(stream, msgHello)
	if err != nil {
		return birth{}, err
	}
	m, err := parseHello(body)
	if err != nil {
		return birth{}, err
	}
	if own := e.identity.Load().Overlay; m.overlay != own {
		return birth{}, fmt.Errorf("this is overlay %q, not %q", own, m.overlay)
	}
	chosen, err := e.wish(peer).choose(m.ciphers)
	if err != nil {
		return birth{}, err
	}
	mine := e.newLinkID()
	s, err := newSession(cs, false, m.link, mine, chosen)
	return birth{
		peer: peer, role: role, key: key, kind: m.kind, why: "the peer dialled it", mine: mine, theirs: m.link, cipher: chosen, session: s,
	}, err
}

func (e *Endpoint) acceptTCP() {
	for {
		raw, err := e.tcp.Accept()
		if err != nil {
			if e.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			e.cfg.Log.Warn("cannot accept a tcp connection", "error", err)
			select {
			case <-time.After(byeWait): // out of descriptors, most likely
			case <-e.ctx.Done():
			}
			continue
		}
		leave, err := e.usher.knock(time.Now(), "tcp", addrPort(raw.RemoteAddr()).Addr())
		if err != nil {
			raw.Close()
			continue
		}
		if !e.spawn(func() { e.answerTCP(raw, leave) }) {
			leave()
			raw.Close()
		}
	}
}

// answerTCP shakes hands and hands the connection to whom its protocol names. Who has shown a certificate is no stranger any
// more: known is called then, or when the connection is over.
func (e *Endpoint) answerTCP(raw net.Conn, known func()) {
	defer known()
	ctx, cancel := context.WithTimeout(e.ctx, setupTimeout)
	defer cancel()
	id := e.identity.Load()
	protocols := append([]string{alpnControl}, e.frames...)
	cfg := id.TLS("", protocols...)
	if e.cfg.Join != nil {
		cfg = id.ServerTLS(protocols...)
	}
	conn := tls.Server(&tlsConn{Conn: raw, careful: true}, cfg)
	err := conn.HandshakeContext(ctx)
	cs := conn.ConnectionState()
	if cs.NegotiatedProtocol != alpnSealed {
		tlsAlone(conn)
	}
	switch {
	case err != nil:
	case cs.NegotiatedProtocol == pki.ALPNJoin:
		defer context.AfterFunc(e.ctx, func() { abort(conn) })()
		e.cfg.Join(conn)
		return
	case slices.Contains(protocols, cs.NegotiatedProtocol):
		known()
		err = e.answerPeer(ctx, conn, &cs)
	default:
		known()
		if err = errSetup; e.cfg.Clients != nil && pki.HTTP(cs) {
			e.cfg.Clients(conn)
			return
		}
	}
	if err != nil {
		abort(conn)
		e.cfg.Log.Debug("tcp connection not taken", "from", raw.RemoteAddr(), "error", err)
	}
}

// answerPeer answers a node, which has shown its certificate.
func (e *Endpoint) answerPeer(ctx context.Context, conn *tls.Conn, cs *tls.ConnectionState) error {
	end, err := e.begin(cs)
	if err != nil {
		return err
	}
	defer end()
	if cs.NegotiatedProtocol != alpnControl {
		return e.answerFrames(ctx, conn)
	}
	return e.answerControl(ctx, conn)
}

// answerControl is the acceptor's half of a tcp set-up.
func (e *Endpoint) answerControl(ctx context.Context, conn *tls.Conn) error {
	defer context.AfterFunc(ctx, func() { abort(conn) })()
	cs := conn.ConnectionState()
	b, err := e.welcome(conn, &cs)
	if err != nil {
		e.refuse(conn, err, func(string) { abort(conn) })
		return nil
	}
	w := &awaitedFrames{peer: b.peer, ticket: b.session.ticket, conn: make(chan *tls.Conn, 1)}
	e.await(b.mine, w)
	defer e.await(b.mine, nil)
	if err := writeMessage(conn, msgWelcome, welcome{link: b.mine, cipher: b.cipher}.encode()); err != nil {
		return err
	}
	var frames *tls.Conn
	select {
	case frames = <-w.conn:
	case <-ctx.Done():
		return ctx.Err()
	}
	b.remote, b.control, b.stream = addrPort(conn.RemoteAddr()), newControl(conn, func(string) { abort(conn) }), framesOver(frames)
	l, err := e.newLink(b)
	if err == nil {
		err = e.admit(l)
	}
	if err != nil {
		abort(frames)
		e.refuse(conn, err, func(string) { abort(conn) })
		return nil
	}
	if err := e.settle(conn, l); err != nil {
		l.end(err, false) // which closes both connections
	}
	return nil
}

// await enters a session that waits for its frames connection; nil takes it out.
func (e *Endpoint) await(id LinkID, w *awaitedFrames) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w != nil {
		e.awaited[id] = w
		return
	}
	if w := e.awaited[id]; w != nil {
		delete(e.awaited, id)
		select {
		case conn := <-w.conn: // it came too late
			abort(conn)
		default:
		}
	}
}

// answerFrames brings a frames connection to the session it names.
func (e *Endpoint) answerFrames(ctx context.Context, conn *tls.Conn) error {
	defer context.AfterFunc(ctx, func() { abort(conn) })()
	body, err := expect(conn, msgJoin)
	if err != nil {
		return err
	}
	m, err := parseJoin(body)
	if err != nil {
		return err
	}
	peer, _, err := pki.PeerOf(conn.ConnectionState())
	if err != nil {
		return err
	}
	e.mu.Lock()
	w := e.awaited[m.link]
	e.mu.Unlock()
	if w == nil || w.peer != peer {
		return errors.New("cannot take a frames connection: no session of this peer waits for it")
	}
	want, err := ticketMAC(w.ticket, conn.ConnectionState())
	if err != nil {
		return err
	}
	if !hmac.Equal(want[:], m.mac[:]) {
		return errors.New("cannot take a frames connection: its ticket is wrong")
	}
	if err := writeMessage(conn, msgOpened, nil); err != nil {
		return err
	}
	return e.bring(m.link, w, conn)
}

// bring hands a proved frames connection over, if its session still waits.
func (e *Endpoint) bring(id LinkID, w *awaitedFrames, conn *tls.Conn) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.awaited[id] == w {
		select {
		case w.conn <- conn:
			return nil
		default:
		}
	}
	return errors.New("cannot take a frames connection: the session has one, or has ended")
}
