package server

import (
	"context"

	"connectrpc.com/connect"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func (s service) AcceptProposal(ctx context.Context, req *api.AcceptProposalRequest) (*api.AcceptProposalResponse, error) {
	return route(ctx, s, "AcceptProposal", req, s.d.AcceptProposal)
}

func (s service) Explain(ctx context.Context, req *api.ExplainRequest) (*api.ExplainResponse, error) {
	return route(ctx, s, "Explain", req, s.d.Explain)
}

func (s service) AcquireLease(ctx context.Context, req *api.AcquireLeaseRequest) (*api.AcquireLeaseResponse, error) {
	return route(ctx, s, "AcquireLease", req, s.d.AcquireLease)
}

func (s service) ReleaseLease(ctx context.Context, req *api.ReleaseLeaseRequest) (*api.ReleaseLeaseResponse, error) {
	return route(ctx, s, "ReleaseLease", req, s.d.ReleaseLease)
}

func (s service) ApplyPlan(ctx context.Context, req *api.ApplyPlanRequest) (*api.ApplyPlanResponse, error) {
	return route(ctx, s, "ApplyPlan", req, s.d.ApplyPlan)
}

// GetJournal streams the journal of adaptation; a stream is not forwarded.
func (s service) GetJournal(ctx context.Context, req *api.GetJournalRequest, stream *connect.ServerStream[api.GetJournalResponse]) error {
	if err := s.own(req); err != nil {
		return err
	}
	if err := s.d.GetJournal(ctx, req, stream.Send); err != nil && ctx.Err() == nil {
		return api.AsError(err).Connect()
	}
	return nil
}

// WatchView streams what a policy sees; a stream is not forwarded.
func (s service) WatchView(ctx context.Context, req *api.WatchViewRequest, stream *connect.ServerStream[api.WatchViewResponse]) error {
	if err := s.own(req); err != nil {
		return err
	}
	if err := s.d.WatchView(ctx, req, stream.Send); err != nil && ctx.Err() == nil {
		return api.AsError(err).Connect()
	}
	return nil
}

// own refuses a stream of another node's.
func (s service) own(req request) error {
	if node := req.GetNode(); node != "" && node != s.d.Name() {
		return api.Errorf(connect.CodeUnimplemented, "cannot stream what node %s sees from %s", node, s.d.Name()).
			WithHint("ask the Proxy itself: it adapts the overlay").Connect()
	}
	return nil
}
