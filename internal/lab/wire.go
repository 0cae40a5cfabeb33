package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// The processes of a lab talk over unix sequenced-packet sockets: one JSON message a packet, descriptors beside it.

const (
	// maxMessage is the largest message, in bytes: below the kernel's usual send buffer of 212,992.
	maxMessage = 160 << 10
	// maxFiles is how many descriptors go with one message: SCM_MAX_FD of the kernel.
	maxFiles = 253
)

// message is a request (Op set), the answer to one (Op empty, same ID), or news nobody asked for (ID 0).
type message struct {
	ID   uint64          `json:",omitempty"`
	Op   string          `json:",omitempty"`
	Err  string          `json:",omitempty"`
	Body json.RawMessage `json:",omitempty"`
}

// socketpair makes a connected pair; both ends close on exec.
func socketpair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a socket pair: %w", err)
	}
	there := os.NewFile(uintptr(fds[1]), "lab control")
	here, err := fileConn(os.NewFile(uintptr(fds[0]), "lab control"))
	if err != nil {
		there.Close()
		return nil, nil, err
	}
	return here, there, nil
}

// fileConn turns a descriptor into a connection and closes the descriptor.
func fileConn(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("cannot use the control socket: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("the control descriptor is not a unix socket")
	}
	return u, nil
}

func send(c *net.UnixConn, m message, body any, files ...*os.File) error {
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("cannot encode %s: %w", m.Op, err)
		}
		m.Body = b
	}
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("cannot encode %s: %w", m.Op, err)
	}
	if len(b) > maxMessage || len(files) > maxFiles {
		return fmt.Errorf("cannot send %s: %d bytes and %d descriptors; at most %d and %d", m.Op, len(b), len(files), maxMessage, maxFiles)
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	_, _, err = c.WriteMsgUnix(b, rights, nil)
	return err
}

// receive reads one message; buf is scratch of maxMessage bytes.
func receive(c *net.UnixConn, buf []byte) (m message, files []*os.File, err error) {
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, _, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return m, nil, err
	}
	if n == 0 {
		return m, nil, net.ErrClosed
	}
	files, err = rights(oob[:oobn])
	if err != nil {
		return m, nil, err
	}
	if err := json.Unmarshal(buf[:n], &m); err != nil {
		closeAll(files)
		return m, nil, fmt.Errorf("cannot read a control message: %w", err)
	}
	return m, files, nil
}

func rights(oob []byte) ([]*os.File, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("cannot read passed descriptors: %w", err)
	}
	var files []*os.File
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // some other ancillary data: not ours
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// handler answers a request; the files it returns are closed once they are sent. Files it was given are its own.
type handler func(op string, body json.RawMessage, files []*os.File) (any, []*os.File, error)

// peer is one end of a control connection: it makes requests, and answers the other end's.
type peer struct {
	conn   *net.UnixConn
	handle handler // called by the goroutine of run only, so one request at a time
	gone   chan struct{}

	mu      sync.Mutex // guards what follows, and the order of writes
	next    uint64
	waiting map[uint64]chan answer
}

type answer struct {
	message
	files []*os.File
}

func newPeer(c *net.UnixConn, h handler) *peer {
	return &peer{conn: c, handle: h, gone: make(chan struct{}), waiting: map[uint64]chan answer{}}
}

// run reads until the connection ends; then every waiting call fails.
func (p *peer) run() {
	defer close(p.gone)
	defer p.conn.Close()
	buf := make([]byte, maxMessage)
	for {
		m, files, err := receive(p.conn, buf)
		if err != nil {
			return
		}
		if m.Op == "" {
			p.settle(m, files)
			continue
		}
		body, reply, err := p.handle(m.Op, m.Body, files)
		if m.ID == 0 {
			closeAll(reply)
			continue
		}
		out := message{ID: m.ID}
		if err != nil {
			out.Err, body = err.Error(), nil
		}
		err = p.send(out, body, reply...)
		closeAll(reply)
		if err != nil {
			return
		}
	}
}

func (p *peer) settle(m message, files []*os.File) {
	p.mu.Lock()
	ch := p.waiting[m.ID]
	delete(p.waiting, m.ID)
	p.mu.Unlock()
	if ch == nil {
		closeAll(files)
		return
	}
	ch <- answer{m, files}
}

func (p *peer) send(m message, body any, files ...*os.File) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return send(p.conn, m, body, files...)
}

// tell sends news that has no answer.
func (p *peer) tell(op string, body any) error { return p.send(message{Op: op}, body) }

// call makes a request and waits for its answer, which goes into out when out is not nil.
func (p *peer) call(op string, body, out any, files ...*os.File) ([]*os.File, error) {
	ch := make(chan answer, 1)
	p.mu.Lock()
	p.next++
	id := p.next
	p.waiting[id] = ch
	err := send(p.conn, message{ID: id, Op: op}, body, files...)
	p.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("cannot ask the lab to %s: %w", op, err)
	}
	select {
	case a := <-ch:
		return a.files, a.into(out)
	case <-p.gone:
		return nil, fmt.Errorf("cannot %s: %w", op, errGone)
	}
}

// errGone is what every request to an ended part of the lab returns.
var errGone = errors.New("this part of the lab has ended")

func (a answer) into(out any) error {
	if a.Err != "" {
		return errors.New(a.Err)
	}
	if out == nil || len(a.Body) == 0 {
		return nil
	}
	return json.Unmarshal(a.Body, out)
}
