package server

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// Dispatch answers a unary call that came over another carrier than the socket: method is its bare name ("ListLinks"),
// body the request in protobuf, the result the response in protobuf. Errors are *api.Error. A request that names another
// node is refused, not forwarded again, so that a call cannot circle.
func Dispatch(ctx context.Context, d Daemon, method string, body []byte) ([]byte, error) {
	answer, err := dispatch(ctx, d, method, body)
	if err != nil {
		return nil, api.AsError(err)
	}
	return answer, nil
}

func dispatch(ctx context.Context, d Daemon, method string, body []byte) ([]byte, error) {
	switch method {
	case "GetStatus":
		return unary(ctx, d, body, d.GetStatus)
	case "ListNodes":
		return unary(ctx, d, body, d.ListNodes)
	case "ListPorts":
		return unary(ctx, d, body, d.ListPorts)
	case "ListInterfaces":
		return unary(ctx, d, body, d.ListInterfaces)
	case "SetOffload":
		return unary(ctx, d, body, d.SetOffload)
	case "ListLinks":
		return unary(ctx, d, body, d.ListLinks)
	case "AddLink":
		return unary(ctx, d, body, d.AddLink)
	case "DeleteLink":
		return unary(ctx, d, body, d.DeleteLink)
	case "RekeyLink":
		return unary(ctx, d, body, d.RekeyLink)
	case "SetLinkCarrier":
		return unary(ctx, d, body, d.SetLinkCarrier)
	case "SetLinkCipher":
		return unary(ctx, d, body, d.SetLinkCipher)
	case "SetLinkPorts":
		return unary(ctx, d, body, d.SetLinkPorts)
	case "SetPortLimit":
		return unary(ctx, d, body, d.SetPortLimit)
	case "ListRules":
		return unary(ctx, d, body, d.ListRules)
	case "AddRule":
		return unary(ctx, d, body, d.AddRule)
	case "DeleteRule":
		return unary(ctx, d, body, d.DeleteRule)
	case "ApplyChange":
		return unary(ctx, d, body, d.ApplyChange)
	case "GetOverlay":
		return unary(ctx, d, body, d.GetOverlay)
	case "ApplyOverlay":
		return unary(ctx, d, body, d.ApplyOverlay)
	case "Trace":
		return unary(ctx, d, body, d.Trace)
	case "GetBound":
		return unary(ctx, d, body, d.GetBound)
	case "SetBound":
		return unary(ctx, d, body, d.SetBound)
	case "CreateToken":
		return unary(ctx, d, body, d.CreateToken)
	case "GetApp":
		return unary(ctx, d, body, d.GetApp)
	case "GetTraffic":
		return unary(ctx, d, body, d.GetTraffic)
	case "SetInference":
		return unary(ctx, d, body, d.SetInference)
	case "GetAdaptation":
		return unary(ctx, d, body, d.GetAdaptation)
	case "SetAdaptation":
		return unary(ctx, d, body, d.SetAdaptation)
	case "AcceptProposal":
		return unary(ctx, d, body, d.AcceptProposal)
	case "Explain":
		return unary(ctx, d, body, d.Explain)
	case "AcquireLease":
		return unary(ctx, d, body, d.AcquireLease)
	case "ReleaseLease":
		return unary(ctx, d, body, d.ReleaseLease)
	case "ApplyPlan":
		return unary(ctx, d, body, d.ApplyPlan)
	case "GetCounters":
		return unary(ctx, d, body, d.GetCounters)
	}
	return dispatchTrust(ctx, d, method, body)
}

// unary decodes a request, makes the call and encodes the response.
func unary[Q any, P interface {
	*Q
	request
}, R proto.Message](ctx context.Context, d Daemon, body []byte, call func(context.Context, P) (R, error)) ([]byte, error) {
	req := P(new(Q))
	if err := proto.Unmarshal(body, req); err != nil {
		return nil, api.Errorf(connect.CodeInvalidArgument, "cannot decode the request: %v", err)
	}
	if node := req.GetNode(); node != "" && node != d.Name() {
		return nil, api.Errorf(connect.CodeUnavailable, "cannot answer for node %s: the call ended at %s", node, d.Name())
	}
	resp, err := call(ctx, req)
	if err != nil {
		return nil, err
	}
	answer, err := proto.Marshal(resp)
	if err != nil {
		return nil, api.Errorf(connect.CodeInternal, "cannot encode the answer: %v", err)
	}
	return answer, nil
}
