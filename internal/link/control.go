package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

const (
	controlMessages = 4096     // messages waiting to be written
	controlIn       = 64       // messages read ahead of RecvControl; then the stream's own flow control holds the peer
	controlChunk    = 64 << 10 // bytes written at once, so that a peer that reads slowly is told from one that does not read
)

// errBacklog is the answer to a SendControl that finds too much waiting.
var errBacklog = errors.New("cannot queue the message: too much is waiting for the peer to read")

var errStuck = errors.New("the peer does not read its control stream")

// control is the link's message stream: one goroutine reads, one writes.
type control struct {
	stream io.ReadWriter
	shut   func(reason string) // closes stream, telling the peer why; both goroutines return then

	in  chan []byte
	out chan []byte

	mu      sync.Mutex // guards the following
	held    int        // bytes that the peer's account holds for in
	waiting int        // bytes that it counts in out
	settled bool       // both were given back: the link is gone
}

func newControl(stream io.ReadWriter, shut func(string)) *control {
	return &control{stream: stream, shut: shut, in: make(chan []byte, controlIn), out: make(chan []byte, controlMessages)}
}

// start runs the two goroutines; they end with the stream.
func (c *control) start(l *Link) error {
	l.opened.Store(true)
	if !l.e.spawn(func() { c.read(l) }) || !l.e.spawn(func() { c.write(l) }) {
		return errStopping
	}
	return nil
}

func (c *control) read(l *Link) {
	for {
		kind, n, err := readHead(c.stream, messageMax)
		if err == nil && kind != msgApp {
			err = errSetup
		}
		if err == nil {
			err = c.admit(l, n)
		}
		var body []byte
		if err == nil {
			body, err = readBody(c.stream, n)
		}
		if err != nil {
			l.streamEnded(err)
			return
		}
		select {
		case c.in <- body:
		case <-l.done:
			return
		}
	}
}

// admit waits until the peer may say a message of n bytes, and there is room for it.
func (c *control) admit(l *Link, n int) error {
	if !l.account.pace(l.done, n) || !l.account.hold(l.done, n) {
		return l.err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held += n
	return nil
}

// took gives back what a message held.
func (c *control) took(a *account, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.settled {
		c.held -= n
		a.release(n)
	}
}

// wrote gives back what a message that waited to be written counted.
func (c *control) wrote(a *account, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.settled {
		c.waiting -= n
		a.out.Add(int64(-n))
	}
}

// settle gives back whatever a link that is gone still holds.
func (c *control) settle(a *account) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.settled {
		c.settled = true
		a.release(c.held)
		a.out.Add(int64(-c.waiting))
	}
}

func (c *control) write(l *Link) {
	for {
		select {
		case m := <-c.out:
			err := c.put(l, m)
			c.wrote(l.account, len(m))
			if err != nil {
				l.streamEnded(err)
				return
			}
		case <-l.done:
			return
		}
	}
}

// put writes one message. A peer that goes on living and takes nothing would keep what waits for it in memory for ever.
func (c *control) put(l *Link, m []byte) error {
	stuck := time.AfterFunc(controlStuck, func() { l.end(errStuck, false) })
	defer stuck.Stop()
	for len(m) > 0 {
		n, err := c.stream.Write(m[:min(len(m), controlChunk)])
		if err != nil {
			return err
		}
		m = m[n:]
		stuck.Reset(controlStuck)
	}
	return nil
}

// streamEnded ends the link because its control stream broke. A peer that closed in order says why.
func (l *Link) streamEnded(err error) {
	var app *quic.ApplicationError
	if errors.As(err, &app) && app.Remote {
		l.farewell(parseLastWords(app.ErrorMessage))
		return
	}
	if l.stream != nil && errors.Is(err, io.EOF) {
		// Over tcp the bye travels on the frames connection; give it the chance to come first.
		select {
		case <-l.done:
			return
		case <-time.After(byeWait):
		}
	}
	l.end(fmt.Errorf("control stream broke: %w", err), false)
}

// lastWords is a bye as the text of a QUIC close, which QUIC repeats as long as the peer goes on talking.
func (m bye) lastWords() string {
	return strconv.FormatUint(m.frames, 10) + " " + m.reason[:min(len(m.reason), reasonMax)]
}

// parseLastWords reads any text: one that is not a bye is all reason.
func parseLastWords(text string) bye {
	count, reason, _ := strings.Cut(text, " ")
	frames, err := strconv.ParseUint(count, 10, 64)
	if err != nil {
		return bye{reason: text}
	}
	return bye{frames: frames, reason: reason}
}

// byeWait is how long a tcp connection that ends waits for its sister to bring, or take, the last words.
const byeWait = 200 * time.Millisecond

// SendControl queues a message of at most 8 MiB for the peer. It never waits. msg is not used after it returns.
func (l *Link) SendControl(msg []byte) error {
	if len(msg) > messageMax {
		return fmt.Errorf("cannot send a control message of %d bytes: %d are allowed", len(msg), messageMax)
	}
	if err := l.Err(); err != nil {
		return err
	}
	c := l.control
	framed := appendMessage(make([]byte, 0, 5+len(msg)), msgApp, msg)
	if !c.room(l.account, len(framed)) {
		return errBacklog
	}
	select {
	case c.out <- framed:
		return nil
	default:
		c.wrote(l.account, len(framed))
		return errBacklog
	}
}

// room counts a message of n bytes that is to wait, if it may.
func (c *control) room(a *account, n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.settled || a.out.Load()+int64(n) > controlOut { // several links may pass at once: by a message each
		return false
	}
	c.waiting += n
	a.out.Add(int64(n))
	return true
}

// RecvControl returns the peer's next message. After the link has ended those that had arrived are still returned.
func (l *Link) RecvControl(ctx context.Context) ([]byte, error) {
	m, err := l.nextMessage(ctx)
	if err == nil {
		l.control.took(l.account, len(m))
	}
	return m, err
}

func (l *Link) nextMessage(ctx context.Context) ([]byte, error) {
	select {
	case m := <-l.control.in:
		return m, nil
	default:
	}
	select {
	case m := <-l.control.in:
		return m, nil
	case <-l.done:
		select {
		case m := <-l.control.in:
			return m, nil
		default:
			return nil, l.err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
