package node

import (
	"context"
	"maps"

	"connectrpc.com/connect"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// extraPortsWith is from how many ports beside the first the user wants links to a peer to send. Links ask it from goroutines
// of their own.
func (n *Node) extraPortsWith(peer string) int {
	if all := n.extra.Load(); all != nil {
		return (*all)[peer]
	}
	return 0
}

// widen takes down how many ports the user wants with a peer. It holds at once, and after a restart.
func (s *state) widen(peer overlay.Name, count int) {
	if s.n.extraPortsWith(string(peer)) == count {
		return
	}
	all := map[string]int{}
	if have := s.n.extra.Load(); have != nil {
		all = maps.Clone(*have)
	}
	all[string(peer)] = count
	if count == 0 {
		delete(all, string(peer))
	}
	s.n.extra.Store(&all)
	if one, ok := s.byPeer[peer]; ok {
		for _, in := range one.live {
			in.l.SetExtraPorts(count)
		}
	}
	s.save(keyExtra, all)
}

// restoreExtraPorts reads what was taken down before the restart.
func (s *state) restoreExtraPorts() {
	var saved map[string]int
	s.load(keyExtra, &saved)
	all := map[string]int{}
	for name, count := range saved {
		if overlay.ValidName(name) != nil || count < 1 || count > link.MaxExtraPorts {
			s.n.cfg.Log.Warn("cached number of extra ports left out", "peer", name, "number", count)
			continue
		}
		all[name] = count
	}
	s.n.extra.Store(&all)
}

// SetLinkPorts takes down from how many ports this end sends to a peer. The Proxy has both ends do it.
func (n *Node) SetLinkPorts(_ context.Context, req *vnetv1.SetLinkPortsRequest) (*vnetv1.SetLinkPortsResponse, error) {
	peer := overlay.Name(req.GetPeer())
	want, err := link.ExtraPortCount(req.GetExtraPorts())
	if err != nil {
		return nil, vnetv1.Errorf(connect.CodeInvalidArgument, "%v", err)
	}
	if overlay.ValidName(string(peer)) != nil || peer == n.name {
		return nil, vnetv1.Errorf(connect.CodeInvalidArgument, "cannot change the link to %q: give the name of another node", peer)
	}
	n.do(func(s *state) {
		s.widen(peer, want)
		if one, ok := s.byPeer[peer]; ok && one.spec.ExtraPorts != want {
			one.spec.ExtraPorts = want
			s.saveLinks()
		}
	})
	return &vnetv1.SetLinkPortsResponse{Link: n.linkTo(peer)}, nil
}

// SetLinkPorts asks the Proxy to have both ends of a link send from so many ports, unless it is about this end only.
func (s Service) SetLinkPorts(ctx context.Context, req *vnetv1.SetLinkPortsRequest) (*vnetv1.SetLinkPortsResponse, error) {
	if req.GetOneEnd() {
		return s.Node.SetLinkPorts(ctx, req)
	}
	req.Node = s.Name()
	return relay[vnetv1.SetLinkPortsResponse](ctx, s.Node, s.name, "SetLinkPorts", req)
}
