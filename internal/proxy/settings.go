package proxy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// GetAdaptation tells what adaptation does, would do and has done.
func (p *Proxy) GetAdaptation(ctx context.Context, _ *vnetv1.GetAdaptationRequest) (*vnetv1.GetAdaptationResponse, error) {
	out := &vnetv1.GetAdaptationResponse{}
	err := p.ask(ctx, func(h *hub) { out.Adaptation = h.describeAdaptation() })
	return out, err
}

// SetAdaptation changes mode, budget and policy.
func (p *Proxy) SetAdaptation(ctx context.Context, req *vnetv1.SetAdaptationRequest) (*vnetv1.SetAdaptationResponse, error) {
	out := &vnetv1.SetAdaptationResponse{}
	var refused error
	err := p.ask(ctx, func(h *hub) {
		next := settingsIn(h.settings, req)
		if refused = next.Check(); refused != nil {
			return
		}
		h.settings = next
		h.policy.Configure(next)
		h.put(keySettings, next)
		out.Adaptation = h.describeAdaptation()
	})
	if refused != nil {
		return nil, invalid("%w", refused)
	}
	return out, p.saved(ctx, err)
}

// settingsIn is the settings with what a request changes of them.
func settingsIn(c adapt.Config, req *vnetv1.SetAdaptationRequest) adapt.Config {
	switch req.GetMode() {
	case vnetv1.AdaptationMode_ADAPTATION_MODE_AUTO:
		c.Mode = adapt.Auto
	case vnetv1.AdaptationMode_ADAPTATION_MODE_ADVISE:
		c.Mode = adapt.Advise
	case vnetv1.AdaptationMode_ADAPTATION_MODE_OBSERVE:
		c.Mode = adapt.Observe
	}
	if req.MaxLinks != nil {
		c.MaxLinks = int(req.GetMaxLinks())
	}
	if req.MaxPerNode != nil {
		c.MaxPerNode = int(req.GetMaxPerNode())
	}
	if req.MaxChangesPerMinute != nil {
		c.MaxChanges = int(req.GetMaxChangesPerMinute())
	}
	if req.Policy != nil {
		c.Policy = req.GetPolicy()
	}
	if req.Told != nil {
		c.Told = req.GetTold()
	}
	if req.Unchecked != nil {
		c.Unchecked = req.GetUnchecked()
	}
	return c
}

func (h *hub) describeAdaptation() *vnetv1.Adaptation {
	c := h.settings
	out := &vnetv1.Adaptation{
		Policy: h.policy.Policy().Name, MaxLinks: uint32(c.MaxLinks), MaxPerNode: uint32(c.MaxPerNode),
		MaxChangesPerMinute: int32(cmp.Or(c.MaxChanges, adapt.DefaultMaxChanges)), Checked: h.policy.Judged(),
		Mode: vnetv1.AdaptationMode_ADAPTATION_MODE_AUTO,
	}
	switch c.Mode {
	case adapt.Advise:
		out.Mode = vnetv1.AdaptationMode_ADAPTATION_MODE_ADVISE
	case adapt.Observe:
		out.Mode = vnetv1.AdaptationMode_ADAPTATION_MODE_OBSERVE
	}
	for _, l := range h.record.Links {
		if l.Origin == overlay.OriginAdapted {
			since, reason := h.whyLink(l)
			out.Links = append(out.Links, &vnetv1.AdaptedLink{A: string(l.A), B: string(l.B), Since: since, Reason: reason})
		}
	}
	if h.proposal != nil {
		out.Proposal = describeProposal(h.proposal, h.proposed)
	}
	for _, past := range slices.Backward(h.history) {
		out.History = append(out.History, past.describe())
	}
	return out
}

// whyLink finds the step that opened a link.
func (h *hub) whyLink(l overlay.Link) (*timestamppb.Timestamp, string) {
	what := adapt.EndsOf(l.A, l.B).String()
	for _, past := range slices.Backward(h.history) {
		if past.proposal == nil || past.outcome != "committed" {
			continue
		}
		for _, s := range past.proposal.Steps {
			if s.Kind == adapt.OpenLink && s.What == what {
				return timestamppb.New(past.started), s.Reason
			}
		}
	}
	return nil, "kept from before the Proxy's last start"
}

func describeProposal(p *adapt.Proposal, when time.Time) *vnetv1.Proposal {
	out := &vnetv1.Proposal{Id: p.ID, Time: timestamppb.New(when), Reason: p.Reason, Gain: p.Gain}
	for _, s := range p.Steps {
		out.Steps = append(out.Steps, &vnetv1.Step{What: s.Kind.String() + " " + s.What, Reason: s.Reason})
	}
	return out
}

func (c pastChange) describe() *vnetv1.Change {
	out := &vnetv1.Change{Started: timestamppb.New(c.started), Total: durationpb.New(c.commit), Outcome: c.outcome, Why: c.result.Error}
	if c.proposal != nil {
		out.Proposal = describeProposal(c.proposal, c.started)
	} else {
		out.Proposal = &vnetv1.Proposal{Reason: c.what}
	}
	for s := control.StagePrepare; s <= control.StageDelete; s++ {
		if took := c.result.Took[s]; took > 0 {
			out.Stages = append(out.Stages, &vnetv1.Stage{Name: s.String(), Took: durationpb.New(took)})
		}
	}
	return out
}

// fetch asks a node one unary question.
func (p *Proxy) fetch(ctx context.Context, name overlay.Name, method string, req, into proto.Message) error {
	body, err := proto.Marshal(req)
	if err != nil {
		return fmt.Errorf("cannot encode the question: %w", err)
	}
	answer, err := p.Forward(ctx, string(name), method, body)
	if err != nil {
		return err
	}
	return proto.Unmarshal(answer, into)
}
