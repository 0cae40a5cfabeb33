package lab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	homeDir    = "/var/lib/home"
	runtimeDir = "/run/user"
	// execBase is where a passed executable's descriptor is moved to before a fork: above any descriptor a
	// program is given, so that arranging those cannot overwrite it.
	execBase = 512
)

// initMain is process 1 of one host, VM or site. It prepares its namespaces, then runs programs on request; when
// the control connection ends so does it, and the kernel ends whatever it started.
func initMain() error {
	c, err := fileConn(os.NewFile(controlFD, "lab control"))
	if err != nil {
		return err
	}
	in := &initProc{running: map[int]uint64{}}
	p := newPeer(c, in.handle)
	in.peer = p
	go in.reap()
	p.run()
	return nil
}

// initProc is the state of an init.
type initProc struct {
	peer *peer
	name string   // owned by the goroutine that handles requests
	void *os.File // likewise: the device that swallows packets to hosts cut off; opened at the first cut

	mu      sync.Mutex     // held across fork and entry, so that reap finds every child
	running map[int]uint64 // process id -> the caller's number for it
}

type startRequest struct {
	Proc  uint64
	Path  string // of the executable
	Argv  []string
	Env   []string
	Dir   string
	Crowd bool // see CmdOptions
	CPU   int  // of the crowd: the number of its processor, taken modulo those there are
	Files int  // descriptors 0, 1, 2 and on; they come with the message
	Exec  bool // one more descriptor follows: the executable
}

type startReply struct{ PID int }

type exitNews struct {
	Proc   uint64
	Code   int
	Signal syscall.Signal
}

type signalRequest struct {
	PID    int
	Group  bool
	Signal syscall.Signal
}

type cutRequest struct {
	To, Src netip.Addr
	Cut     bool
}

func (in *initProc) handle(op string, body json.RawMessage, files []*os.File) (any, []*os.File, error) {
	switch op {
	case "setup":
		var s setup
		if err := json.Unmarshal(body, &s); err != nil {
			return nil, nil, err
		}
		in.name = s.Name
		if err := s.mounts(); err != nil {
			return nil, nil, err
		}
		devices, err := s.network()
		if err != nil {
			return nil, devices, err
		}
		return nil, devices, nil
	case "settle":
		return nil, nil, settle()
	case "start":
		defer closeAll(files)
		var r startRequest
		if err := json.Unmarshal(body, &r); err != nil {
			return nil, nil, err
		}
		pid, err := in.start(r, files)
		return startReply{pid}, nil, err
	case "signal":
		var r signalRequest
		if err := json.Unmarshal(body, &r); err != nil {
			return nil, nil, err
		}
		return nil, nil, in.signal(r)
	case "cut":
		var r cutRequest
		if err := json.Unmarshal(body, &r); err != nil {
			return nil, nil, err
		}
		return nil, nil, in.cut(r)
	case "queues":
		q, err := queueCounters()
		return q, nil, err
	}
	closeAll(files)
	return nil, nil, fmt.Errorf("unknown request %q", op)
}

// start forks. A new session per program: the terminal's signals do not reach it, and its group can be signalled.
func (in *initProc) start(r startRequest, files []*os.File) (int, error) {
	if r.Files > len(files) || len(r.Argv) == 0 {
		return 0, fmt.Errorf("malformed request: %d descriptors for %d, %d arguments", len(files), r.Files, len(r.Argv))
	}
	path := r.Path
	if r.Exec {
		fd, err := unix.FcntlInt(files[r.Files].Fd(), unix.F_DUPFD_CLOEXEC, execBase)
		if err != nil {
			return 0, fmt.Errorf("cannot hold the executable: %w", err)
		}
		defer unix.Close(fd)
		path = fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	attr := &syscall.ProcAttr{Dir: r.Dir, Env: r.Env, Sys: &syscall.SysProcAttr{Setsid: true}}
	for _, f := range files[:r.Files] {
		attr.Files = append(attr.Files, f.Fd())
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if r.Crowd { // a child inherits from the thread that forks
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		crowd(crowdSlack, unix.SCHED_BATCH)
		defer crowd(0, unix.SCHED_NORMAL)
		defer stayOn(r.CPU)()
	}
	pid, err := syscall.ForkExec(path, r.Argv, attr)
	if err != nil {
		return 0, fmt.Errorf("cannot run %q in %s: %w", r.Argv[0], in.name, err)
	}
	in.running[pid] = r.Proc
	return pid, nil
}

// crowdSlack is how late the timers of one program of many may be, in ns: the watchman of Go's scheduler sleeps for 20 µs at a
// time in a busy process, and of 17 such processes took an eighth of two processors. No timer of ours is finer.
const crowdSlack = 1_000_000

// crowd sets what children of this thread inherit: how late timers may be, in ns (0 = the kernel's 50 µs), and whether who is
// woken interrupts who runs. Where the kernel refuses, the lab takes more of the machine.
func crowd(slack uintptr, policy uint32) {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, slack, 0, 0, 0)
	if now, err := unix.SchedGetAttr(0, 0); err == nil {
		now.Policy = policy
		_ = unix.SchedSetAttr(0, now, 0)
	}
}

// stayOn has children of this thread run on one processor; what it returns takes that back for later ones.
func stayOn(n int) (back func()) {
	var all, one unix.CPUSet
	if unix.SchedGetaffinity(0, &all) != nil || all.Count() == 0 {
		return func() {}
	}
	n %= all.Count()
	for cpu := 0; n >= 0; cpu++ {
		if all.IsSet(cpu) {
			if n == 0 {
				one.Set(cpu)
			}
			n--
		}
	}
	_ = unix.SchedSetaffinity(0, &one)
	return func() { _ = unix.SchedSetaffinity(0, &all) }
}

func (in *initProc) signal(r signalRequest) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if _, ok := in.running[r.PID]; !ok {
		return os.ErrProcessDone
	}
	if r.Group {
		return syscall.Kill(-r.PID, r.Signal)
	}
	return syscall.Kill(r.PID, r.Signal)
}

// reap collects every child, the orphans process 1 inherits among them, and tells about those it was asked to run.
func (in *initProc) reap() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid == 0 {
			<-children
			continue
		}
		in.mu.Lock()
		proc, ok := in.running[pid]
		delete(in.running, pid)
		in.mu.Unlock()
		if ok {
			_ = in.peer.tell("exit", newsOf(proc, status)) // an error: the lab is ending, and this process with it
		}
	}
}

func newsOf(proc uint64, status syscall.WaitStatus) exitNews {
	if status.Signaled() {
		// 128 + signal is how shells report it.
		return exitNews{Proc: proc, Code: 128 + int(status.Signal()), Signal: status.Signal()}
	}
	return exitNews{Proc: proc, Code: status.ExitStatus()}
}
