package server

import (
	"context"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// Daemon is the node that answers. Its methods are called from many goroutines at once, only for requests that are meant
// for this node (Request.Node is empty or its name), and must return soon after ctx is done.
//
// Errors are *api.Error with the codes vnet.proto names; any other error reaches the client as code unknown.
type Daemon interface {
	// Name is the node's own name; it does not change.
	Name() string
	// Forward has another node answer: it carries the body there, calls Dispatch, and brings back what that returned, the
	// error as *api.Error. A node that does not exist is not_found, one that cannot be reached unavailable.
	Forward(ctx context.Context, node, method string, body []byte) ([]byte, error)

	// What the daemon is and has.
	GetStatus(context.Context, *api.GetStatusRequest) (*api.GetStatusResponse, error)
	ListNodes(context.Context, *api.ListNodesRequest) (*api.ListNodesResponse, error)
	ListPorts(context.Context, *api.ListPortsRequest) (*api.ListPortsResponse, error)
	ListInterfaces(context.Context, *api.ListInterfacesRequest) (*api.ListInterfacesResponse, error)
	SetOffload(context.Context, *api.SetOffloadRequest) (*api.SetOffloadResponse, error)

	// Links.
	ListLinks(context.Context, *api.ListLinksRequest) (*api.ListLinksResponse, error)
	AddLink(context.Context, *api.AddLinkRequest) (*api.AddLinkResponse, error)
	DeleteLink(context.Context, *api.DeleteLinkRequest) (*api.DeleteLinkResponse, error)
	RekeyLink(context.Context, *api.RekeyLinkRequest) (*api.RekeyLinkResponse, error)
	SetLinkCarrier(context.Context, *api.SetLinkCarrierRequest) (*api.SetLinkCarrierResponse, error)
	SetLinkCipher(context.Context, *api.SetLinkCipherRequest) (*api.SetLinkCipherResponse, error)
	SetLinkPorts(context.Context, *api.SetLinkPortsRequest) (*api.SetLinkPortsResponse, error)

	SetSeal(context.Context, *api.SetSealRequest) (*api.SetSealResponse, error)
	// Ports.
	SetPortLimit(context.Context, *api.SetPortLimitRequest) (*api.SetPortLimitResponse, error)

	// Rules.
	ListRules(context.Context, *api.ListRulesRequest) (*api.ListRulesResponse, error)
	AddRule(context.Context, *api.AddRuleRequest) (*api.AddRuleResponse, error)
	DeleteRule(context.Context, *api.DeleteRuleRequest) (*api.DeleteRuleResponse, error)

	// Many links and rules as one change.
	ApplyChange(context.Context, *api.ApplyChangeRequest) (*api.ApplyChangeResponse, error)

	// The overlay as a whole, and the way of a frame through it.
	GetOverlay(context.Context, *api.GetOverlayRequest) (*api.GetOverlayResponse, error)
	ApplyOverlay(context.Context, *api.ApplyOverlayRequest) (*api.ApplyOverlayResponse, error)
	Trace(context.Context, *api.TraceRequest) (*api.TraceResponse, error)

	// The configuration-time bound, and enrolment.
	GetBound(context.Context, *api.GetBoundRequest) (*api.GetBoundResponse, error)
	SetBound(context.Context, *api.SetBoundRequest) (*api.SetBoundResponse, error)
	CreateToken(context.Context, *api.CreateTokenRequest) (*api.CreateTokenResponse, error)
	ListTokens(context.Context, *api.ListTokensRequest) (*api.ListTokensResponse, error)
	RevokeToken(context.Context, *api.RevokeTokenRequest) (*api.RevokeTokenResponse, error)

	// Whom to believe.
	ApproveNode(context.Context, *api.ApproveNodeRequest) (*api.ApproveNodeResponse, error)
	RevokeNode(context.Context, *api.RevokeNodeRequest) (*api.RevokeNodeResponse, error)
	RotateCA(context.Context, *api.RotateCARequest) (*api.RotateCAResponse, error)
	CreateClient(context.Context, *api.CreateClientRequest) (*api.CreateClientResponse, error)
	ListKeys(context.Context, *api.ListKeysRequest) (*api.ListKeysResponse, error)
	ForgetKey(context.Context, *api.ForgetKeyRequest) (*api.ForgetKeyResponse, error)
	Leave(context.Context, *api.LeaveRequest) (*api.LeaveResponse, error)

	// Inference and adaptation.
	GetApp(context.Context, *api.GetAppRequest) (*api.GetAppResponse, error)
	GetTraffic(context.Context, *api.GetTrafficRequest) (*api.GetTrafficResponse, error)
	SetInference(context.Context, *api.SetInferenceRequest) (*api.SetInferenceResponse, error)
	GetAdaptation(context.Context, *api.GetAdaptationRequest) (*api.GetAdaptationResponse, error)
	SetAdaptation(context.Context, *api.SetAdaptationRequest) (*api.SetAdaptationResponse, error)
	AcceptProposal(context.Context, *api.AcceptProposalRequest) (*api.AcceptProposalResponse, error)
	Explain(context.Context, *api.ExplainRequest) (*api.ExplainResponse, error)

	// Programs that steer.
	AcquireLease(context.Context, *api.AcquireLeaseRequest) (*api.AcquireLeaseResponse, error)
	ReleaseLease(context.Context, *api.ReleaseLeaseRequest) (*api.ReleaseLeaseResponse, error)
	ApplyPlan(context.Context, *api.ApplyPlanRequest) (*api.ApplyPlanResponse, error)

	// Counters.
	GetCounters(context.Context, *api.GetCountersRequest) (*api.GetCountersResponse, error)

	// WatchEvents calls send for each event until ctx is done, send fails, or the daemon stops.
	WatchEvents(ctx context.Context, req *api.WatchEventsRequest, send func(*api.WatchEventsResponse) error) error
	// RecordTraffic calls send for each line of a recording until ctx is done, send fails, or the daemon stops.
	RecordTraffic(ctx context.Context, req *api.RecordTrafficRequest, send func(*api.RecordTrafficResponse) error) error
	// GetJournal calls send for each entry of the journal.
	GetJournal(ctx context.Context, req *api.GetJournalRequest, send func(*api.GetJournalResponse) error) error
	// WatchView calls send for each view until ctx is done, send fails, or the daemon stops.
	WatchView(ctx context.Context, req *api.WatchViewRequest, send func(*api.WatchViewResponse) error) error
}
