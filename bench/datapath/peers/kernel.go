package peers

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/gauge"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/stage"
)

// vxlanMTU is what VXLAN leaves of the underlay's.
const vxlanMTU = underlayMTU - 50

// startVeth measures the underlay itself: the ceiling.
func startVeth(_ context.Context, s *stage.Stage, _ Programs, _ int) (*Running, error) {
	return &Running{
		Between: gauge.Between{Stage: s, A: HostA, B: HostB, AddrA: netip.MustParseAddr(underlayA), AddrB: netip.MustParseAddr(underlayB)},
		What:    "the pair of veth that carries all others, offloads on, no overlay",
	}, nil
}

// startVXLAN is what the user of a bridge gets: a guest behind a veth in a bridge, whose other port is a VXLAN.
func startVXLAN(ctx context.Context, s *stage.Stage, _ Programs, nr int) (*Running, error) {
	a, b := guests(nr)
	for _, side := range []struct {
		host, from, to string
		guest          netip.Prefix
	}{{HostA, underlayA, underlayB, a}, {HostB, underlayB, underlayA, b}} {
		guest := "guest-" + side.host
		if err := s.Add(ctx, guest); err != nil {
			return nil, err
		}
		for _, words := range []string{
			"link add br0 type bridge",
			"link set br0 up",
			fmt.Sprintf("link add vxlan0 mtu %d type vxlan id 42 local %s remote %s dstport 4789", vxlanMTU, side.from, side.to),
			"link set vxlan0 master br0 up",
		} {
			if err := s.IP(ctx, side.host, words); err != nil {
				return nil, err
			}
		}
		if err := s.Wire(ctx, stage.Tip{In: guest, Name: "eth0", Address: side.guest}, stage.Tip{In: side.host, Name: "guest0"}, vxlanMTU); err != nil {
			return nil, err
		}
		if err := s.IP(ctx, side.host, "link set guest0 master br0"); err != nil {
			return nil, err
		}
	}
	between := between(s, a, b)
	between.A, between.B = "guest-"+HostA, "guest-"+HostB
	return &Running{Between: between, What: "kernel VXLAN, no cipher; each guest behind a veth in a Linux bridge"}, nil
}
