package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A running lab is reached over an abstract unix socket: it has no file that a kill -9 could leave behind, and the
// list of labs is the kernel's own. Such a socket has no permissions, so both ends compare the other's user.

func socketPrefix() string { return fmt.Sprintf("@vnet-lab-%d-", os.Getuid()) }

type execRequest struct {
	In    string
	Argv  []string
	Env   []string
	Dir   string
	Files int
}

// Serve lets [Exec] of other processes of this user run programs in the lab, until ctx ends or the lab does.
func (l *Lab) Serve(ctx context.Context) error {
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: socketPrefix() + l.spec.Name})
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("cannot serve lab %q: one of that name is running; give this one another `name:`", l.spec.Name)
	}
	if err != nil {
		return fmt.Errorf("cannot serve lab %q: %w", l.spec.Name, err)
	}
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	go func() {
		select {
		case <-l.exited:
			ln.Close()
		case <-ctx.Done():
		}
	}()
	for {
		c, err := ln.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot serve lab %q: %w", l.spec.Name, err)
		}
		if sameUser(c) != nil {
			c.Close()
			continue
		}
		s := &session{lab: l}
		s.peer = newPeer(c, s.handle)
		go func() { // ends with the client
			s.peer.run()
			if s.proc != nil {
				_ = s.proc.SignalGroup(syscall.SIGHUP) // as a terminal that went away
			}
		}()
	}
}

// sameUser refuses the process at the other end unless this user runs it, or root does.
func sameUser(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	err = errors.Join(raw.Control(func(fd uintptr) {
		var e error
		if cred, e = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); e != nil {
			cred = nil
		}
	}))
	if err != nil || cred == nil {
		return errors.New("cannot tell who is at the other end")
	}
	if int(cred.Uid) != os.Getuid() && cred.Uid != 0 {
		return fmt.Errorf("it belongs to user %d", cred.Uid)
	}
	return nil
}

// session is one client of a served lab; the goroutine that handles its requests owns it.
type session struct {
	lab  *Lab
	peer *peer
	proc *Proc
}

func (s *session) handle(op string, body json.RawMessage, files []*os.File) (any, []*os.File, error) {
	defer closeAll(files)
	switch op {
	case "exec":
		var r execRequest
		if err := json.Unmarshal(body, &r); err != nil || len(files) != r.Files || r.Files < 3 || s.proc != nil {
			return nil, nil, errors.New("malformed request")
		}
		p, err := s.lab.Command(r.In, r.Argv, CmdOptions{Stdin: files[0], Stdout: files[1], Stderr: files[2], Env: r.Env, Dir: r.Dir})
		if err != nil {
			return nil, nil, err
		}
		s.proc = p
		go func() {
			end, _ := p.Wait()
			_ = s.peer.tell("exit", exitNews{Code: end.Code, Signal: end.Signal}) // an error: the client has gone
		}()
		return startReply{p.PID}, nil, nil
	case "signal":
		var r signalRequest
		if err := json.Unmarshal(body, &r); err != nil || s.proc == nil {
			return nil, nil, errors.New("malformed request")
		}
		return nil, nil, s.proc.SignalGroup(r.Signal)
	}
	return nil, nil, fmt.Errorf("unknown request %q", op)
}

// Exec runs a program in a lab that another process of this user serves, with the given three descriptors, hands
// on the signals that arrive, and returns how the program ended. lab may be "" when only one is running.
func Exec(ctx context.Context, lab, in string, argv []string, stdio [3]*os.File, signals <-chan os.Signal) (Exit, error) {
	name, err := theOne(lab)
	if err != nil {
		return Exit{}, err
	}
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Net: "unixpacket", Name: socketPrefix() + name})
	if err != nil {
		return Exit{}, fmt.Errorf("cannot reach lab %q: %w; `vnet lab list` shows what runs", name, err)
	}
	if err := sameUser(c); err != nil {
		c.Close()
		return Exit{}, fmt.Errorf("cannot trust lab %q: %w", name, err)
	}
	ended := make(chan exitNews, 1)
	p := newPeer(c, func(_ string, body json.RawMessage, files []*os.File) (any, []*os.File, error) {
		closeAll(files)
		var n exitNews
		err := json.Unmarshal(body, &n)
		ended <- n
		return nil, nil, err
	})
	go p.run()
	defer func() { c.Close(); <-p.gone }()
	req := execRequest{In: in, Argv: argv, Env: terminal(), Files: len(stdio)}
	if _, err := p.call("exec", req, nil, stdio[:]...); err != nil {
		return Exit{}, err
	}
	for {
		select {
		case n := <-ended:
			return Exit{n.Code, n.Signal}, nil
		case s := <-signals:
			if n, ok := s.(syscall.Signal); ok {
				_, _ = p.call("signal", signalRequest{Signal: n}, nil) // an error: it has just ended
			}
		case <-p.gone:
			return Exit{}, fmt.Errorf("lab %q ended", name)
		case <-ctx.Done():
			return Exit{}, ctx.Err()
		}
	}
}

// terminal is what of the caller's environment a program at its terminal needs.
func terminal() []string {
	var env []string
	for _, key := range []string{"TERM", "COLUMNS", "LINES", "NO_COLOR"} {
		if v, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+v)
		}
	}
	return env
}

func theOne(lab string) (string, error) {
	if lab != "" {
		return lab, nil
	}
	running, err := Running()
	switch {
	case err != nil:
		return "", err
	case len(running) == 0:
		return "", errors.New("no lab is running; start one with `vnet lab run FILE`")
	case len(running) > 1:
		return "", fmt.Errorf("several labs are running (%s): say which", strings.Join(running, ", "))
	}
	return running[0], nil
}

// Running lists the names of the labs this user serves, in order.
func Running() ([]string, error) {
	data, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil, fmt.Errorf("cannot list labs: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(data)) {
		if _, name, ok := strings.Cut(strings.TrimSpace(line), " "+socketPrefix()); ok && !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found, nil
}
