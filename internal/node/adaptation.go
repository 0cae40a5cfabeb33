package node

import (
	"context"

	"connectrpc.com/connect"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// GetAdaptation asks the Proxy.
func (s Service) GetAdaptation(ctx context.Context, req *vnetv1.GetAdaptationRequest) (*vnetv1.GetAdaptationResponse, error) {
	req.Node = ""
	return relay[vnetv1.GetAdaptationResponse](ctx, s.Node, s.proxyName(), "GetAdaptation", req)
}

// SetAdaptation asks the Proxy.
func (s Service) SetAdaptation(ctx context.Context, req *vnetv1.SetAdaptationRequest) (*vnetv1.SetAdaptationResponse, error) {
	req.Node = ""
	return relay[vnetv1.SetAdaptationResponse](ctx, s.Node, s.proxyName(), "SetAdaptation", req)
}

// AcceptProposal asks the Proxy.
func (s Service) AcceptProposal(ctx context.Context, req *vnetv1.AcceptProposalRequest) (*vnetv1.AcceptProposalResponse, error) {
	req.Node = ""
	return relay[vnetv1.AcceptProposalResponse](ctx, s.Node, s.proxyName(), "AcceptProposal", req)
}

// Explain asks the Proxy.
func (s Service) Explain(ctx context.Context, req *vnetv1.ExplainRequest) (*vnetv1.ExplainResponse, error) {
	req.Node = ""
	return relay[vnetv1.ExplainResponse](ctx, s.Node, s.proxyName(), "Explain", req)
}

// AcquireLease asks the Proxy.
func (s Service) AcquireLease(ctx context.Context, req *vnetv1.AcquireLeaseRequest) (*vnetv1.AcquireLeaseResponse, error) {
	req.Node = ""
	return relay[vnetv1.AcquireLeaseResponse](ctx, s.Node, s.proxyName(), "AcquireLease", req)
}

// ReleaseLease asks the Proxy.
func (s Service) ReleaseLease(ctx context.Context, req *vnetv1.ReleaseLeaseRequest) (*vnetv1.ReleaseLeaseResponse, error) {
	req.Node = ""
	return relay[vnetv1.ReleaseLeaseResponse](ctx, s.Node, s.proxyName(), "ReleaseLease", req)
}

// ApplyPlan asks the Proxy.
func (s Service) ApplyPlan(ctx context.Context, req *vnetv1.ApplyPlanRequest) (*vnetv1.ApplyPlanResponse, error) {
	req.Node = ""
	return relay[vnetv1.ApplyPlanResponse](ctx, s.Node, s.proxyName(), "ApplyPlan", req)
}

// GetJournal is refused: only the Proxy has it.
func (s Service) GetJournal(context.Context, *vnetv1.GetJournalRequest, func(*vnetv1.GetJournalResponse) error) error {
	return s.atTheProxy("show the journal of adaptation")
}

// WatchView is refused: only the Proxy sees the whole.
func (s Service) WatchView(context.Context, *vnetv1.WatchViewRequest, func(*vnetv1.WatchViewResponse) error) error {
	return s.atTheProxy("watch the overlay")
}

func (s Service) atTheProxy(what string) error {
	return vnetv1.Errorf(connect.CodeFailedPrecondition, "cannot %s here: this is a host", what).
		WithHint("ask on the machine of the Proxy %s", s.proxyName())
}
