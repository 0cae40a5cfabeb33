package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/stage"
)

// startOurs is one hop: the Proxy with a port on one host, and a node with a port on the other. The rules are the Proxy's.
func startOurs(flags ...string) func(context.Context, *stage.Stage, Programs, int) (*Running, error) {
	return func(ctx context.Context, s *stage.Stage, p Programs, nr int) (*Running, error) {
		r, _, err := OneHop(ctx, s, p, nr, flags...)
		return r, err
	}
}

// OneHop is the Proxy on host A and a node on host B, each with a TAP: tap(nr, "a") and tap(nr, "b").
func OneHop(ctx context.Context, s *stage.Stage, p Programs, nr int, flags ...string) (*Running, *Overlay, error) {
	a, b := guests(nr)
	o := NewOverlay(s, p, nr, flags...)
	r := &Running{Between: between(s, a, b)}
	if err := o.Proxy(ctx, HostA, "--tap", TAP(nr, HostA)); err != nil {
		return nil, nil, err
	}
	if err := o.Host(ctx, HostB, underlayA, "--tap", TAP(nr, HostB)); err != nil {
		return nil, nil, err
	}
	r.Daemons = o.Daemons
	if err := r.address(ctx, TAP(nr, HostA), TAP(nr, HostB), a, b); err != nil {
		return nil, nil, err
	}
	var err error
	r.What, err = o.describe(ctx, HostB)
	return r, o, err
}

// startTrusted is one hop whose link both ends are told to trust: no cipher, authenticated headers, checksums.
func startTrusted(ctx context.Context, s *stage.Stage, p Programs, nr int) (*Running, error) {
	r, o, err := OneHop(ctx, s, p, nr)
	if err != nil {
		return nil, err
	}
	for _, side := range [][2]string{{HostA, HostB}, {HostB, HostA}} {
		if _, err := o.Vnet(ctx, side[0], "link", "cipher", side[1], "trusted"); err != nil {
			return nil, err
		}
	}
	err = stage.Await(ctx, startTime, func() (err error) {
		if r.What, err = o.describe(ctx, HostB); err == nil && !strings.Contains(strings.ToLower(r.What), "trusted") {
			err = fmt.Errorf("cannot make the link trusted: it is %s", r.What)
		}
		return err
	})
	return r, err
}

// TAP is the name of the interface of our overlay nr on a host.
func TAP(nr int, host string) string { return fmt.Sprintf("vm%d%s", nr, host) }

// startTwoHops is two nodes with a port each, and the Proxy on a third host between them: both links are encrypted.
func startTwoHops(ctx context.Context, s *stage.Stage, p Programs, nr int) (*Running, error) {
	a, b := guests(nr)
	o := NewOverlay(s, p, nr)
	r := &Running{Between: between(s, a, b)}
	if err := s.Add(ctx, HostP); err != nil {
		return nil, err
	}
	for i, host := range []string{HostA, HostB} {
		near := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(i + 1), 1}), 24)
		far := netip.PrefixFrom(proxyFor(i), 24)
		if err := s.Wire(ctx, stage.Tip{In: host, Name: "proxy0", Address: near}, stage.Tip{In: HostP, Name: "to-" + host, Address: far}, underlayMTU); err != nil {
			return nil, err
		}
	}
	if err := o.Proxy(ctx, HostP, "--adapt", "observe"); err != nil { // it would open a direct link, which is its purpose
		return nil, err
	}
	for i, host := range []string{HostA, HostB} {
		if err := o.Host(ctx, host, proxyFor(i).String(), "--tap", TAP(nr, host)); err != nil {
			return nil, err
		}
	}
	r.Daemons = o.Daemons
	if err := r.address(ctx, TAP(nr, HostA), TAP(nr, HostB), a, b); err != nil {
		return nil, err
	}
	what, err := o.describe(ctx, HostB)
	r.What = what + ", through the Proxy on a third host"
	return r, err
}

// proxyFor is the Proxy's address on its wire to host i.
func proxyFor(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, byte(i + 1), 2}) }

// describe is what a daemon itself says of its only link.
func (o *Overlay) describe(ctx context.Context, host string) (string, error) {
	text, err := o.Vnet(ctx, host, "links", "-o", "json")
	if err != nil {
		return "", err
	}
	var list struct {
		Links []struct{ Name, Carrier, Cipher string }
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list.Links) != 1 {
		return "", fmt.Errorf("cannot see one link of %s: %w: %s", host, err, text)
	}
	l := list.Links[0]
	carrier := strings.ToLower(strings.TrimPrefix(l.Carrier, "CARRIER_"))
	return strings.TrimSpace(fmt.Sprintf("vnet of this tree, default configuration, %s, %s", carrier, l.Cipher)), nil
}
