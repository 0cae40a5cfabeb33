package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/stage"
)

// ourPort is the first of our ports; each overlay has its own.
const ourPort = 4700

// overlay is our daemons of one overlay, with default configuration.
type overlay struct {
	*Running
	s       *stage.Stage
	program string
	name    string
	nr      int
	proxyAt string // where the hosts find the Proxy
	flags   []string
	sockets map[string]string // by host
}

// startOurs is one hop: the Proxy with a port on one host, and a node with a port on the other. The rules are the Proxy's.
func startOurs(flags ...string) func(context.Context, *stage.Stage, Programs, int) (*Running, error) {
	return func(ctx context.Context, s *stage.Stage, p Programs, nr int) (*Running, error) {
		a, b := guests(nr)
		o := &overlay{Running: &Running{Between: between(s, a, b)}, s: s, program: p[Vnet], name: fmt.Sprintf("bench%d", nr),
			nr: nr, proxyAt: underlayA, flags: flags, sockets: map[string]string{}}
		tapA, tapB := fmt.Sprintf("vm%da", nr), fmt.Sprintf("vm%db", nr)
		if err := o.proxy(ctx, HostA, "--tap", tapA); err != nil {
			return nil, err
		}
		if err := o.host(ctx, HostB, "--tap", tapB); err != nil {
			return nil, err
		}
		if err := o.address(ctx, tapA, tapB, a, b); err != nil {
			return nil, err
		}
		return o.Running, o.describe(ctx, HostB)
	}
}

// startTwoHops is two nodes with a port each, and the Proxy on a third host between them: both links are encrypted.
func startTwoHops(ctx context.Context, s *stage.Stage, p Programs, nr int) (*Running, error) {
	a, b := guests(nr)
	o := &overlay{Running: &Running{Between: between(s, a, b)}, s: s, program: p[Vnet], name: fmt.Sprintf("bench%d", nr),
		nr: nr, sockets: map[string]string{}}
	if err := s.Add(ctx, HostP); err != nil {
		return nil, err
	}
	for i, host := range []string{HostA, HostB} {
		near := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(i + 1), 1}), 24)
		far := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(i + 1), 2}), 24)
		if err := s.Wire(ctx, stage.Tip{In: host, Name: "proxy0", Address: near}, stage.Tip{In: HostP, Name: "to-" + host, Address: far}, underlayMTU); err != nil {
			return nil, err
		}
	}
	if err := o.proxy(ctx, HostP, "--adapt", "observe"); err != nil { // it would open a direct link, which is its purpose
		return nil, err
	}
	tapA, tapB := fmt.Sprintf("vm%da", nr), fmt.Sprintf("vm%db", nr)
	for i, host := range []string{HostA, HostB} {
		o.proxyAt = fmt.Sprintf("10.9.%d.2", i+1)
		if err := o.host(ctx, host, "--tap", []string{tapA, tapB}[i]); err != nil {
			return nil, err
		}
	}
	if err := o.address(ctx, tapA, tapB, a, b); err != nil {
		return nil, err
	}
	return o.Running, o.describe(ctx, HostB)
}

// proxy starts the Proxy on a host.
func (o *overlay) proxy(ctx context.Context, host string, args ...string) error {
	return o.start(ctx, host, append([]string{"proxy", "--name", host}, args...))
}

// host enrols a host with a token and starts its node.
func (o *overlay) host(ctx context.Context, host string, args ...string) error {
	token, err := o.vnet(ctx, o.Daemons[0].Name, "token", "create", "--name", host, "--address", fmt.Sprintf("%s:%d", o.proxyAt, ourPort+o.nr))
	if err != nil {
		return err
	}
	dir, err := o.dir(host)
	if err != nil {
		return err
	}
	join := exec.CommandContext(ctx, "ip", "netns", "exec", host, o.program, "join", "-", "--name", host, "--state", dir)
	join.Stdin = strings.NewReader(token)
	if out, err := join.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot join %s: %w: %s", host, err, out)
	}
	return o.start(ctx, host, append([]string{"host"}, args...))
}

func (o *overlay) dir(host string) (string, error) {
	return o.s.Dir(fmt.Sprintf("%s-%s", o.name, host))
}

// start runs a daemon and waits until it answers.
func (o *overlay) start(ctx context.Context, host string, args []string) error {
	dir, err := o.dir(host)
	if err != nil {
		return err
	}
	o.sockets[host] = dir + "/socket"
	argv := append([]string{o.program}, args...)
	argv = append(argv, "--overlay", o.name, "--state", dir, "--socket", o.sockets[host], "--listen", fmt.Sprintf("0.0.0.0:%d", ourPort+o.nr))
	d, err := o.s.Start(host, host, nil, append(argv, o.flags...)...)
	if err != nil {
		return err
	}
	o.Daemons = append(o.Daemons, d)
	return stage.Await(ctx, startTime, func() error {
		if _, err := o.vnet(ctx, host, "status"); err != nil {
			return fmt.Errorf("%w%s", err, o.complaints())
		}
		return nil
	})
}

// vnet asks the daemon of a host.
func (o *overlay) vnet(ctx context.Context, host string, args ...string) (string, error) {
	return o.s.Run(ctx, host, append([]string{o.program, "--overlay", o.name, "--socket", o.sockets[host]}, args...)...)
}

// describe says what the daemons themselves say of the link that is measured.
func (o *overlay) describe(ctx context.Context, host string) error {
	text, err := o.vnet(ctx, host, "links", "-o", "json")
	if err != nil {
		return err
	}
	var list struct {
		Links []struct{ Name, Carrier, Cipher string }
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list.Links) != 1 {
		return fmt.Errorf("cannot see one link of %s: %w: %s", host, err, text)
	}
	l := list.Links[0]
	o.What = strings.TrimSpace(fmt.Sprintf("vnet of this tree, default configuration, %s %s", carrier(l.Carrier), strings.ToLower(l.Cipher)))
	return nil
}

// carrier is the API's word in ours.
func carrier(s string) string { return strings.ToLower(strings.TrimPrefix(s, "CARRIER_")) }
