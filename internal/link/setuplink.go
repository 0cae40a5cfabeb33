package link

import (
	"crypto/tls"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

// birth is all that is known of a link when its two ends have agreed on it.
type birth struct {
	peer         string
	role         pki.Role
	key          pki.Key
	kind         Kind
	dialled      bool
	why          string
	mine, theirs LinkID
	remote       netip.AddrPort
	cipher       Cipher
	session      session
	control      *control
	stream       *frameStream // nil over udp
}

// newLink makes the link; admit brings it to life.
func (e *Endpoint) newLink(b birth) (*Link, error) {
	l := &Link{
		e: e, peer: b.peer, role: b.role, key: b.key, kind: b.kind, dialled: b.dialled, carrier: UDP, why: b.why, since: time.Now(),
		mine: b.mine, theirs: b.theirs, control: b.control, stream: b.stream, account: e.usher.account(b.peer),
		lanes: make([]txLane, e.cfg.Lanes), answers: make(chan probe, 16), done: make(chan struct{}),
	}
	dialler, acceptor := b.theirs, b.mine
	if b.dialled {
		dialler, acceptor = b.mine, b.theirs
	}
	l.id = uint64(dialler)<<32 | uint64(acceptor)
	l.remote.Store(&b.remote)
	switch {
	case b.stream == nil:
		l.size.Store(sizeSmallest) // until more is proved
		if e.cfg.ExtraPorts != nil {
			l.SetExtraPorts(e.cfg.ExtraPorts(b.peer))
		}
	case b.stream.sealed:
		if l.carrier = TCP; b.cipher == Trusted {
			b.cipher = AES128 // over tcp frames are sealed in any case
		}
	default:
		l.carrier, l.cipher = TCP, "TLS 1.3"
		return l, nil
	}
	l.cipher = b.cipher.String()
	out, err := firstKey(b.cipher, b.session.out)
	if err != nil {
		return nil, err
	}
	in, err := firstKey(b.cipher, b.session.in)
	if err != nil {
		return nil, err
	}
	l.tx.Store(out)
	keys, err := newInbound(in)
	l.rx.keys.Store(&keys)
	return l, err
}

// quicServerTLS takes the identity of the moment for each handshake.
func (e *Endpoint) quicServerTLS() *tls.Config {
	cfg := e.identity.Load().TLS("", alpnQUIC)
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return e.identity.Load().TLS("", alpnQUIC), nil
	}
	return cfg
}

// controlWindow in bytes is what a peer may send on the control stream before any of it is read: 80 Mbit/s over 100 ms.
const controlWindow = 1 << 20

func quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout: 5 * time.Second,
		// The link's own heartbeats judge sooner; these only keep a quiet control stream, and address translators, alive.
		MaxIdleTimeout: 30 * time.Second, KeepAlivePeriod: 10 * time.Second,
		MaxIncomingStreams: 1, MaxIncomingUniStreams: -1, // the control stream is the only one
		InitialPacketSize: sizeSmallest, DisablePathMTUDiscovery: true, // control is small, and every path takes this size
		InitialStreamReceiveWindow: 256 << 10, MaxStreamReceiveWindow: controlWindow,
		InitialConnectionReceiveWindow: 256 << 10, MaxConnectionReceiveWindow: controlWindow,
	}
}
