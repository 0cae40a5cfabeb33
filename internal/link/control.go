package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

const (
	// controlOut bounds what waits to be written: a peer that does not read for long is dead by its silence, and the
	// largest message must fit several times.
	controlOut      = 32 << 20 // bytes
	controlMessages = 4096     // messages waiting to be written
	controlIn       = 64       // messages read ahead of RecvControl; then the stream's own flow control holds the peer
)

// errBacklog is the answer to a SendControl that finds too much waiting.
var errBacklog = errors.New("cannot queue the message: too much is waiting for the peer to read")

// control is the link's message stream: one goroutine reads, one writes.
type control struct {
	stream io.ReadWriter
	shut   func(reason string) // closes stream, telling the peer why; both goroutines return then

	in    chan []byte
	out   chan []byte
	queue atomic.Int64 // bytes in out
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
		kind, body, err := readMessage(c.stream, messageMax)
		if err == nil && kind != msgApp {
			err = errSetup
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

func (c *control) write(l *Link) {
	for {
		select {
		case m := <-c.out:
			c.queue.Add(-int64(len(m)))
			if _, err := c.stream.Write(m); err != nil {
				l.streamEnded(err)
				return
			}
		case <-l.done:
			return
		}
	}
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
	if c.queue.Add(int64(len(framed))) > controlOut {
		c.queue.Add(-int64(len(framed)))
		return errBacklog
	}
	select {
	case c.out <- framed:
		return nil
	default:
		c.queue.Add(-int64(len(framed)))
		return errBacklog
	}
}

// RecvControl returns the peer's next message. After the link has ended those that had arrived are still returned.
func (l *Link) RecvControl(ctx context.Context) ([]byte, error) {
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
