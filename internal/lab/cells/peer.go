package cells

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/program"
)

// tincName is the peer that others use today: tinc in switch mode.
const tincName = "tinc"

// peer is tinc on the hosts of a lab, in switch mode. The application runs on the hosts themselves, at the addresses of tinc's
// interface: one hop through a TAP less than in our VMs.
type peer struct {
	lab   *lab.Lab
	hosts []string // the Proxy first
	procs []*lab.Proc
}

// address of a host on tinc's LAN.
func (p *peer) address(host string) netip.Addr {
	for i, h := range p.hosts {
		if h == host {
			return netip.AddrFrom4([4]byte{10, 81, 0, byte(i + 1)})
		}
	}
	return netip.Addr{}
}

// tincd is where the machine has it.
func tincd() (path string, ok bool) {
	path, err := exec.LookPath("tincd")
	return path, err == nil
}

// startTinc makes keys, tells every host of all others, and has them connect to the Proxy's host: what else they connect is up
// to tinc.
func startTinc(ctx context.Context, l *lab.Lab, program string) (*peer, error) {
	p := &peer{lab: l, hosts: []string{l.Spec().Overlay.Proxy}}
	for _, vm := range l.Spec().VMs {
		p.hosts = append(p.hosts, vm.Host)
	}
	cards := make([]string, len(p.hosts))
	for i, h := range p.hosts {
		card, err := l.Output(ctx, h, "sh", "-c", fmt.Sprintf(tincKeys, h, l.Address(h), p.hosts[0], program))
		if err != nil {
			return nil, fmt.Errorf("cannot make tinc's key on %s: %w", h, err)
		}
		_, cards[i], _ = strings.Cut(card, "CARD\n")
	}
	for _, h := range p.hosts {
		script := ""
		for j, other := range p.hosts {
			script += fmt.Sprintf("cat > /tmp/tinc/hosts/%s <<'END'\n%s\nEND\n", other, strings.TrimSpace(cards[j]))
		}
		script += fmt.Sprintf("printf '#!/bin/sh\\nip addr add %s/16 dev $INTERFACE\\nip link set $INTERFACE mtu 1500 up\\n' > /tmp/tinc/tinc-up; chmod +x /tmp/tinc/tinc-up", p.address(h))
		if _, err := l.Output(ctx, h, "sh", "-c", script); err != nil {
			return nil, fmt.Errorf("cannot configure tinc on %s: %w", h, err)
		}
		var said bytes.Buffer
		proc, err := l.Command(h, []string{program, "-c", "/tmp/tinc", "--pidfile=/tmp/tinc/pid", "-D"}, lab.CmdOptions{Stderr: &said})
		if err != nil {
			return nil, fmt.Errorf("cannot start tinc on %s: %w", h, err)
		}
		p.procs = append(p.procs, proc)
	}
	return p, p.await(ctx)
}

// tincKeys are the configuration and keys of one host; it ends with its card for the others.
const tincKeys = `set -e
mkdir -p /tmp/tinc/hosts
cat > /tmp/tinc/tinc.conf <<END
Name = %[1]s
Mode = switch
AddressFamily = ipv4
Interface = tinc0
END
[ %[1]s = %[3]s ] || echo ConnectTo = %[3]s >> /tmp/tinc/tinc.conf
echo Address = %[2]s > /tmp/tinc/hosts/%[1]s
%[4]s -c /tmp/tinc -K2048 < /dev/null > /dev/null 2>&1
echo CARD
cat /tmp/tinc/hosts/%[1]s`

// await waits until every host reaches every other.
func (p *peer) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, program.Patience)
	defer cancel()
	for _, from := range p.hosts[1:] {
		for _, to := range p.hosts[1:] {
			for {
				_, err := p.lab.Output(ctx, from, "ping", "-c", "1", "-W", "1", p.address(to).String())
				if err == nil {
					break
				}
				if ctx.Err() != nil {
					return fmt.Errorf("tinc does not reach %s from %s: %w", to, from, err)
				}
				time.Sleep(200 * time.Millisecond)
			}
		}
	}
	return nil
}
