package stage

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// grace is how long a program that was asked to end may take.
const grace = 2 * time.Second

// Program runs in a namespace until it ends or is stopped.
type Program struct {
	Name string
	cmd  *exec.Cmd
	log  string        // file with all it wrote
	done chan struct{} // closed when it has ended
}

// Start starts a program in a namespace; env is added to the environment.
func (s *Stage) Start(in, name string, env []string, argv ...string) (*Program, error) {
	p := &Program{Name: name, done: make(chan struct{}), log: filepath.Join(s.dir, fmt.Sprintf("log-%d-%s", len(s.programs), name))}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command("ip", append([]string{"netns", "exec", in}, argv...)...) // it becomes the program, so the pid is the program's
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), env...)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	s.programs = append(s.programs, p)
	return p, nil
}

// PID is the process.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Ended tells whether it has.
func (p *Program) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Log is the end of what it wrote.
func (p *Program) Log() string {
	text, _ := os.ReadFile(p.log) // without it there is nothing to show
	return strings.TrimSpace(tail(string(text)))
}

// Stop asks it to end, then makes it.
func (p *Program) Stop() {
	if p.Ended() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may just have ended
	select {
	case <-p.done:
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}
