package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// Options are what a lab needs to know besides its spec; the zero value is usable.
type Options struct{}

// Lab is a running lab. Its methods may be called from any goroutine.
type Lab struct {
	spec   *Spec
	leader *peer
	exited chan struct{} // closed when the leader, and so everything, is gone
	stderr *tail         // what the leader and the inits complained about

	mu      sync.Mutex // guards members while they arrive
	members map[string]*namespace
}

// namespace is the caller's end of one host, VM or site.
type namespace struct {
	name  string
	peer  *peer
	taps  []*os.File
	procs procs
}

// Start builds the lab a spec describes. It lasts until [Lab.Close], or the end of this process in whatever way.
func Start(ctx context.Context, s *Spec, _ Options) (*Lab, error) {
	s.Complete()
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("cannot start the lab: %w", err)
	}
	l := &Lab{spec: s, exited: make(chan struct{}), stderr: &tail{}, members: map[string]*namespace{}}
	here, there, err := socketpair()
	if err != nil {
		return nil, err
	}
	defer there.Close()
	started := make(chan error, 1)
	go l.hold(there, started)
	if err := <-started; err != nil {
		here.Close()
		return nil, classify(err)
	}
	l.leader = newPeer(here, l.member)
	go l.leader.run()
	built := make(chan error, 1)
	go func() { _, err := l.leader.call("build", s, nil); built <- err }()
	select {
	case err = <-built:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		err = errors.Join(err, l.Close())
		if obstacle := Preflight(); obstacle != nil && ctx.Err() == nil {
			return nil, obstacle
		}
		return nil, fmt.Errorf("cannot start the lab: %w%s", err, l.stderr.last())
	}
	return l, nil
}

// hold starts the leader and waits for it on one locked thread: the kernel ties PDEATHSIG to the thread that forked.
func (l *Lab) hold(control *os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{leaderRole, l.spec.Name},
		Stderr:      l.stderr,
		ExtraFiles:  []*os.File{control},
		SysProcAttr: leaderAttr(),
	}
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	_ = cmd.Wait() // killed is how it is meant to end when the owner dies; complaints are in stderr
	close(l.exited)
}

// leaderAttr asks for a set of fresh namespaces, detached from the terminal, dying with this process. An ordinary
// user may map only itself; root maps every identity, so that programs which drop privileges work inside.
func leaderAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS |
			syscall.CLONE_NEWIPC | syscall.CLONE_NEWPID,
		Pdeathsig: syscall.SIGKILL,
		Setsid:    true,
	}
	if os.Geteuid() == 0 {
		attr.UidMappings, attr.GidMappings = allIDs("/proc/self/uid_map"), allIDs("/proc/self/gid_map")
		attr.GidMappingsEnableSetgroups = true
		return attr
	}
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	return attr
}

// allIDs maps every identity that exists in this process's own user namespace onto itself.
func allIDs(path string) []syscall.SysProcIDMap {
	data, err := os.ReadFile(path)
	var maps []syscall.SysProcIDMap
	for line := range bytes.Lines(data) {
		var inside, outside, size int
		if n, _ := fmt.Sscan(string(line), &inside, &outside, &size); n == 3 {
			maps = append(maps, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: size})
		}
	}
	if err != nil || len(maps) == 0 {
		return []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	}
	return maps
}

// member receives one namespace from the leader while it builds.
func (l *Lab) member(op string, body json.RawMessage, files []*os.File) (any, []*os.File, error) {
	var r buildReply
	if err := json.Unmarshal(body, &r); err != nil || op != "member" || len(files) == 0 {
		closeAll(files)
		return nil, nil, fmt.Errorf("unexpected %q from the leader", op)
	}
	conn, err := fileConn(files[0])
	if err != nil {
		closeAll(files[1:])
		return nil, nil, err
	}
	ns := &namespace{name: r.Node, taps: files[1:]}
	ns.peer = newPeer(conn, ns.procs.news)
	go ns.peer.run()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members[r.Node] = ns
	return nil, nil, nil
}

func (l *Lab) namespace(name string) (*namespace, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ns := l.members[name]; ns != nil {
		return ns, nil
	}
	return nil, fmt.Errorf("lab %s has no host, VM or site %q", l.spec.Name, name)
}

// Spec returns what the lab was built from, defaults filled in; it must not be changed.
func (l *Lab) Spec() *Spec { return l.spec }

// Done is closed when the lab has ended.
func (l *Lab) Done() <-chan struct{} { return l.exited }

// Close ends every program of the lab and removes the lab; it returns when nothing is left.
func (l *Lab) Close() error {
	l.leader.conn.Close()
	<-l.exited
	<-l.leader.gone
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ns := range l.members {
		ns.peer.conn.Close()
		<-ns.peer.gone
		closeAll(ns.taps)
	}
	return nil
}

// TAPFiles returns the queues of a VM's port, to be given to a daemon as inherited descriptors: IFF_VNET_HDR is
// on, no offload is set. They stay open while the lab does, so that the VM's interface survives its daemon.
func (l *Lab) TAPFiles(vm string) []*os.File {
	ns, err := l.namespace(vm)
	if err != nil {
		return nil
	}
	return ns.taps
}

// SetPathOneWay changes one direction of the path between two sites.
func (l *Lab) SetPathOneWay(from, to string, p wan.Path) error {
	if err := p.Validate(); err != nil {
		return fmt.Errorf("cannot change the path from %s to %s: %w", from, to, err)
	}
	_, err := l.leader.call("path", pathRequest{From: from, To: to, Path: &p}, nil)
	return err
}

// Cut lets nothing pass between two sites, or between two hosts, in either direction.
func (l *Lab) Cut(a, b string) error { return errors.Join(l.cut(a, b, true), l.cut(b, a, true)) }

// CutOneWay lets nothing pass from one site or host to another; the sender is not told.
func (l *Lab) CutOneWay(from, to string) error { return l.cut(from, to, true) }

// Heal undoes both kinds of cut.
func (l *Lab) Heal(a, b string) error { return errors.Join(l.cut(a, b, false), l.cut(b, a, false)) }

func (l *Lab) cut(from, to string, cut bool) error {
	a, isHost := l.spec.Host(from)
	b, toHost := l.spec.Host(to)
	if isHost != toHost {
		return fmt.Errorf("cannot cut %s from %s: want two sites or two hosts", from, to)
	}
	if !isHost {
		_, err := l.leader.call("path", pathRequest{From: from, To: to, Cut: &cut}, nil)
		return err
	}
	if a.Address == AddressNone() || b.Address == AddressNone() {
		return fmt.Errorf("cannot cut %s from %s: the lab knows no address of one of them", from, to)
	}
	return l.ask(from, "cut", cutRequest{To: b.Address.Addr(), Src: a.Address.Addr(), Cut: cut}, nil)
}

func (l *Lab) ask(name, op string, body, out any) error {
	ns, err := l.namespace(name)
	if err != nil {
		return err
	}
	_, err = ns.peer.call(op, body, out)
	return err
}

// Paths reads the counters of every path.
func (l *Lab) Paths() (RelayCounters, error) {
	var c RelayCounters
	if _, err := l.leader.call("counters", nil, &c); err != nil {
		return c, err
	}
	c.Missed = map[string]uint64{}
	for _, site := range l.spec.Sites {
		q, err := l.queue(site.Name, siteTunnel)
		if err != nil {
			return c, err
		}
		c.Missed[site.Name] = q.Drops
	}
	return c, nil
}

// Queues reads the counters of both queues in front of a host's eth0.
func (l *Lab) Queues(host string) (HostQueues, error) {
	h, ok := l.spec.Host(host)
	if !ok {
		return HostQueues{}, fmt.Errorf("lab %s has no host %q", l.spec.Name, host)
	}
	up, err := l.queue(host, "eth0")
	if err != nil {
		return HostQueues{}, err
	}
	down, err := l.queue(h.Site, l.spec.portOf(host))
	return HostQueues{Up: up, Down: down}, err
}

func (l *Lab) queue(where, name string) (Queue, error) {
	var all []Queue
	if err := l.ask(where, "queues", nil, &all); err != nil {
		return Queue{}, err
	}
	for _, q := range all {
		if q.Interface == name {
			return q, nil
		}
	}
	return Queue{}, nil
}

// Address is the address of a host's or VM's eth0; invalid when it has none.
func (l *Lab) Address(name string) netip.Addr {
	p := AddressNone()
	if h, ok := l.spec.Host(name); ok {
		p = h.Address
	} else if vm, ok := l.spec.VM(name); ok {
		p = vm.Address
	}
	if p == AddressNone() {
		return netip.Addr{}
	}
	return p.Addr()
}
