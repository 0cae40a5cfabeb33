// Package link carries frames and messages between two nodes, secretly and from nobody else: QUIC for the handshake and the
// control stream, sealed datagrams of our own beside it, or, over TCP, TLS and sealed blocks of our own.
//
// It does not decide where a frame goes, when to open a link, or which of several links to a peer to use.
package link

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

// Carrier is what a link travels on.
type Carrier uint8

const (
	Auto Carrier = iota // when dialling: udp, or tcp when udp gets no answer
	UDP                 // sealed datagrams beside QUIC
	TCP                 // TLS over TCP
)

func (c Carrier) String() string {
	switch c {
	case Auto:
		return "auto"
	case UDP:
		return "udp"
	case TCP:
		return "tcp"
	}
	return fmt.Sprintf("carrier %d", uint8(c))
}

// Link is one authenticated session with a peer over one carrier. Several to one peer may live at a time; each receives
// until it is closed.
type Link struct {
	// Set before the link is seen by anybody, never changed.
	e       *Endpoint
	peer    string
	role    pki.Role
	key     pki.Key
	kind    Kind
	dialled bool
	carrier Carrier
	cipher  string
	why     string
	since   time.Time
	id      uint64
	mine    LinkID // names the session in datagrams to us
	theirs  LinkID // names it in datagrams to the peer
	control *control
	stream  *frameStream // nil over udp
	account *account     // of the peer

	remote atomic.Pointer[netip.AddrPort] // where replies go: the peer's last authenticated address
	size   atomic.Int32                   // bytes of the largest datagram the path takes
	owner  atomic.Pointer[ownerBox]       // nil until Start
	mute   atomic.Bool                    // the link is dead: nothing is sent any more
	shut   atomic.Bool                    // this end has closed: nothing is delivered any more
	still  atomic.Bool                    // it is forgotten: its account changes no more

	tx    atomic.Pointer[epochKey] // stored with pulse.mu held only
	lanes []txLane                 // each its worker's
	house houseOut
	pulse pulse
	rx    inside
	peers told

	received    atomic.Uint64 // frames
	datagramsIn atomic.Uint64
	duplicates  atomic.Uint64
	authFailed  atomic.Uint64
	drops       [dropReasons]atomic.Uint64
	cuts        atomic.Uint64 // frames more than handed in: super-frames cut finer than their marks
	heard       atomic.Int64  // of the last authenticated datagram, in ns since the link began

	answers    chan probe    // to whoever proves
	opened     atomic.Bool   // set-up is over
	unanswered atomic.Uint32 // probes of the upkeep since the last answer
	proving    sync.Mutex    // one prover at a time
	spread     spread        // over extra source ports

	left   sync.Once // it is out of the endpoint's tables
	ending sync.Once
	done   chan struct{} // closed by end
	err    error         // why; set before done is closed
}

// ownerBox lets an owner of any type sit behind an atomic pointer.
type ownerBox struct{ v any }

// txLane is one worker's sending half. counter is the worker's own; the rest others may read.
type txLane struct {
	counter   uint64
	frames    atomic.Uint64
	datagrams atomic.Uint64
	via       atomic.Pointer[extraPort] // where they leave; nil: by the lane's own socket
	_         [32]byte                  // a cache line to itself
}

// told is what the peer's heartbeats said, for Stats and for our own heartbeats.
type told struct {
	sent    atomic.Int64  // newest heartbeat's sent, the peer's clock, ns
	at      atomic.Int64  // when it came, ns since the link began
	silence atomic.Int64  // how long the peer had not heard us, ns
	frames  atomic.Uint64 // it has sent
	lost    atomic.Uint64 // of them, when that was said
	final   atomic.Bool   // it said bye: frames is its last word
	epoch   atomic.Uint64 // newest of ours it has heard
	rtt     atomic.Int64  // smoothed round trip, ns
	inEpoch atomic.Uint64 // newest of its epochs that we heard
	broken  atomic.Uint64 // frames of which a piece was missing
}

// inside is the receiving half over udp. Several workers receive at once where the peer sends from several ports.
type inside struct {
	keys   atomic.Pointer[inbound] // replaced whole, under epochs, when the peer moves on
	epochs sync.Mutex
	lanes  [rxLanes]rxLane
	joiner joiner
	move   move
	spread atomic.Bool // the peer has proved an extra port: what its workers send may come from anywhere
}

// rxLane is what one lane of the peer's has sent. A worker holds mu while it opens a run of the lane's datagrams; nearly
// always it is the same worker, since the kernel steers a peer's address to one socket.
type rxLane struct {
	mu     sync.Mutex
	window *replay // made when the lane is first heard, authenticated
}

// Peer is the other node's name, as its certificate has it.
func (l *Link) Peer() string { return l.peer }

// Role is the other node's role, as its certificate has it.
func (l *Link) Role() pki.Role { return l.role }

// Key is the fingerprint of the other node's key, as it proved in the handshake.
func (l *Link) Key() pki.Key { return l.key }

// Kind is what the dialler said the link is for.
func (l *Link) Kind() Kind { return l.kind }

// Dialled says whether this end opened the link.
func (l *Link) Dialled() bool { return l.dialled }

// Carrier is UDP or TCP.
func (l *Link) Carrier() Carrier { return l.carrier }

// Cipher says what seals its frames.
func (l *Link) Cipher() string { return l.cipher }

// CarrierWhy says for what reason, for people.
func (l *Link) CarrierWhy() string { return l.why }

// ID names the session; it is the same at both ends.
func (l *Link) ID() uint64 { return l.id }

// Since is when the session began.
func (l *Link) Since() time.Time { return l.since }

// Remote is the peer's address: the last one it was heard from.
func (l *Link) Remote() netip.AddrPort { return *l.remote.Load() }

// MTU is the largest datagram of the path in bytes; 0 over tcp.
func (l *Link) MTU() int { return int(l.size.Load()) }

// Start names the owner and lets frames in. Before it, those that arrive are dropped and counted.
func (l *Link) Start(owner any) { l.owner.Store(&ownerBox{owner}) }

// Owner is what Start was given, nil before.
func (l *Link) Owner() any {
	if b := l.owner.Load(); b != nil {
		return b.v
	}
	return nil
}

// Done is closed when the link is dead, for whatever reason.
func (l *Link) Done() <-chan struct{} { return l.done }

// Err says why the link is dead; nil while it lives.
func (l *Link) Err() error {
	select {
	case <-l.done:
		return l.err
	default:
		return nil
	}
}

// Settled says that the link is dead and nothing of it can arrive any more, so that Stats changes no more.
func (l *Link) Settled() bool { return l.still.Load() }

// ErrClosed is what the error of a link that one of its ends closed wraps.
var ErrClosed = errors.New("link closed")

// closedError says which end closed a link, and its reason.
type closedError struct {
	byPeer bool
	reason string
}

func (e *closedError) Error() string {
	who := "this node"
	if e.byPeer {
		who = "the peer"
	}
	return fmt.Sprintf("%v by %s: %s", ErrClosed, who, e.reason)
}

func (e *closedError) Unwrap() error { return ErrClosed }

// Close ends the link gracefully: the peer is told the reason and how many frames were sent. It does not wait.
func (l *Link) Close(reason string) { l.end(&closedError{reason: reason}, false) }

// end makes the link dead, once; by the peer's bye, stragglers may follow. Its heartbeat goroutine clears up.
func (l *Link) end(err error, byPeer bool) {
	l.ending.Do(func() {
		l.err = err
		l.mute.Store(true)
		if !byPeer {
			l.shut.Store(true)
		}
		close(l.done)
	})
}

// clock is the time since the link began.
func (l *Link) clock(now time.Time) time.Duration { return now.Sub(l.since) }

// Send gives frames to the link. Only the worker that owns lane may call it; it never waits, and counts what it drops. The
// packets are the caller's again on return.
func (l *Link) Send(lane int, pkts []ether.Packet) {
	out := l.e.lanes[lane]
	if l.mute.Load() {
		l.drop(DropClosed, framesOf(pkts))
		return
	}
	if l.stream != nil {
		out.sendStream(l, pkts)
		return
	}
	out.send(l, pkts)
}

func framesOf(pkts []ether.Packet) (n uint64) {
	for i := range pkts {
		n += uint64(pkts[i].Frames())
	}
	return n
}

func (l *Link) drop(why Drop, frames uint64) {
	if frames > 0 {
		l.drops[why].Add(frames)
	}
}

// session derives what both ends need from the handshake they share.
type session struct {
	out, in []byte // secrets of the two directions
	ticket  []byte // proves that another connection belongs to this session
}

// Exporter labels (RFC 8446 §7.5). The context binds them to this exchange of link ids and this cipher.
const (
	labelDialler  = "EXPORTER-vnet/1 dialler to acceptor"
	labelAcceptor = "EXPORTER-vnet/1 acceptor to dialler"
	labelTicket   = "EXPORTER-vnet/1 frames ticket"
)

func newSession(cs *tls.ConnectionState, dialled bool, dialler, acceptor LinkID, c Cipher) (session, error) {
	context := append(welcome{link: dialler, cipher: c}.encode(), welcome{link: acceptor, cipher: c}.encode()...)
	var keys [3][]byte
	for i, label := range []string{labelDialler, labelAcceptor, labelTicket} {
		k, err := cs.ExportKeyingMaterial(label, context, secretLen)
		if err != nil {
			return session{}, fmt.Errorf("cannot export keys from the handshake: %w", err)
		}
		keys[i] = k
	}
	if dialled {
		return session{out: keys[0], in: keys[1], ticket: keys[2]}, nil
	}
	return session{out: keys[1], in: keys[0], ticket: keys[2]}, nil
}
