package proxy

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

const (
	// leaseDefault and leaseMost is how long an agent steers without saying that it lives.
	leaseDefault = 10 * time.Second
	leaseMost    = 10 * time.Minute
	// viewDefault and viewLeast is how often views are sent.
	viewDefault = time.Second
	viewLeast   = 100 * time.Millisecond
	// mostReason in bytes is a line for people: it stands at every step of a plan.
	mostReason = 200
)

// agent is a program of the user's that steers. The hub owns it.
type agent struct {
	name    string
	token   string
	until   time.Time
	plan    []adapt.Way
	why     string // its reason, in one line
	planned bool   // it has made a plan; before, the policy goes on
	plans   uint64 // how many: a change of an earlier one answers nobody
	waiting []chan planned
}

// planned is what became of a plan.
type planned struct {
	proposal *adapt.Proposal // nil: there was nothing to change
	not      []adapt.Refusal
	advised  bool
	took     time.Duration
	err      error
}

// settle answers those who wait for their plan.
func (a *agent) settle(p planned) {
	for _, w := range a.waiting {
		w <- p
	}
	a.waiting = nil
}

// steer makes the agent's plan the policy while it has the lease, and the user's choice when it has not.
func (h *hub) steer(now time.Time) {
	if a := h.agent; a.token != "" && !now.Before(a.until) {
		h.p.event("adapt.lease", fmt.Sprintf("the lease of agent %s has run out; policy %s goes on", a.name, h.policyName()), nil)
		h.dismiss()
	}
}

// dismiss ends the lease.
func (h *hub) dismiss() {
	h.agent.settle(planned{err: precondition("cannot carry the plan out: the lease has ended")})
	h.agent = &agent{}
	h.policy.Configure(h.settings)
}

// policyName is the user's choice.
func (h *hub) policyName() string {
	p, _ := adapt.PolicyNamed(h.settings.Policy)
	return p.Name
}

// holds checks a token.
func (a *agent) holds(token string) bool {
	return a.token != "" && subtle.ConstantTimeCompare([]byte(a.token), []byte(token)) == 1
}

// AcquireLease gives an agent the right to steer, or lets it keep it.
func (p *Proxy) AcquireLease(ctx context.Context, req *vnetv1.AcquireLeaseRequest) (*vnetv1.AcquireLeaseResponse, error) {
	lasts := leaseDefault
	if req.GetLasts() != nil {
		lasts = req.GetLasts().AsDuration()
	}
	if lasts <= 0 || lasts > leaseMost {
		return nil, invalid("cannot give a lease of %v: ask for up to %v", lasts, leaseMost)
	}
	if req.GetToken() == "" && (req.GetAgent() == "" || len(req.GetAgent()) > 64) {
		return nil, invalid("cannot give a lease to %q: say in up to 64 letters who you are", req.GetAgent())
	}
	out := &vnetv1.AcquireLeaseResponse{}
	var refused error
	err := p.ask(ctx, func(h *hub) {
		now := time.Now()
		h.steer(now)
		switch a := h.agent; {
		case a.holds(req.GetToken()):
			a.until = now.Add(lasts)
		case req.GetToken() != "":
			refused = precondition("cannot keep the lease: it has run out; take it again without a token")
		case a.token != "":
			refused = precondition("cannot give the lease: agent %s has it until %s", a.name, a.until.Format(time.TimeOnly))
		default:
			raw := make([]byte, 16)
			if _, refused = rand.Read(raw); refused == nil {
				h.agent = &agent{name: req.GetAgent(), token: hex.EncodeToString(raw), until: now.Add(lasts)}
				h.p.event("adapt.lease", fmt.Sprintf("agent %s steers", req.GetAgent()), nil)
			}
		}
		out.Token, out.Lease = h.agent.token, h.describeLease()
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ReleaseLease gives it back; the policy goes on at once.
func (p *Proxy) ReleaseLease(ctx context.Context, req *vnetv1.ReleaseLeaseRequest) (*vnetv1.ReleaseLeaseResponse, error) {
	var refused error
	err := p.ask(ctx, func(h *hub) {
		if !h.agent.holds(req.GetToken()) {
			refused = precondition("cannot give back the lease: it has run out, or the token is another's")
			return
		}
		h.p.event("adapt.lease", fmt.Sprintf("agent %s has given back the lease; policy %s goes on", h.agent.name, h.policyName()), nil)
		h.dismiss()
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, err
	}
	return &vnetv1.ReleaseLeaseResponse{}, nil
}

func (h *hub) describeLease() *vnetv1.Lease {
	if h.agent.token == "" {
		return nil
	}
	return &vnetv1.Lease{Agent: h.agent.name, Until: timestamppb.New(h.agent.until)}
}

// ApplyPlan makes an agent's plan the wish of adaptation and waits until it is carried out.
func (p *Proxy) ApplyPlan(ctx context.Context, req *vnetv1.ApplyPlanRequest) (*vnetv1.ApplyPlanResponse, error) {
	outcome := make(chan planned, 1)
	if why := req.GetReason(); len(why) > mostReason || strings.ContainsFunc(why, unicode.IsControl) {
		return nil, invalid("cannot apply the plan: give its reason in one line of up to %d bytes", mostReason)
	}
	var refused error
	err := p.ask(ctx, func(h *hub) {
		now := time.Now()
		if h.steer(now); !h.agent.holds(req.GetToken()) {
			refused = precondition("cannot apply the plan: take the lease first, or again if it has run out")
			return
		}
		if h.settings.Mode == adapt.Observe {
			refused = precondition("cannot apply the plan: the mode is observe; the user allows changes with `vnet adapt mode auto`")
			return
		}
		var plan []adapt.Way
		if plan, refused = h.planIn(req.GetWays()); refused != nil {
			return
		}
		h.agent.settle(planned{err: precondition("cannot finish the plan: another has taken its place")})
		h.agent.plan, h.agent.why, h.agent.planned, h.agent.waiting = plan, req.GetReason(), true, []chan planned{outcome}
		h.agent.plans++
		config := h.settings
		config.Policy = adapt.AgentPolicy
		h.policy.Configure(config)
		if h.changes.idle() && h.audited() {
			h.adapt(now)
		}
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, err
	}
	return p.planned(ctx, outcome)
}

// planned waits for what became of a plan.
func (p *Proxy) planned(ctx context.Context, outcome chan planned) (*vnetv1.ApplyPlanResponse, error) {
	select {
	case got := <-outcome:
		if err := p.saved(ctx, got.err); err != nil {
			return nil, err
		}
		out := &vnetv1.ApplyPlanResponse{Advised: got.advised, Took: durationpb.New(got.took)}
		err := p.ask(ctx, func(h *hub) { out.NotDone = h.describeRefusals(got.not) })
		if got.proposal != nil {
			out.Proposal = got.proposal.ID
		}
		return out, err
	case <-p.ended:
		return nil, errStopped
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot wait for the plan: %w; it goes on, see `vnet adapt status`", ctx.Err())
	}
}

// planIn reads the ways of a plan whole.
func (h *hub) planIn(ways []*vnetv1.Way) (plan []adapt.Way, err error) {
	live := h.live()
	vm := func(name string) (m ether.MAC, err error) {
		for _, v := range h.record.VMs {
			if string(v.Node)+"/"+v.Port == name {
				return v.MAC, nil
			}
		}
		return live.MACOf(name)
	}
	for _, w := range ways {
		var way adapt.Way
		if way.A, err = vm(w.GetA()); err == nil {
			way.B, err = vm(w.GetB())
		}
		if err != nil {
			return nil, notFound("%w", err)
		}
		for _, name := range w.GetVia() {
			if _, known := h.record.Nodes[overlay.Name(name)]; !known {
				return nil, notFound("cannot lead a way over node %q: the overlay has %v", name, h.record.Names())
			}
			way.Via = append(way.Via, overlay.Name(name))
		}
		if way.A == way.B || slices.ContainsFunc(plan, func(o adapt.Way) bool {
			return o.A == way.A && o.B == way.B || o.A == way.B && o.B == way.A
		}) {
			return nil, invalid("cannot use a way from %q to %q: name two VMs, and each pair once", w.GetA(), w.GetB())
		}
		plan = append(plan, way)
	}
	return plan, nil
}

// WatchView sends what a policy sees, every so often, until the client leaves.
func (p *Proxy) WatchView(ctx context.Context, req *vnetv1.WatchViewRequest, send func(*vnetv1.WatchViewResponse) error) error {
	every := viewDefault
	if req.GetEvery() != nil {
		every = max(req.GetEvery().AsDuration(), viewLeast)
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		view := &vnetv1.WatchViewResponse{}
		if err := p.ask(ctx, func(h *hub) { h.describeView(view) }); err != nil {
			return err
		}
		if err := send(view); err != nil || req.GetOnce() {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.ended:
			return errStopped
		case <-ticker.C:
		}
	}
}

func (h *hub) describeView(out *vnetv1.WatchViewResponse) {
	out.Time = timestamppb.Now()
	out.Overlay, out.App, out.Adaptation, out.Bound = h.describeOverlay(), h.describeApp(), h.describeAdaptation(), h.describeBound()
}
