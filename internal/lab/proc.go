package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Self, as the program to run, means this very binary, wherever on the real machine it lies.
const Self = "/proc/self/exe"

// CmdOptions are what a program inside is given; the zero value runs it with no input and drops its output.
type CmdOptions struct {
	Stdin          io.Reader  // nil = /dev/null; an *os.File is passed as it is
	Stdout, Stderr io.Writer  // nil = /dev/null; an *os.File is passed as it is
	Files          []*os.File // become descriptors 3, 4, … ; the caller keeps its own
	Env            []string   // KEY=value, added to the small environment every program gets
	Dir            string     // default /
	Name           string     // argument 0, when it should differ from the program

	// Crowd says that the program is one of many that wake each other for every packet. In a lab of more hosts than hostsPerCPU
	// a processor it has the one of its host, its timers may be 1 ms late, and it does not interrupt who runs when it is
	// woken (SCHED_BATCH): it finds several packets then.
	Crowd bool
}

// hostsPerCPU is how many machines a processor plays before they are a crowd.
const hostsPerCPU = 2

// place is the number of the processor that plays a host and its VMs; false where there are enough of them.
func (l *Lab) place(in string) (cpu int, crowded bool) {
	if len(l.spec.Hosts) <= hostsPerCPU*runtime.NumCPU() {
		return 0, false
	}
	if vm, ok := l.spec.VM(in); ok {
		in = vm.Host
	}
	return slices.IndexFunc(l.spec.Hosts, func(h Host) bool { return h.Name == in }), true
}

// Exit is how a program ended.
type Exit struct {
	Code   int            // exit code; 128 + signal when a signal ended it
	Signal syscall.Signal // 0 = it exited by itself
}

// Success tells whether the program ended by itself with code 0.
func (e Exit) Success() bool { return e.Code == 0 }

func (e Exit) String() string {
	if e.Signal != 0 {
		return fmt.Sprintf("ended by signal %v", e.Signal)
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// Proc is a program running in the lab.
type Proc struct {
	PID  int    // in the PID namespace of its host
	In   string // the host, VM or site it runs in
	Argv []string

	ns    *namespace
	exit  chan exitNews // one element, kept by procs until it is known
	done  chan struct{} // closed when end and err are set
	end   Exit
	err   error
	stdio stdio
}

// procs matches the news of ended programs with their handles.
type procs struct {
	mu    sync.Mutex
	next  uint64
	alive map[uint64]*Proc
}

func (ps *procs) enter(p *Proc) uint64 {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.alive == nil {
		ps.alive = map[uint64]*Proc{}
	}
	ps.next++
	ps.alive[ps.next] = p
	return ps.next
}

func (ps *procs) leave(id uint64) *Proc {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.alive[id]
	delete(ps.alive, id)
	return p
}

// news is the handler of what an init says unasked.
func (ps *procs) news(op string, body json.RawMessage, files []*os.File) (any, []*os.File, error) {
	closeAll(files)
	var n exitNews
	if err := json.Unmarshal(body, &n); err != nil || op != "exit" {
		return nil, nil, fmt.Errorf("unexpected %q", op)
	}
	if p := ps.leave(n.Proc); p != nil {
		p.exit <- n
	}
	return nil, nil, nil
}

// Command starts a program in a host, VM or site. A program whose path is hidden there, such as a test's binary in
// /tmp, is passed as a descriptor. It runs in a session of its own and ends, at the latest, with the lab.
func (l *Lab) Command(in string, argv []string, o CmdOptions) (*Proc, error) {
	ns, err := l.namespace(in)
	if err != nil {
		return nil, err
	}
	if len(argv) == 0 {
		return nil, fmt.Errorf("cannot run nothing in %s", in)
	}
	p := &Proc{In: in, Argv: argv, ns: ns, exit: make(chan exitNews, 1), done: make(chan struct{})}
	req := startRequest{Argv: argv, Env: environment(in, o.Env), Dir: o.Dir}
	if cpu, crowded := l.place(in); crowded && o.Crowd && cpu >= 0 {
		req.Crowd, req.CPU = true, cpu
	}
	if req.Dir == "" {
		req.Dir = "/"
	}
	binary, err := program(&req)
	if err != nil {
		return nil, err
	}
	if o.Name != "" {
		req.Argv = append([]string{o.Name}, argv[1:]...)
	}
	files, err := p.stdio.open(o)
	if err != nil {
		return nil, errors.Join(err, closeIf(binary))
	}
	files = append(files, o.Files...)
	req.Files = len(files)
	if binary != nil {
		req.Exec = true
		files = append(files, binary)
	}
	req.Proc = ns.procs.enter(p)
	var reply startReply
	_, err = ns.peer.call("start", req, &reply, files...)
	p.stdio.handedOver()
	err = errors.Join(err, closeIf(binary))
	if err != nil {
		ns.procs.leave(req.Proc)
		p.stdio.abort()
		return nil, err
	}
	p.PID = reply.PID
	go p.watch()
	return p, nil
}

// program resolves argument 0 and opens it when the lab would hide it.
func program(req *startRequest) (*os.File, error) {
	name := req.Argv[0]
	if name == Self {
		req.Path = Self
		return nil, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("cannot find program %q: %w", name, err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	req.Path = path
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("cannot find program %q: %w", name, err)
	}
	if !hidden(path) && !hidden(real) {
		return nil, nil
	}
	f, err := os.Open(real)
	if err != nil {
		return nil, fmt.Errorf("cannot open program %q: %w", name, err)
	}
	return f, nil
}

func closeIf(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

// environment is small and the same whoever starts the lab: paths point into private directories.
func environment(in string, more []string) []string {
	env := []string{
		"HOME=" + homeDir, "XDG_RUNTIME_DIR=" + runtimeDir, "TMPDIR=/tmp", "USER=root", "LOGNAME=root", "HOSTNAME=" + in,
	}
	for _, kv := range os.Environ() {
		key, _, _ := strings.Cut(kv, "=")
		switch key {
		case "PATH", "LANG", "LC_ALL", "TERM", "TZ", "GORACE", "GOTRACEBACK", "GOMAXPROCS", "LD_LIBRARY_PATH":
			env = append(env, kv)
		}
	}
	return append(env, more...)
}

// watch waits for the end of the program and of its output.
func (p *Proc) watch() {
	defer close(p.done)
	select {
	case n := <-p.exit:
		p.end = Exit{n.Code, n.Signal}
	case <-p.ns.peer.gone:
		select {
		case n := <-p.exit: // it had ended before the lab did
			p.end = Exit{n.Code, n.Signal}
		default:
			p.end = Exit{Code: 128 + int(syscall.SIGKILL), Signal: syscall.SIGKILL}
			p.err = fmt.Errorf("%s in %s: %w", p.Argv[0], p.In, errGone)
		}
	}
	p.stdio.finish()
}

// Wait waits for the end of the program; the error is not about its exit code but about the lab's end.
func (p *Proc) Wait() (Exit, error) {
	<-p.done
	return p.end, p.err
}

// Done is closed when the program has ended and its output is written.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the program; os.ErrProcessDone when it has ended.
func (p *Proc) Signal(s syscall.Signal) error { return p.signal(s, false) }

// SignalGroup sends it to the program and its children, as long as they stay in its process group.
func (p *Proc) SignalGroup(s syscall.Signal) error { return p.signal(s, true) }

func (p *Proc) signal(s syscall.Signal, group bool) error {
	_, err := p.ns.peer.call("signal", signalRequest{PID: p.PID, Group: group, Signal: s}, nil)
	if err != nil && err.Error() == os.ErrProcessDone.Error() {
		return os.ErrProcessDone
	}
	return err
}

// Stop asks the program to end, and kills it when it has not after the grace period.
func (p *Proc) Stop(grace time.Duration) (Exit, error) {
	_ = p.Signal(syscall.SIGTERM) // an error: it has ended already
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
		_ = p.SignalGroup(syscall.SIGKILL)
	}
	return p.Wait()
}

// Output runs a program to its end and returns its standard output; the error of a failed one has its standard
// error. The end of ctx kills it.
func (l *Lab) Output(ctx context.Context, in string, argv ...string) (string, error) {
	var out, complaints bytes.Buffer
	p, err := l.Command(in, argv, CmdOptions{Stdout: &out, Stderr: &complaints})
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.SignalGroup(syscall.SIGKILL) })
	defer stop()
	end, err := p.Wait()
	if err == nil && !end.Success() {
		err = fmt.Errorf("%q in %s: %v: %s", strings.Join(argv, " "), in, end, strings.TrimSpace(complaints.String()))
	}
	return out.String(), errors.Join(err, ctx.Err())
}

// StartApplications starts what the spec lists, in its order; o applies to each.
func (l *Lab) StartApplications(o CmdOptions) ([]*Proc, error) {
	var all []*Proc
	for _, a := range l.spec.Apps {
		p, err := l.Command(a.In, a.Run, o)
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
	return all, nil
}
