package server

import (
	"context"

	"connectrpc.com/connect"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// Tokens and trust: who may become a node, and who is believed to be one.

func (s service) ListTokens(ctx context.Context, req *api.ListTokensRequest) (*api.ListTokensResponse, error) {
	return route(ctx, s, "ListTokens", req, s.d.ListTokens)
}

func (s service) RevokeToken(ctx context.Context, req *api.RevokeTokenRequest) (*api.RevokeTokenResponse, error) {
	return route(ctx, s, "RevokeToken", req, s.d.RevokeToken)
}

func (s service) ApproveNode(ctx context.Context, req *api.ApproveNodeRequest) (*api.ApproveNodeResponse, error) {
	return route(ctx, s, "ApproveNode", req, s.d.ApproveNode)
}

func (s service) RevokeNode(ctx context.Context, req *api.RevokeNodeRequest) (*api.RevokeNodeResponse, error) {
	return route(ctx, s, "RevokeNode", req, s.d.RevokeNode)
}

func (s service) RotateCA(ctx context.Context, req *api.RotateCARequest) (*api.RotateCAResponse, error) {
	return route(ctx, s, "RotateCA", req, s.d.RotateCA)
}

func (s service) CreateClient(ctx context.Context, req *api.CreateClientRequest) (*api.CreateClientResponse, error) {
	return route(ctx, s, "CreateClient", req, s.d.CreateClient)
}

func (s service) ListKeys(ctx context.Context, req *api.ListKeysRequest) (*api.ListKeysResponse, error) {
	return route(ctx, s, "ListKeys", req, s.d.ListKeys)
}

func (s service) ForgetKey(ctx context.Context, req *api.ForgetKeyRequest) (*api.ForgetKeyResponse, error) {
	return route(ctx, s, "ForgetKey", req, s.d.ForgetKey)
}

func (s service) Leave(ctx context.Context, req *api.LeaveRequest) (*api.LeaveResponse, error) {
	return route(ctx, s, "Leave", req, s.d.Leave)
}

func (s service) SetSeal(ctx context.Context, req *api.SetSealRequest) (*api.SetSealResponse, error) {
	return route(ctx, s, "SetSeal", req, s.d.SetSeal)
}

// dispatchTrust is dispatch for them.
func dispatchTrust(ctx context.Context, d Daemon, method string, body []byte) ([]byte, error) {
	switch method {
	case "SetSeal":
		return unary(ctx, d, body, d.SetSeal)
	case "ListTokens":
		return unary(ctx, d, body, d.ListTokens)
	case "RevokeToken":
		return unary(ctx, d, body, d.RevokeToken)
	case "ApproveNode":
		return unary(ctx, d, body, d.ApproveNode)
	case "RevokeNode":
		return unary(ctx, d, body, d.RevokeNode)
	case "RotateCA":
		return unary(ctx, d, body, d.RotateCA)
	case "CreateClient":
		return unary(ctx, d, body, d.CreateClient)
	case "ListKeys":
		return unary(ctx, d, body, d.ListKeys)
	case "ForgetKey": // a pin is there because the Proxy may lie
		return nil, api.Errorf(connect.CodePermissionDenied, "cannot have another node forget a key: its own user says that, there").
			WithHint("run it on that machine")
	case "Leave":
		return unary(ctx, d, body, d.Leave)
	}
	return nil, api.Errorf(connect.CodeUnimplemented, "cannot answer %q: node %s knows no such call; is it an older version?", method, d.Name())
}
