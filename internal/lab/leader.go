package lab

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// leaderMain is process 1 of the lab: it builds it, carries the packets between its sites, and by ending ends it.
func leaderMain() error {
	c, err := fileConn(os.NewFile(controlFD, "lab control"))
	if err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	l := &leader{}
	l.peer = newPeer(c, l.handle)
	l.peer.run()
	return nil // the deferred work of the kernel: it kills every process of this PID namespace
}

// leader is the state of the leader; the goroutine that handles requests owns it.
type leader struct {
	peer  *peer
	relay *relay
}

// buildReply says whose connection and TAP queues the answer's descriptors are; they come in this order.
type buildReply struct{ Node string }

type pathRequest struct {
	From, To string
	Path     *wan.Path // nil = leave as it is
	Cut      *bool     // nil = leave as it is
}

func (l *leader) handle(op string, body json.RawMessage, files []*os.File) (any, []*os.File, error) {
	closeAll(files)
	switch op {
	case "build":
		var s Spec
		if err := json.Unmarshal(body, &s); err != nil {
			return nil, nil, err
		}
		return nil, nil, l.build(&s)
	case "path":
		var r pathRequest
		if err := json.Unmarshal(body, &r); err != nil {
			return nil, nil, err
		}
		return nil, nil, l.relay.change(r)
	case "counters":
		return l.relay.counters(), nil, nil
	}
	return nil, nil, fmt.Errorf("unknown request %q", op)
}

// member is one set of namespaces while it is built.
type member struct {
	setup setup
	pid   int
	conn  *net.UnixConn
	files []*os.File // what its set-up returned: TAP queues, or the site's tunnel
}

// build makes the lab and hands each member's connection to the owner of the lab, as news that the answer to
// this request ends.
func (l *leader) build(s *Spec) error {
	members := s.plan()
	for _, m := range members {
		if err := m.start(); err != nil {
			return err
		}
	}
	if err := wire(s, members); err != nil {
		return err
	}
	var all errgroup.Group
	for _, m := range members {
		all.Go(m.prepare)
	}
	if err := all.Wait(); err != nil {
		return err
	}
	for _, m := range members {
		all.Go(func() error { _, err := m.ask("settle", nil); return err })
	}
	if err := all.Wait(); err != nil {
		return err
	}
	tunnels := map[string]*os.File{}
	for _, m := range members {
		if m.setup.TUN != "" {
			tunnels[m.setup.Name] = m.files[0]
			m.files = nil
		}
		if err := l.handOver(m); err != nil {
			return err
		}
	}
	r, err := newRelay(s, tunnels, uint64(time.Now().UnixNano()))
	if err != nil {
		return err
	}
	l.relay = r
	go r.run() // ends with the process
	return nil
}

func (l *leader) handOver(m *member) error {
	conn, err := m.conn.File()
	if err != nil {
		return fmt.Errorf("cannot hand over the connection to %s: %w", m.setup.Name, err)
	}
	files := append([]*os.File{conn}, m.files...)
	defer closeAll(files)
	m.conn.Close()
	return l.peer.send(message{Op: "member"}, buildReply{m.setup.Name}, files...)
}

// start makes the member's namespaces with an init in them.
func (m *member) start() error {
	here, there, err := socketpair()
	if err != nil {
		return err
	}
	defer there.Close()
	cmd := &exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       []string{initRole, m.setup.Name},
		Stderr:     os.Stderr,
		ExtraFiles: []*os.File{there},
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWPID,
		},
	}
	if err := cmd.Start(); err != nil {
		here.Close()
		return fmt.Errorf("cannot make the namespaces of %s: %w", m.setup.Name, err)
	}
	go func() { _ = cmd.Wait() }() // whoever holds the connection learns of its end
	m.pid, m.conn = cmd.Process.Pid, here
	return nil
}

// prepare has the init set itself up.
func (m *member) prepare() (err error) {
	m.files, err = m.ask("setup", m.setup)
	return err
}

// ask makes one request and waits for the answer: while the lab is built nobody else uses the connection.
func (m *member) ask(op string, body any) ([]*os.File, error) {
	if err := send(m.conn, message{ID: 1, Op: op}, body); err != nil {
		return nil, fmt.Errorf("cannot set up %s: %w", m.setup.Name, err)
	}
	answer, files, err := receive(m.conn, make([]byte, maxMessage))
	if err != nil {
		return nil, fmt.Errorf("cannot set up %s: %w", m.setup.Name, err)
	}
	if answer.Err != "" {
		closeAll(files)
		return nil, fmt.Errorf("cannot set up %s: %s", m.setup.Name, answer.Err)
	}
	return files, nil
}
