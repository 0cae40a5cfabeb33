package node

import (
	"context"
	"maps"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// MethodLeave tells the Proxy that the node which asks leaves the overlay.
const MethodLeave = "LeaveOverlay"

// ListKeys lists the node's own key and those it has seen, for people to compare.
func (n *Node) ListKeys(context.Context, *vnetv1.ListKeysRequest) (*vnetv1.ListKeysResponse, error) {
	id := n.Identity()
	out := &vnetv1.ListKeysResponse{Ca: n.trust.Signer().String(), Keys: []*vnetv1.NodeKey{{
		Node: id.Name, Key: id.Key().String(), How: "own", Expires: timestamppb.New(id.Expires()),
	}}}
	pins := n.trust.Pins()
	for _, name := range slices.Sorted(maps.Keys(pins)) {
		out.Keys = append(out.Keys, &vnetv1.NodeKey{Node: name, Key: pins[name].String(), How: "seen"})
	}
	for _, r := range n.trust.Revoked() {
		out.Revoked = append(out.Revoked, &vnetv1.Revocation{Node: r.Name, Key: r.Key.String(), When: timestamppb.New(r.When)})
	}
	return out, nil
}

// ForgetKey lets the next key seen under a name be the one to remember.
func (n *Node) ForgetKey(_ context.Context, req *vnetv1.ForgetKeyRequest) (*vnetv1.ForgetKeyResponse, error) {
	if !n.trust.Forget(req.GetName()) {
		return nil, vnetv1.Errorf(connect.CodeNotFound, "cannot forget the key of %q: %s has seen none", req.GetName(), n.name).
			WithHint("`vnet nodes fingerprint` lists them")
	}
	return &vnetv1.ForgetKeyResponse{}, nil
}

// Leave has the Proxy put this node out, and ends the daemon once the answer had time to get out.
func (s Service) Leave(ctx context.Context, _ *vnetv1.LeaveRequest) (*vnetv1.LeaveResponse, error) {
	a, err := s.Node.Call(ctx, "", MethodLeave, nil)
	if err != nil {
		return nil, vnetv1.Errorf(connect.CodeUnavailable, "cannot tell the Proxy: %v", err)
	}
	if a.Code != "" {
		return nil, vnetv1.ErrorOf(a.Code, a.Error)
	}
	if s.Node.cfg.Left != nil {
		s.Node.cfg.Left()
	}
	return &vnetv1.LeaveResponse{}, nil
}

// ListTokens is refused: only the Proxy's own machine may.
func (s Service) ListTokens(context.Context, *vnetv1.ListTokensRequest) (*vnetv1.ListTokensResponse, error) {
	return nil, s.onlyProxy("list tokens", "vnet token list")
}

// RevokeToken is refused likewise.
func (s Service) RevokeToken(context.Context, *vnetv1.RevokeTokenRequest) (*vnetv1.RevokeTokenResponse, error) {
	return nil, s.onlyProxy("revoke a token", "vnet token revoke")
}

// ApproveNode is refused likewise.
func (s Service) ApproveNode(context.Context, *vnetv1.ApproveNodeRequest) (*vnetv1.ApproveNodeResponse, error) {
	return nil, s.onlyProxy("approve a node", "vnet nodes approve")
}

// RevokeNode is refused likewise.
func (s Service) RevokeNode(context.Context, *vnetv1.RevokeNodeRequest) (*vnetv1.RevokeNodeResponse, error) {
	return nil, s.onlyProxy("revoke a node", "vnet nodes revoke")
}

// RotateCA is refused likewise.
func (s Service) RotateCA(context.Context, *vnetv1.RotateCARequest) (*vnetv1.RotateCAResponse, error) {
	return nil, s.onlyProxy("replace the certificate authority", "vnet ca rotate")
}

// CreateClient is refused likewise.
func (s Service) CreateClient(context.Context, *vnetv1.CreateClientRequest) (*vnetv1.CreateClientResponse, error) {
	return nil, s.onlyProxy("make a client's certificate", "vnet client create")
}

func (s Service) onlyProxy(what, command string) error {
	return vnetv1.Errorf(connect.CodeFailedPrecondition, "cannot %s here: this is a host", what).
		WithHint("run `%s` on the Proxy %s", command, s.proxyName())
}
