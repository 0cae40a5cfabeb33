package servertest

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func adaptation() *api.Adaptation {
	steps := []*api.Step{{What: "open link host1—host3", Reason: "vm1—vm3 is the heaviest pair: 40 Mbit/s"}, {What: "add exact rules at host1 and host3", Reason: "so that only vm1—vm3 takes it"}}
	return &api.Adaptation{
		Mode: api.AdaptationMode_ADAPTATION_MODE_AUTO, Policy: "fastpath", MaxLinks: 4,
		Links:               []*api.AdaptedLink{{A: "host1", B: "host3", Since: at(3 * time.Second), Reason: "vm1—vm3 is the heaviest pair"}},
		MaxChangesPerMinute: 30, Checked: true, EffectiveBound: durationpb.New(6084 * time.Millisecond),
		NotDone: []*api.Refusal{{A: "vm2", B: "vm4", What: "vm2 and vm4 over host2–host4", Reason: "stronger pairs take the 4 links allowed"}},
		Bars:    []*api.Bar{{A: "vm1", B: "vm2", Link: "host1–host2", Until: at(time.Minute), Why: "slower by 40 %", Count: 1}},
		History: []*api.Change{{
			Proposal: &api.Proposal{Id: 1, Time: at(2 * time.Second), Reason: "ring of 4 VMs", Gain: 0.25, Steps: steps},
			Started:  at(2 * time.Second), Total: durationpb.New(61 * time.Millisecond), Outcome: "committed",
			Stages:  []*api.Stage{{Name: "prepare", Took: durationpb.New(48 * time.Millisecond)}, {Name: "flip", Took: durationpb.New(13 * time.Millisecond)}},
			Effects: []*api.Effect{{Group: "ring of 4", Outcome: "kept", Reason: "faster by 80 %", BeforeBps: 4e7, AfterBps: 7.2e7, P: 0.0002, Time: at(9 * time.Second)}},
		}},
	}
}

// GetAdaptation gives what SetAdaptation left.
func (d *Daemon) GetAdaptation(context.Context, *api.GetAdaptationRequest) (*api.GetAdaptationResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &api.GetAdaptationResponse{Adaptation: proto.CloneOf(d.adapt)}, nil
}

// SetAdaptation changes mode and limit.
func (d *Daemon) SetAdaptation(_ context.Context, req *api.SetAdaptationRequest) (*api.SetAdaptationResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if req.GetMode() != api.AdaptationMode_ADAPTATION_MODE_UNSPECIFIED {
		d.adapt.Mode = req.GetMode()
	}
	if req.MaxLinks != nil {
		d.adapt.MaxLinks = req.GetMaxLinks()
	}
	if req.MaxPerNode != nil {
		d.adapt.MaxPerNode = req.GetMaxPerNode()
	}
	if req.Policy != nil {
		d.adapt.Policy = req.GetPolicy()
	}
	if pause := req.GetPause(); pause != nil {
		d.adapt.PausedUntil = at(pause.AsDuration())
		if pause.AsDuration() == 0 {
			d.adapt.PausedUntil = nil
		}
	}
	return &api.SetAdaptationResponse{Adaptation: proto.CloneOf(d.adapt)}, nil
}

// AcceptProposal knows of no proposal but 7.
func (d *Daemon) AcceptProposal(_ context.Context, req *api.AcceptProposalRequest) (*api.AcceptProposalResponse, error) {
	if req.GetId() != 7 {
		return nil, api.Errorf(connect.CodeFailedPrecondition, "cannot accept proposal %d: there is none now", req.GetId())
	}
	return &api.AcceptProposalResponse{Took: durationpb.New(52 * time.Millisecond)}, nil
}

// Explain gives the reason of the one fast path.
func (d *Daemon) Explain(_ context.Context, req *api.ExplainRequest) (*api.ExplainResponse, error) {
	if req.GetA() != "vm1" || req.GetB() != "vm3" {
		return nil, api.Errorf(connect.CodeNotFound, "cannot find VM %q", req.GetB())
	}
	return &api.ExplainResponse{Explanation: &api.Explanation{
		A: "vm1", B: "vm3", AMac: "02:00:00:00:00:01", BMac: "02:00:00:00:00:03", Nodes: []string{"host1", "host3"}, Way: "direct over host1–host3",
		Rule: "from port:vm1 src 02:00:00:00:00:01 dst 02:00:00:00:00:03 to link:host3", RuleId: 12, Origin: "adapted",
		Reason: "5.0 MB/s of a ring of 4 (change 1 by fastpath)", Since: at(3 * time.Second), RateBps: 4e7, SavedBytes: 250_000_000,
		SavedTime:    durationpb.New(40 * time.Second),
		Effect:       &api.Effect{Group: "ring of 4", Outcome: "kept", Reason: "faster by 80 %", BeforeBps: 4e7, AfterBps: 7.2e7, P: 0.0002},
		Alternatives: []*api.Refusal{{A: "vm1", B: "vm3", What: "through the Proxy", Reason: "its group had 40 Mbit/s there, 72 Mbit/s now"}},
	}}, nil
}

// GetJournal sends one entry without a view.
func (d *Daemon) GetJournal(_ context.Context, _ *api.GetJournalRequest, send func(*api.GetJournalResponse) error) error {
	return send(&api.GetJournalResponse{Line: []byte(`{"seq":1,"at":"2026-11-22T12:00:02Z","by":"fastpath","proposal":{"id":1,"reason":"ring of 4 VMs"},"outcome":"committed"}`)})
}

// WatchView sends one view.
func (d *Daemon) WatchView(ctx context.Context, _ *api.WatchViewRequest, send func(*api.WatchViewResponse) error) error {
	app, err := d.GetApp(ctx, &api.GetAppRequest{})
	if err != nil {
		return err
	}
	return send(&api.WatchViewResponse{Time: at(0), Adaptation: adaptation(), App: app.App})
}

// AcquireLease gives the lease to whoever asks.
func (d *Daemon) AcquireLease(_ context.Context, req *api.AcquireLeaseRequest) (*api.AcquireLeaseResponse, error) {
	return &api.AcquireLeaseResponse{Token: "0123", Lease: &api.Lease{Agent: req.GetAgent(), Until: at(10 * time.Second)}}, nil
}

// ReleaseLease takes it back.
func (d *Daemon) ReleaseLease(context.Context, *api.ReleaseLeaseRequest) (*api.ReleaseLeaseResponse, error) {
	return &api.ReleaseLeaseResponse{}, nil
}

// ApplyPlan is content with any plan.
func (d *Daemon) ApplyPlan(_ context.Context, req *api.ApplyPlanRequest) (*api.ApplyPlanResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.plan = req.GetWays()
	return &api.ApplyPlanResponse{Proposal: 1, Took: durationpb.New(50 * time.Millisecond)}, nil
}

// Plan is the last that was applied.
func (d *Daemon) Plan() []*api.Way {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.plan
}
