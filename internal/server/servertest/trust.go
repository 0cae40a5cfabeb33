package servertest

import (
	"context"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// key is a fingerprint that nobody has.
func key(letter string) string { return "SHA256:" + strings.Repeat(letter, 42) + "A" }

func (d *Daemon) onlyProxy(what string) error {
	if d.name == "proxy" {
		return nil
	}
	return api.Errorf(connect.CodeFailedPrecondition, "cannot %s at %s: it is a host", what, d.name).WithHint("ask the Proxy")
}

// ListTokens tells of one that lives and one that is used.
func (d *Daemon) ListTokens(context.Context, *api.ListTokensRequest) (*api.ListTokensResponse, error) {
	if err := d.onlyProxy("list tokens"); err != nil {
		return nil, err
	}
	return &api.ListTokensResponse{Tokens: []*api.Token{
		{Id: "0011223344556677", Made: at(0), Expires: at(time.Hour), Name: "host2", Uses: 1, UsedBy: []string{"host2"}},
		{Id: "8899aabbccddeeff", Made: at(time.Minute), Expires: at(time.Hour), Uses: 5, UsedBy: []string{"host1"}, Approve: true, Live: true},
	}}, nil
}

// RevokeToken knows the tokens of ListTokens.
func (d *Daemon) RevokeToken(_ context.Context, req *api.RevokeTokenRequest) (*api.RevokeTokenResponse, error) {
	if err := d.onlyProxy("revoke a token"); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"0011223344556677", "8899aabbccddeeff"}, req.GetId()) {
		return nil, api.Errorf(connect.CodeNotFound, "cannot revoke token %q: there is no such token", req.GetId())
	}
	return &api.RevokeTokenResponse{}, nil
}

// ApproveNode lets host4 in, which waits.
func (d *Daemon) ApproveNode(_ context.Context, req *api.ApproveNodeRequest) (*api.ApproveNodeResponse, error) {
	if err := d.onlyProxy("approve a node"); err != nil {
		return nil, err
	}
	switch {
	case req.GetName() != "host4":
		return nil, api.Errorf(connect.CodeNotFound, "cannot approve %q: no machine of this name has asked to join", req.GetName())
	case req.GetKey() != "" && req.GetKey() != key("d"):
		return nil, api.Errorf(connect.CodeFailedPrecondition, "cannot approve host4: its key is %s, not %s", key("d"), req.GetKey())
	}
	return &api.ApproveNodeResponse{Key: &api.NodeKey{Node: "host4", Key: key("d"), How: "joined", Joined: at(0)}}, nil
}

// RevokeNode has host1 store it, and not host3, which is away.
func (d *Daemon) RevokeNode(_ context.Context, req *api.RevokeNodeRequest) (*api.RevokeNodeResponse, error) {
	if err := d.onlyProxy("revoke a node"); err != nil {
		return nil, err
	}
	if req.GetName() != "host2" {
		return nil, api.Errorf(connect.CodeNotFound, "cannot revoke %q: no node of this name has joined", req.GetName())
	}
	return &api.RevokeNodeResponse{
		Key: key("b"), Stored: []string{"host1"}, NotTold: []*api.NotTold{{Node: "host3", Why: "it is away; it learns when it meets any node"}},
	}, nil
}

// RotateCA begins, or ends, at once.
func (d *Daemon) RotateCA(_ context.Context, req *api.RotateCARequest) (*api.RotateCAResponse, error) {
	if err := d.onlyProxy("replace the certificate authority"); err != nil {
		return nil, err
	}
	out := &api.RotateCAResponse{Ca: key("n"), Stored: []string{"host1", "host2"}}
	if !req.GetFinish() {
		out.OldCa, out.OldEnds = key("o"), at(7*24*time.Hour)
	}
	return out, nil
}

// CreateClient makes nothing real.
func (d *Daemon) CreateClient(_ context.Context, req *api.CreateClientRequest) (*api.CreateClientResponse, error) {
	if err := d.onlyProxy("make a client's certificate"); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"read", "operate", "admin"}, req.GetRole()) {
		return nil, api.Errorf(connect.CodeInvalidArgument, "cannot use role %q: give read, operate or admin", req.GetRole())
	}
	return &api.CreateClientResponse{Identity: "made up\n", Expires: at(90 * 24 * time.Hour), Addresses: []string{"192.0.2.1:4747"}}, nil
}

// ListKeys tells of the node itself and of what it has seen.
func (d *Daemon) ListKeys(context.Context, *api.ListKeysRequest) (*api.ListKeysResponse, error) {
	return &api.ListKeysResponse{
		Ca: key("c"),
		Keys: []*api.NodeKey{
			{Node: d.name, Key: key("a"), How: "own", Expires: at(24 * time.Hour)},
			{Node: "host2", Key: key("b"), How: "seen"},
		},
		Revoked: []*api.Revocation{{Node: "host9", Key: key("z"), When: at(time.Minute)}},
	}, nil
}

// ForgetKey knows host2.
func (d *Daemon) ForgetKey(_ context.Context, req *api.ForgetKeyRequest) (*api.ForgetKeyResponse, error) {
	if req.GetName() != "host2" {
		return nil, api.Errorf(connect.CodeNotFound, "cannot forget the key of %q: %s has seen none", req.GetName(), d.name)
	}
	return &api.ForgetKeyResponse{}, nil
}

// Leave tells of nobody that could not be told.
func (d *Daemon) Leave(context.Context, *api.LeaveRequest) (*api.LeaveResponse, error) {
	return &api.LeaveResponse{}, nil
}
