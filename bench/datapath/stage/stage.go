package stage

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// poll is how often something that is awaited is looked for.
const poll = 20 * time.Millisecond

// Stage is namespaces and the programs in them. One goroutine at a time sets it up; afterwards any may use it.
type Stage struct {
	dir      string
	programs []*Program
}

// New furnishes the stage that this process has entered. End undoes it.
func New() (*Stage, error) {
	if !Inside() {
		return nil, errors.New("cannot set the stage: this process has not entered one")
	}
	if err := furnish(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "datapath-")
	return &Stage{dir: dir}, err
}

// End ends all programs and removes the files.
func (s *Stage) End() error {
	for _, p := range s.programs {
		p.Stop()
	}
	return os.RemoveAll(s.dir)
}

// Dir makes a directory for somebody's files.
func (s *Stage) Dir(name string) (string, error) {
	dir := filepath.Join(s.dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}

// Add makes a namespace.
func (s *Stage) Add(ctx context.Context, name string) error {
	if _, err := s.Run(ctx, "", "ip", "netns", "add", name); err != nil {
		return err
	}
	return s.IP(ctx, name, "link set lo up")
}

// Tip is one end of a wire: an interface with an address (none if it is not valid) in a namespace.
type Tip struct {
	In      string
	Name    string
	Address netip.Prefix
}

// Wire joins two namespaces by a pair of veth, all offloads on.
func (s *Stage) Wire(ctx context.Context, a, b Tip, mtu int) error {
	err := s.IP(ctx, a.In, fmt.Sprintf("link add %s mtu %d type veth peer name %s mtu %d netns %s", a.Name, mtu, b.Name, mtu, b.In))
	if err != nil {
		return err
	}
	for _, t := range []Tip{a, b} {
		if t.Address.IsValid() {
			if err := s.IP(ctx, t.In, fmt.Sprintf("address add %s dev %s", t.Address, t.Name)); err != nil {
				return err
			}
		}
		if err := s.IP(ctx, t.In, fmt.Sprintf("link set %s up", t.Name)); err != nil {
			return err
		}
	}
	return nil
}

// IP runs ip(8) in a namespace with words separated by spaces.
func (s *Stage) IP(ctx context.Context, in, words string) error {
	_, err := s.Run(ctx, "", append([]string{"ip", "-n", in}, strings.Fields(words)...)...)
	return err
}

// Run runs a program to its end in a namespace (none is the stage's own) and returns what it printed.
func (s *Stage) Run(ctx context.Context, in string, argv ...string) (string, error) {
	var complaint strings.Builder
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if in != "" {
		cmd = exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", in}, argv...)...)
	}
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("cannot run %s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(complaint.String()+tail(string(out))))
	}
	return string(out), nil
}

// tail is the end of a text, as much as fits into an error.
func tail(s string) string {
	const enough = 400
	return s[max(0, len(s)-enough):]
}

// In calls f on a thread inside a namespace: the sockets that f opens belong there, wherever they are used afterwards.
func (s *Stage) In(name string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		file, err := os.Open("/run/netns/" + name)
		if err != nil {
			done <- fmt.Errorf("cannot enter %s: %w", name, err)
			return
		}
		defer file.Close()
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("cannot enter %s: %w", name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Await calls f until it succeeds or patience ends; the error is the last one.
func Await(ctx context.Context, patience time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(poll):
		}
	}
}

// Reaches waits until an address answers pings from a namespace.
func (s *Stage) Reaches(ctx context.Context, from string, to netip.Addr, patience time.Duration) error {
	return Await(ctx, patience, func() error {
		_, err := s.Run(ctx, from, "ping", "-c", "1", "-W", "1", to.String())
		return err
	})
}
