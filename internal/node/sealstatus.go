package node

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// describe tells of the hosts with which frames are sealed.
func (z *seals) describe(out *vnetv1.Status) {
	out.SealedOnly = z.s.n.cfg.Sealed
	for _, name := range slices.Sorted(maps.Keys(z.peers)) {
		p := z.peers[name]
		one := &vnetv1.SealedPeer{Name: string(name), Ready: p.tx != nil && len(p.rx) > 0, Why: p.why}
		if p.tx != nil {
			one.Since, one.Key, one.FramesSealed = timestamppb.New(p.tx.Born), p.tx.Peer.Key.String(), p.tx.Frames()
		}
		for _, r := range p.rx {
			one.FramesOpened += r.Opened()
			one.FramesRefused += r.Refused()
		}
		if !one.Ready && one.Why == "" {
			one.Why = "no key from " + string(name) + " yet"
		}
		if p.why != "" {
			out.Warnings = append(out.Warnings, fmt.Sprintf("frames for %s are not sealed anew: %s", name, p.why))
		}
		out.Sealed = append(out.Sealed, one)
	}
}

// SetSeal asks the Proxy, which knows all hosts.
func (s Service) SetSeal(ctx context.Context, req *vnetv1.SetSealRequest) (*vnetv1.SetSealResponse, error) {
	req.Node = ""
	return relay[vnetv1.SetSealResponse](ctx, s.Node, s.proxyName(), "SetSeal", req)
}
