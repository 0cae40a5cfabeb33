// Package peers is what the data path is compared with, and the data path itself: how each is set up between two hosts.
//
// It measures nothing. Every peer runs with the configuration that its own documentation gives.
package peers

import (
	"context"
	"net/netip"
	"time"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/gauge"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/stage"
)

// The hosts are two namespaces joined by a veth, the underlay; HostP is the third, where the Proxy is for two hops.
const (
	HostA = "a"
	HostB = "b"
	HostP = "p"
)

const (
	underlayA = "10.9.0.1"
	underlayB = "10.9.0.2"
	// underlayMTU is Ethernet's.
	underlayMTU = 1500
)

// Kind says what a peer may be compared with.
type Kind int

const (
	Kernel    Kind = iota // no user space in the path
	Userspace             // an encrypted user-space overlay of somebody else
	Ours
)

// Peer is one thing to compare.
type Peer struct {
	Name string
	Kind Kind
	// Programs are what it needs: on the path, or built by [Programs].
	Needs []string
	// Start sets it up; nr is a number of its own, for addresses and names.
	Start func(ctx context.Context, s *stage.Stage, p Programs, nr int) (*Running, error)
}

// Running is a peer that is set up.
type Running struct {
	gauge.Between
	What    string           // version and configuration, in words
	Daemons []*stage.Program // none for the kernel's own
	Used    time.Time        // when something was last measured of it
}

// PIDs are its processes.
func (r *Running) PIDs() (pids []int) {
	for _, d := range r.Daemons {
		pids = append(pids, d.PID())
	}
	return pids
}

// All are the peers in the order of the table.
func All() []Peer {
	return []Peer{
		{Name: "veth", Kind: Kernel, Start: startVeth},
		{Name: "vxlan", Kind: Kernel, Start: startVXLAN},
		{Name: "tinc", Kind: Userspace, Needs: []string{"tincd"}, Start: startTinc},
		{Name: "wireguard-go", Kind: Userspace, Needs: []string{WireGuard}, Start: startWireGuard(WireGuard)},
		{Name: "tailscale-wireguard-go", Kind: Userspace, Needs: []string{Tailscale}, Start: startWireGuard(Tailscale)},
		{Name: "ours-udp", Kind: Ours, Needs: []string{Vnet}, Start: startOurs()},
		{Name: "ours-tcp", Kind: Ours, Needs: []string{Vnet}, Start: startOurs("--carrier", "tcp")},
		{Name: "ours-trusted", Kind: Ours, Needs: []string{Vnet}, Start: startTrusted},
		{Name: "ours-two-hops", Kind: Ours, Needs: []string{Vnet}, Start: startTwoHops},
	}
}

// Underlay makes the hosts and the wire between them.
func Underlay(ctx context.Context, s *stage.Stage) error {
	for _, host := range []string{HostA, HostB} {
		if err := s.Add(ctx, host); err != nil {
			return err
		}
	}
	return s.Wire(ctx,
		stage.Tip{In: HostA, Name: "under0", Address: netip.MustParsePrefix(underlayA + "/24")},
		stage.Tip{In: HostB, Name: "under0", Address: netip.MustParsePrefix(underlayB + "/24")}, underlayMTU)
}

// guests are the addresses of a peer's two guests.
func guests(nr int) (a, b netip.Prefix) {
	at := func(last byte) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 80, byte(nr), last}), 24)
	}
	return at(1), at(2)
}

// between are guests whose interfaces are those of the hosts themselves.
func between(s *stage.Stage, a, b netip.Prefix) gauge.Between {
	return gauge.Between{Stage: s, A: HostA, B: HostB, AddrA: a.Addr(), AddrB: b.Addr()}
}
