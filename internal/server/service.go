package server

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// service answers as the handler connect generates: each call is either this daemon's or forwarded.
type service struct{ d Daemon }

// request is any request of the service: all of them name the node that is to answer.
type request interface {
	proto.Message
	GetNode() string
}

// response is a pointer to the struct R that is a message.
type response[R any] interface {
	*R
	proto.Message
}

// route calls local, or the same method at the node the request names.
func route[Q request, R any, P response[R]](ctx context.Context, s service, method string, req Q, local func(context.Context, Q) (P, error)) (P, error) {
	resp, err := forwardOr(ctx, s, method, req, local)
	if err != nil {
		return nil, api.AsError(err).Connect()
	}
	return resp, nil
}

func forwardOr[Q request, R any, P response[R]](ctx context.Context, s service, method string, req Q, local func(context.Context, Q) (P, error)) (P, error) {
	node := req.GetNode()
	if node == "" || node == s.d.Name() {
		return local(ctx, req)
	}
	body, err := proto.Marshal(req)
	if err != nil {
		return nil, api.Errorf(connect.CodeInternal, "cannot encode the request for node %s: %v", node, err)
	}
	body, err = s.d.Forward(ctx, node, method, body)
	if err != nil {
		return nil, err
	}
	resp := P(new(R))
	if err := proto.Unmarshal(body, resp); err != nil {
		return nil, api.Errorf(connect.CodeInternal, "cannot decode the answer of node %s: %v", node, err)
	}
	return resp, nil
}

// WatchEvents streams this daemon's events; a stream is not forwarded.
func (s service) WatchEvents(ctx context.Context, req *api.WatchEventsRequest, stream *connect.ServerStream[api.WatchEventsResponse]) error {
	if node := req.GetNode(); node != "" && node != s.d.Name() {
		return api.Errorf(connect.CodeUnimplemented, "cannot watch the events of node %s from %s", node, s.d.Name()).
			WithHint("ask the daemon of %s itself, or the Proxy, which sees the events of all nodes", node).Connect()
	}
	if err := s.d.WatchEvents(ctx, req, stream.Send); err != nil && ctx.Err() == nil {
		return api.AsError(err).Connect()
	}
	return nil
}

// RecordTraffic streams a recording; a stream is not forwarded.
func (s service) RecordTraffic(ctx context.Context, req *api.RecordTrafficRequest, stream *connect.ServerStream[api.RecordTrafficResponse]) error {
	if node := req.GetNode(); node != "" && node != s.d.Name() {
		return api.Errorf(connect.CodeUnimplemented, "cannot record the traffic of node %s from %s", node, s.d.Name()).
			WithHint("ask the Proxy itself: it hears of all traffic").Connect()
	}
	if err := s.d.RecordTraffic(ctx, req, stream.Send); err != nil && ctx.Err() == nil {
		return api.AsError(err).Connect()
	}
	return nil
}

func (s service) SetInference(ctx context.Context, req *api.SetInferenceRequest) (*api.SetInferenceResponse, error) {
	return route(ctx, s, "SetInference", req, s.d.SetInference)
}

func (s service) GetStatus(ctx context.Context, req *api.GetStatusRequest) (*api.GetStatusResponse, error) {
	return route(ctx, s, "GetStatus", req, s.d.GetStatus)
}

func (s service) ListNodes(ctx context.Context, req *api.ListNodesRequest) (*api.ListNodesResponse, error) {
	return route(ctx, s, "ListNodes", req, s.d.ListNodes)
}

func (s service) ListPorts(ctx context.Context, req *api.ListPortsRequest) (*api.ListPortsResponse, error) {
	return route(ctx, s, "ListPorts", req, s.d.ListPorts)
}

func (s service) ListInterfaces(ctx context.Context, req *api.ListInterfacesRequest) (*api.ListInterfacesResponse, error) {
	return route(ctx, s, "ListInterfaces", req, s.d.ListInterfaces)
}

func (s service) ListLinks(ctx context.Context, req *api.ListLinksRequest) (*api.ListLinksResponse, error) {
	return route(ctx, s, "ListLinks", req, s.d.ListLinks)
}

func (s service) AddLink(ctx context.Context, req *api.AddLinkRequest) (*api.AddLinkResponse, error) {
	if err := mayUnseal(ctx, trusting(req)); err != nil {
		return nil, err
	}
	return route(ctx, s, "AddLink", req, s.d.AddLink)
}

func (s service) DeleteLink(ctx context.Context, req *api.DeleteLinkRequest) (*api.DeleteLinkResponse, error) {
	return route(ctx, s, "DeleteLink", req, s.d.DeleteLink)
}

func (s service) RekeyLink(ctx context.Context, req *api.RekeyLinkRequest) (*api.RekeyLinkResponse, error) {
	return route(ctx, s, "RekeyLink", req, s.d.RekeyLink)
}

func (s service) SetOffload(ctx context.Context, req *api.SetOffloadRequest) (*api.SetOffloadResponse, error) {
	return route(ctx, s, "SetOffload", req, s.d.SetOffload)
}

func (s service) SetLinkCarrier(ctx context.Context, req *api.SetLinkCarrierRequest) (*api.SetLinkCarrierResponse, error) {
	return route(ctx, s, "SetLinkCarrier", req, s.d.SetLinkCarrier)
}

func (s service) SetLinkCipher(ctx context.Context, req *api.SetLinkCipherRequest) (*api.SetLinkCipherResponse, error) {
	return route(ctx, s, "SetLinkCipher", req, s.d.SetLinkCipher)
}

func (s service) SetLinkPorts(ctx context.Context, req *api.SetLinkPortsRequest) (*api.SetLinkPortsResponse, error) {
	return route(ctx, s, "SetLinkPorts", req, s.d.SetLinkPorts)
}

func (s service) SetPortLimit(ctx context.Context, req *api.SetPortLimitRequest) (*api.SetPortLimitResponse, error) {
	return route(ctx, s, "SetPortLimit", req, s.d.SetPortLimit)
}

func (s service) ListRules(ctx context.Context, req *api.ListRulesRequest) (*api.ListRulesResponse, error) {
	return route(ctx, s, "ListRules", req, s.d.ListRules)
}

func (s service) AddRule(ctx context.Context, req *api.AddRuleRequest) (*api.AddRuleResponse, error) {
	return route(ctx, s, "AddRule", req, s.d.AddRule)
}

func (s service) DeleteRule(ctx context.Context, req *api.DeleteRuleRequest) (*api.DeleteRuleResponse, error) {
	return route(ctx, s, "DeleteRule", req, s.d.DeleteRule)
}

func (s service) ApplyChange(ctx context.Context, req *api.ApplyChangeRequest) (*api.ApplyChangeResponse, error) {
	if err := mayUnseal(ctx, trusting(req.GetAddLinks()...)); err != nil {
		return nil, err
	}
	return route(ctx, s, "ApplyChange", req, s.d.ApplyChange)
}

func (s service) GetBound(ctx context.Context, req *api.GetBoundRequest) (*api.GetBoundResponse, error) {
	return route(ctx, s, "GetBound", req, s.d.GetBound)
}

func (s service) SetBound(ctx context.Context, req *api.SetBoundRequest) (*api.SetBoundResponse, error) {
	return route(ctx, s, "SetBound", req, s.d.SetBound)
}

func (s service) CreateToken(ctx context.Context, req *api.CreateTokenRequest) (*api.CreateTokenResponse, error) {
	return route(ctx, s, "CreateToken", req, s.d.CreateToken)
}

func (s service) GetApp(ctx context.Context, req *api.GetAppRequest) (*api.GetAppResponse, error) {
	return route(ctx, s, "GetApp", req, s.d.GetApp)
}

func (s service) GetTraffic(ctx context.Context, req *api.GetTrafficRequest) (*api.GetTrafficResponse, error) {
	return route(ctx, s, "GetTraffic", req, s.d.GetTraffic)
}

func (s service) GetAdaptation(ctx context.Context, req *api.GetAdaptationRequest) (*api.GetAdaptationResponse, error) {
	return route(ctx, s, "GetAdaptation", req, s.d.GetAdaptation)
}

func (s service) SetAdaptation(ctx context.Context, req *api.SetAdaptationRequest) (*api.SetAdaptationResponse, error) {
	return route(ctx, s, "SetAdaptation", req, s.d.SetAdaptation)
}

func (s service) GetCounters(ctx context.Context, req *api.GetCountersRequest) (*api.GetCountersResponse, error) {
	return route(ctx, s, "GetCounters", req, s.d.GetCounters)
}

func (s service) GetOverlay(ctx context.Context, req *api.GetOverlayRequest) (*api.GetOverlayResponse, error) {
	return route(ctx, s, "GetOverlay", req, s.d.GetOverlay)
}

func (s service) ApplyOverlay(ctx context.Context, req *api.ApplyOverlayRequest) (*api.ApplyOverlayResponse, error) {
	req, err := s.keepsSeals(ctx, req)
	if err != nil {
		return nil, err
	}
	return route(ctx, s, "ApplyOverlay", req, s.d.ApplyOverlay)
}

func (s service) Trace(ctx context.Context, req *api.TraceRequest) (*api.TraceResponse, error) {
	return route(ctx, s, "Trace", req, s.d.Trace)
}
