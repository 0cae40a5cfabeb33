package peers

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/stage"
)

// ourPort is the first of our ports; each overlay has its own.
const ourPort = 4700

// Overlay is our daemons of one overlay, with default configuration. One goroutine at a time sets it up.
type Overlay struct {
	Stage   *stage.Stage
	Daemons []*stage.Program // the Proxy first

	program string
	name    string
	port    int
	flags   []string          // of every daemon
	sockets map[string]string // by host
}

// NewOverlay is an overlay without daemons; nr is a number of its own on this stage.
func NewOverlay(s *stage.Stage, p Programs, nr int, flags ...string) *Overlay {
	return &Overlay{Stage: s, program: p[Vnet], name: fmt.Sprintf("bench%d", nr), port: ourPort + nr, flags: flags, sockets: map[string]string{}}
}

// Proxy starts the Proxy on a host.
func (o *Overlay) Proxy(ctx context.Context, host string, args ...string) error {
	return o.start(ctx, host, append([]string{"proxy", "--name", host}, args...))
}

// Host enrols a host with a token that names the Proxy's address, and starts its node.
func (o *Overlay) Host(ctx context.Context, host, proxyAt string, args ...string) error {
	token, err := o.Vnet(ctx, o.Daemons[0].Name, "token", "create", "--name", host, "--address", fmt.Sprintf("%s:%d", proxyAt, o.port))
	if err != nil {
		return err
	}
	dir, err := o.dir(host)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*startTime)
	defer cancel()
	join := exec.CommandContext(ctx, "ip", "netns", "exec", host, o.program, "join", "-", "--no-start", "--name", host, "--state", dir)
	join.Stdin = strings.NewReader(token)
	if out, err := join.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot join %s: %w: %s", host, err, out)
	}
	return o.start(ctx, host, append([]string{"host"}, args...))
}

func (o *Overlay) dir(host string) (string, error) {
	return o.Stage.Dir(fmt.Sprintf("%s-%s", o.name, host))
}

// start runs a daemon and waits until it answers.
func (o *Overlay) start(ctx context.Context, host string, args []string) error {
	dir, err := o.dir(host)
	if err != nil {
		return err
	}
	o.sockets[host] = dir + "/socket"
	argv := append([]string{o.program}, args...)
	argv = append(argv, "--overlay", o.name, "--state", dir, "--socket", o.sockets[host], "--listen", fmt.Sprintf("0.0.0.0:%d", o.port))
	d, err := o.Stage.Start(host, host, nil, append(argv, o.flags...)...)
	if err != nil {
		return err
	}
	o.Daemons = append(o.Daemons, d)
	return stage.Await(ctx, startTime, func() error {
		if _, err := o.Vnet(ctx, host, "status"); err != nil {
			return fmt.Errorf("%w\n%s", err, d.Log())
		}
		return nil
	})
}

// Vnet asks the daemon of a host.
func (o *Overlay) Vnet(ctx context.Context, host string, args ...string) (string, error) {
	return o.Stage.Run(ctx, host, append([]string{o.program, "--overlay", o.name, "--socket", o.sockets[host]}, args...)...)
}

// Socket is where the daemon of a host serves its API.
func (o *Overlay) Socket(host string) string { return o.sockets[host] }
