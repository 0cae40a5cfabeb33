package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Messages on the control stream: length 4 of what follows, kind 1, body. The first ones set the link up:
//
//	dialler  hello    →
//	         ←  welcome  acceptor     (or refused, with the reason)
//	dialler  probes, over udp
//	dialler  ready    →               the path is proved; carries its size
//	         ←  opened   acceptor     its owner has taken the link
const (
	msgApp     = 0 // the node's own message
	msgHello   = 1
	msgWelcome = 2
	msgReady   = 3
	msgOpened  = 4
	msgRefused = 5
	msgJoin    = 6 // on a tcp frames connection: which session it belongs to

	messageMax = 8 << 20 // bytes of one message: a description of the largest size with its answer; bounds what a peer can make us hold
	setupMax   = 4096    // bytes of one message before the link is open

	wireVersion = 1
)

var errSetup = errors.New("set-up message is malformed")

// Kind is what a link is for.
type Kind uint8

const (
	Star Kind = 1 // between a host and the Proxy, kept for ever
	Fast Kind = 2 // a direct path made for traffic, removed when it has no use
)

func (k Kind) String() string {
	switch k {
	case Star:
		return "star"
	case Fast:
		return "fast"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// hello opens a session. The receiver of a direction chooses its link id, so the dialler names the one it wants to get.
type hello struct {
	kind    Kind
	link    LinkID
	ciphers []Cipher
	overlay string
}

func (m hello) encode() []byte {
	b := []byte{wireVersion, byte(m.kind)}
	b = binary.BigEndian.AppendUint32(b, uint32(m.link))
	b = append(b, byte(len(m.ciphers)))
	for _, s := range m.ciphers {
		b = append(b, byte(s))
	}
	return append(append(b, byte(len(m.overlay))), m.overlay...)
}

func parseHello(b []byte) (hello, error) {
	if len(b) < 7 {
		return hello{}, errSetup
	}
	if b[0] != wireVersion {
		return hello{}, fmt.Errorf("cannot speak wire version %d: this node has %d; run the same release on both", b[0], wireVersion)
	}
	m := hello{kind: Kind(b[1]), link: LinkID(binary.BigEndian.Uint32(b[2:]))}
	n, rest := int(b[6]), b[7:]
	if m.kind != Star && m.kind != Fast || len(rest) < n+1 {
		return hello{}, errSetup
	}
	for _, s := range rest[:n] {
		m.ciphers = append(m.ciphers, Cipher(s))
	}
	rest = rest[n:]
	if len(rest) != 1+int(rest[0]) {
		return hello{}, errSetup
	}
	m.overlay = string(rest[1:])
	return m, nil
}

// welcome accepts a session: the acceptor's link id and the cipher it chose.
type welcome struct {
	link   LinkID
	cipher Cipher
}

func (m welcome) encode() []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(m.link)), byte(m.cipher))
}

func parseWelcome(b []byte) (welcome, error) {
	if len(b) != 5 || !Cipher(b[4]).known() {
		return welcome{}, errSetup
	}
	return welcome{link: LinkID(binary.BigEndian.Uint32(b)), cipher: Cipher(b[4])}, nil
}

// ready tells the acceptor the size of datagram that was proved both ways (0 over tcp).
type ready struct{ size int }

func (m ready) encode() []byte { return binary.BigEndian.AppendUint16(nil, uint16(m.size)) }

func parseReady(b []byte) (ready, error) {
	if len(b) != 2 {
		return ready{}, errSetup
	}
	m := ready{size: int(binary.BigEndian.Uint16(b))}
	if m.size != 0 && (m.size < sizeSmallest || m.size > sizeLargest) {
		return ready{}, errSetup
	}
	return m, nil
}

// join ties a frames connection to its control session: the acceptor's link id and a MAC over this connection's own
// exporter, keyed by the session's.
type join struct {
	link LinkID
	mac  [32]byte
}

func (m join) encode() []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(m.link)), m.mac[:]...)
}

func parseJoin(b []byte) (join, error) {
	if len(b) != 36 {
		return join{}, errSetup
	}
	m := join{link: LinkID(binary.BigEndian.Uint32(b))}
	copy(m.mac[:], b[4:])
	return m, nil
}

// appendMessage frames one message.
func appendMessage(b []byte, kind uint8, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(1+len(body)))
	return append(append(b, kind), body...)
}

func writeMessage(w io.Writer, kind uint8, body []byte) error {
	_, err := w.Write(appendMessage(make([]byte, 0, 5+len(body)), kind, body))
	return err
}

// readMessage reads one message of at most limit bytes.
func readMessage(r io.Reader, limit int) (kind uint8, body []byte, err error) {
	kind, n, err := readHead(r, limit)
	if err != nil {
		return 0, nil, err
	}
	body, err = readBody(r, n)
	return kind, body, err
}

// readHead reads what precedes a message's body: its kind, and of how many bytes the body is.
func readHead(r io.Reader, limit int) (kind uint8, n int, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < 1 || int64(size) > int64(limit)+1 {
		return 0, 0, fmt.Errorf("cannot take a control message of %d bytes: %d are allowed", size, limit)
	}
	return head[4], int(size) - 1, nil
}

// readBody reads n bytes. Memory is taken as they arrive, not as the length claims.
func readBody(r io.Reader, n int) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err == nil && len(body) != n {
		err = io.ErrUnexpectedEOF
	}
	return body, err
}
