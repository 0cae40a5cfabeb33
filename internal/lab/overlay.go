package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// overlayTime is how long an overlay may take to come up: processes on a busy machine, then a handshake.
	overlayTime = 20 * time.Second
	// defaultOverlay is what the program calls an overlay of which nobody says a name.
	defaultOverlay = "vnet"
	// overlayPort is that one's UDP and TCP port; each host of a lab has room for one daemon.
	overlayPort = 4747
	// poll is how often a daemon that is coming up is asked.
	poll = 50 * time.Millisecond
)

// Daemons are the vnet daemons of a lab: separate processes of the program, with default configuration, that do not know
// where they are. Their standard error is kept for whoever asks.
type Daemons struct {
	lab     *Lab
	program string

	mu      sync.Mutex // guards the following
	running map[string]*daemon
}

type daemon struct {
	proc *Proc
	log  *tail
}

// StartOverlay starts this very program's daemons as the spec names them; see Daemons.Start.
func (l *Lab) StartOverlay(ctx context.Context, args ...string) (*Daemons, error) {
	d := l.Daemons(Self)
	return d, d.Start(ctx, args...)
}

// Start starts the daemons the spec names: the Proxy, and on each host a daemon that joins with a token and holds the
// host's VMs. It returns when every host's star link stands. args are added to every daemon's command line.
func (d *Daemons) Start(ctx context.Context, args ...string) error {
	if d.lab.spec.Overlay.Proxy == "" {
		return errors.New("cannot start the overlay: the lab names no Proxy; add `overlay: {proxy: HOST}`")
	}
	ctx, cancel := context.WithTimeout(ctx, overlayTime)
	defer cancel()
	if err := d.StartProxy(ctx, args...); err != nil {
		return err
	}
	var group sync.WaitGroup
	hosts := d.lab.overlayHosts()
	failures := make([]error, len(hosts))
	for i, host := range hosts {
		group.Go(func() {
			if failures[i] = d.Join(ctx, host); failures[i] == nil {
				failures[i] = d.StartHost(ctx, host, args...)
			}
		})
	}
	group.Wait()
	return errors.Join(failures...)
}

// Daemons is a lab without any yet; they will be started from program, which may be Self.
func (l *Lab) Daemons(program string) *Daemons {
	return &Daemons{lab: l, program: program, running: map[string]*daemon{}}
}

// Program is what they were started from.
func (d *Daemons) Program() string { return d.program }

// overlayHosts are the hosts that run a host daemon.
func (l *Lab) overlayHosts() []string {
	if len(l.spec.Overlay.Hosts) > 0 {
		return l.spec.Overlay.Hosts
	}
	var hosts []string
	for _, h := range l.spec.Hosts {
		if h.Name != l.spec.Overlay.Proxy && len(l.spec.VMsOn(h.Name)) > 0 {
			hosts = append(hosts, h.Name)
		}
	}
	return hosts
}

// StartProxy starts the Proxy and waits until it answers.
func (d *Daemons) StartProxy(ctx context.Context, args ...string) error {
	host := d.lab.spec.Overlay.Proxy
	if err := d.start(host, append([]string{"proxy"}, args...)); err != nil {
		return err
	}
	return d.answers(ctx, host, func(map[string]any) bool { return true })
}

// Join enrols a host with a token, as its owner would.
func (d *Daemons) Join(ctx context.Context, host string) error {
	at := d.lab.Address(d.lab.spec.Overlay.Proxy)
	token, err := d.Vnet(ctx, d.lab.spec.Overlay.Proxy, "token", "create", "--name", host, "--address", fmt.Sprintf("%s:%d", at, overlayPort))
	if err != nil {
		return err
	}
	var out, complaint bytes.Buffer
	join, err := d.lab.Command(host, []string{d.program, "join", "-", "--no-start", "--name", host}, CmdOptions{
		Name: "vnet", Stdin: strings.NewReader(token), Stdout: &out, Stderr: &complaint,
	})
	if err != nil {
		return err
	}
	if exit, err := join.Wait(); err != nil {
		return err
	} else if !exit.Success() {
		return fmt.Errorf("cannot join %s: %s", host, complaint.String())
	}
	return nil
}

// StartHost starts a host's daemon with the queues of its VMs, and waits until its star link stands.
func (d *Daemons) StartHost(ctx context.Context, host string, args ...string) error {
	if err := d.Launch(host, args...); err != nil {
		return err
	}
	return d.answers(ctx, host, func(status map[string]any) bool { return status["star"] == "LINK_STATE_UP" })
}

// Launch starts a host's daemon with the queues of its VMs, and waits for nothing.
func (d *Daemons) Launch(host string, args ...string) error {
	return d.start(host, append([]string{"host"}, args...))
}

// start runs a daemon with the TAP queues of the host's VMs as descriptors from 3 on.
func (d *Daemons) start(host string, argv []string) error {
	var files []*os.File
	for _, vm := range d.lab.spec.VMsOn(host) {
		var list []string
		for _, f := range d.lab.TAPFiles(vm.Name) {
			list = append(list, fmt.Sprint(3+len(files)))
			files = append(files, f)
		}
		argv = append(argv, "--tap-fd", vm.Name+"="+strings.Join(list, ","))
	}
	if overlay := d.lab.spec.Overlay.Name; overlay != "" && overlay != defaultOverlay { // which would have another port
		argv = slices.Insert(argv, 1, "--overlay", overlay, "--listen", fmt.Sprintf("[::]:%d", overlayPort))
	}
	log := &tail{}
	proc, err := d.lab.Command(host, append([]string{d.program}, argv...), CmdOptions{Name: "vnet", Crowd: true, Files: files, Stdout: io.Discard, Stderr: log})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running[host] = &daemon{proc: proc, log: log}
	return nil
}

// answers asks a daemon for its status until it is as wanted.
func (d *Daemons) answers(ctx context.Context, host string, ok func(map[string]any) bool) error {
	last := "it never answered"
	for {
		text, err := d.Vnet(ctx, host, "status", "-o", "json")
		if err == nil {
			var reply struct{ Status map[string]any }
			if err = json.Unmarshal([]byte(text), &reply); err == nil && ok(reply.Status) {
				return nil
			}
			last = text
		}
		if err != nil {
			last = err.Error()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot bring up the daemon of %s: %s; it said: %s", host, last, d.Log(host))
		case <-d.Proc(host).Done():
			return fmt.Errorf("cannot bring up the daemon of %s: it ended and said: %s", host, d.Log(host))
		case <-time.After(poll):
		}
	}
}

// Vnet runs a client command against the daemon of a host and returns what it printed.
func (d *Daemons) Vnet(ctx context.Context, host string, args ...string) (string, error) {
	argv := append([]string{d.program}, args...)
	if overlay := d.lab.spec.Overlay.Name; overlay != "" && overlay != defaultOverlay {
		argv = append(argv, "--overlay", overlay)
	}
	return d.lab.Output(ctx, host, argv...)
}

// Proc is the daemon of a host.
func (d *Daemons) Proc(host string) *Proc {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running[host].proc
}

// Log is the end of what the daemon of a host has written to its standard error.
func (d *Daemons) Log(host string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if one, ok := d.running[host]; ok {
		return one.log.last()
	}
	return ""
}

// Kill ends the daemon of a host without warning.
func (d *Daemons) Kill(host string) error {
	if err := d.Proc(host).Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-d.Proc(host).Done()
	return nil
}
