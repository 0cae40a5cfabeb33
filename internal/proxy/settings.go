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
		h.configure()
		h.put(keySettings, next)
		if req.GetPause() != nil {
			h.pause(req.GetPause().AsDuration())
		}
		out.Adaptation = h.describeAdaptation()
	})
	if refused != nil {
		return nil, invalid("%w", refused)
	}
	return out, p.saved(ctx, err)
}

// configure gives the settings to the planner; while an agent steers, its plan is the policy.
func (h *hub) configure() {
	c := h.settings
	if h.agent.planned {
		c.Policy = adapt.AgentPolicy
	}
	h.policy.Configure(c)
}

// keyPaused is where the record keeps until when the user has paused adaptation.
const keyPaused = "paused"

// pause changes nothing for a while; 0 ends it.
func (h *hub) pause(lasts time.Duration) {
	h.pausedUntil = time.Time{}
	text := "adaptation goes on"
	if lasts > 0 {
		h.pausedUntil = time.Now().Add(lasts)
		text = fmt.Sprintf("adaptation is paused until %s", h.pausedUntil.Format(time.DateTime))
	}
	h.put(keyPaused, h.pausedUntil)
	h.p.event("adapt.pause", text, nil)
}

// restoreAdaptation reads settings, pause, bars and journal.
func (h *hub) restoreAdaptation() error {
	if _, err := h.get(keySettings, &h.settings); err != nil {
		return err
	}
	h.configure()
	if _, err := h.get(keyPaused, &h.pausedUntil); err != nil {
		return err
	}
	var bars []adapt.Bar
	if _, err := h.get(keyBars, &bars); err != nil {
		return err
	}
	h.judge.Restore(bars)
	return h.restoreJournal()
}

// AcceptProposal carries out what mode advise has proposed.
func (p *Proxy) AcceptProposal(ctx context.Context, req *vnetv1.AcceptProposalRequest) (*vnetv1.AcceptProposalResponse, error) {
	out := &vnetv1.AcceptProposalResponse{}
	outcome := make(chan error, 1)
	err := p.ask(ctx, func(h *hub) {
		now := time.Now()
		switch {
		case h.settings.Mode == adapt.Observe || h.proposal == nil:
			outcome <- precondition("cannot accept proposal %d: there is none now; `vnet adapt status` shows what there is", req.GetId())
		case h.proposal.ID != req.GetId():
			outcome <- precondition("cannot accept proposal %d: what would help now is proposal %d; look at it with `vnet adapt status`", req.GetId(), h.proposal.ID)
		case !h.changes.idle():
			outcome <- precondition("cannot accept proposal %d while another change is under way; ask again in a moment", req.GetId())
		default:
			h.carryOut(now, *h.proposal, h.view(now), func(r control.Result, err error) {
				out.Took = durationpb.New(r.Commit)
				outcome <- err
			})
		}
	})
	if err != nil {
		return nil, err
	}
	if err := p.await(ctx, outcome, fmt.Sprint("proposal ", req.GetId()), "`vnet adapt history`"); err != nil {
		return nil, err
	}
	return out, nil
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
		out.Proposal = h.describeProposal(h.proposal, h.proposed, h.by())
	}
	for _, past := range slices.Backward(h.history) {
		out.History = append(out.History, h.describePast(past))
	}
	h.describeState(out)
	return out
}

// describeState adds what is so just now.
func (h *hub) describeState(out *vnetv1.Adaptation) {
	now := time.Now()
	out.NotDone, out.Lease = h.describeRefusals(h.weighed), h.describeLease()
	out.EffectiveBound = durationpb.New(adapt.EffectiveBound(h.bound.Value().Value))
	if now.Before(h.pausedUntil) {
		out.PausedUntil = timestamppb.New(h.pausedUntil)
	}
	for _, v := range h.judge.Trials() {
		v.Outcome = "measuring"
		out.Trials = append(out.Trials, h.describeEffect(effect{v, now}))
	}
	for _, b := range h.judge.Bars(now) {
		out.Bars = append(out.Bars, &vnetv1.Bar{
			A: h.title(b.Pair.Src), B: h.title(b.Pair.Dst), Link: b.Ends.String(), Until: timestamppb.New(b.Until), Why: b.Why, Count: uint32(b.Count),
		})
	}
}

// whyLink finds the step that opened a link.
func (h *hub) whyLink(l overlay.Link) (*timestamppb.Timestamp, string) {
	what := adapt.EndsOf(l.A, l.B).String()
	for _, past := range slices.Backward(h.history) {
		if past.proposal == nil || past.outcome != committed {
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

func (h *hub) describeProposal(p *adapt.Proposal, when time.Time, by string) *vnetv1.Proposal {
	out := &vnetv1.Proposal{
		Id: p.ID, Time: timestamppb.New(when), Reason: p.Reason, Gain: p.Gain, ReliefBps: 8 * p.Relief, By: by, NotDone: h.describeRefusals(p.Not),
	}
	for _, s := range p.Steps {
		out.Steps = append(out.Steps, &vnetv1.Step{What: s.Kind.String() + " " + s.What, Reason: s.Reason})
	}
	return out
}

func (h *hub) describePast(c pastChange) *vnetv1.Change {
	out := &vnetv1.Change{Started: timestamppb.New(c.started), Total: durationpb.New(c.commit), Outcome: c.outcome, Why: c.result.Error}
	for _, e := range c.effects {
		out.Effects = append(out.Effects, h.describeEffect(e))
	}
	if c.proposal != nil {
		out.Proposal = h.describeProposal(c.proposal, c.started, c.by)
		out.EffectiveBound = durationpb.New(adapt.EffectiveBound(c.bound))
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
