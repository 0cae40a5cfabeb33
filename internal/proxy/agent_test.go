package proxy

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
)

// One agent steers at a time; what it plans is made, over other nodes if it says so, and no more; the user's will stands above
// it; and when it falls silent the policy goes on.
func TestAnAgentSteers(t *testing.T) {
	ctx := context.Background()
	inAppWorld(t, 8, []int{0, 1, 1, 1, 1}, func(w *world) {
		w.adapts(auto)
		s := w.service()
		app := w.run(10, 50*time.Millisecond, w.guests, ringOf(4))
		w.await("the policy has made the ring", func() bool { return w.adaptedLinks() == "h1–h2 h1–h4 h2–h3 h3–h4" })
		lease, err := s.AcquireLease(ctx, &vnetv1.AcquireLeaseRequest{Agent: "a"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.AcquireLease(ctx, &vnetv1.AcquireLeaseRequest{Agent: "b"}); err == nil || !strings.Contains(err.Error(), "agent a has it until") {
			t.Errorf("a second agent: %v", err)
		}
		if _, err := s.ApplyPlan(ctx, &vnetv1.ApplyPlanRequest{Token: "made up"}); err == nil {
			t.Error("a plan without a lease is applied")
		}
		way := func(a, b int, via ...string) *vnetv1.Way {
			return &vnetv1.Way{A: w.guests[a-1].mac.String(), B: w.guests[b-1].mac.String(), Via: via}
		}
		for _, bad := range []*vnetv1.Way{{A: "nobody", B: w.guests[0].mac.String()}, way(1, 1), way(1, 2, "h9")} {
			if _, err := s.ApplyPlan(ctx, &vnetv1.ApplyPlanRequest{Token: lease.Token, Ways: []*vnetv1.Way{bad}}); err == nil {
				t.Errorf("%v is accepted", bad)
			}
		}
		if _, err := s.ApplyPlan(ctx, &vnetv1.ApplyPlanRequest{Token: lease.Token, Reason: "two\nlines"}); err == nil {
			t.Error("a reason of two lines is accepted")
		}
		done, err := s.ApplyPlan(ctx, &vnetv1.ApplyPlanRequest{Token: lease.Token, Ways: []*vnetv1.Way{way(1, 2), way(3, 4, "h2")}, Reason: "h2 idles"})
		if err != nil || done.Proposal == 0 || len(done.NotDone) != 0 {
			t.Fatalf("the plan: %v, %v", done, err)
		}
		if got := w.adaptedLinks(); got != "h1–h2 h2–h3 h2–h4" {
			t.Errorf("links %s", got)
		}
		told, err := s.Explain(ctx, &vnetv1.ExplainRequest{A: w.guests[2].mac.String(), B: w.guests[3].mac.String()})
		if err != nil || told.Explanation.Way != "over h3–h2–h4" || told.Explanation.Reason != "plan: h2 idles (change 2 by agent a)" {
			t.Errorf("explained: %v, %v", told, err)
		}
		for range 10 { // it lives
			time.Sleep(5 * time.Second)
			if lease, err = s.AcquireLease(ctx, &vnetv1.AcquireLeaseRequest{Token: lease.Token}); err != nil {
				t.Fatal(err)
			}
		}
		if a := w.adaptation(); a.Policy != adapt.AgentPolicy || a.Lease.GetAgent() != "a" {
			t.Errorf("status: %v", a)
		}
		time.Sleep(11 * time.Second) // it does not
		w.await("the policy goes on", func() bool { return w.adaptedLinks() == "h1–h2 h1–h4 h2–h3 h3–h4" })
		if _, err := s.ApplyPlan(ctx, &vnetv1.ApplyPlanRequest{Token: lease.Token}); err == nil {
			t.Error("a plan after the lease is applied")
		}
		var view *vnetv1.WatchViewResponse
		if err := s.WatchView(ctx, &vnetv1.WatchViewRequest{Once: true}, func(v *vnetv1.WatchViewResponse) error { view = v; return nil }); err != nil ||
			len(view.App.Groups) != 1 || len(view.Overlay.Links) != 4 || view.Bound == nil || view.Adaptation == nil {
			t.Errorf("a view: %v, %v", view, err)
		}
		if app.end() == 0 {
			t.Error("the application stands still")
		}
	})
}

// Advice is shown and carried out when it is accepted; a pause stops everything; the journal tells of both.
func TestAdviceAndPause(t *testing.T) {
	ctx := context.Background()
	inAppWorld(t, 9, []int{0, 1, 1}, func(w *world) {
		w.adapts(advise)
		began := time.Now()
		w.run(10, 50*time.Millisecond, w.guests, [][2]int{{0, 1}})
		w.await("there is advice", func() bool { return w.adaptation().Proposal != nil })
		if took := time.Since(began); took >= time.Second {
			t.Errorf("the application was inferred after %v of traffic", took)
		}
		id := w.adaptation().Proposal.Id
		if _, err := w.service().AcceptProposal(ctx, &vnetv1.AcceptProposalRequest{Id: id + 1}); err == nil || !strings.Contains(err.Error(), "what would help now is") {
			t.Errorf("another number: %v", err)
		}
		if w.adaptedLinks() != "" {
			t.Error("advice was carried out")
		}
		if _, err := w.service().AcceptProposal(ctx, &vnetv1.AcceptProposalRequest{Id: id}); err != nil || w.adaptedLinks() != "h1–h2" {
			t.Errorf("accepted: %v, links %s", err, w.adaptedLinks())
		}
		if _, err := w.service().AcceptProposal(ctx, &vnetv1.AcceptProposalRequest{Id: id}); err == nil {
			t.Error("accepted twice")
		}
		history := w.adaptation().History
		if len(history) != 1 || history[0].Outcome != committed || history[0].Proposal.By != "fastpath" {
			t.Errorf("history: %v", history)
		}
		none := uint32(1)
		if _, err := w.service().SetAdaptation(ctx, &vnetv1.SetAdaptationRequest{Mode: auto, MaxLinks: &none, Pause: durationpb.New(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		for _, a := range w.apps {
			a.end()
		}
		time.Sleep(59 * time.Second)
		if lease, err := w.service().AcquireLease(ctx, &vnetv1.AcquireLeaseRequest{Agent: "a"}); err != nil {
			t.Error(err)
		} else if _, err := w.service().ApplyPlan(ctx, &vnetv1.ApplyPlanRequest{Token: lease.Token}); err == nil || !strings.Contains(err.Error(), "has paused adaptation") {
			t.Errorf("a plan during a pause: %v", err)
		}
		if a := w.adaptation(); a.PausedUntil == nil || w.adaptedLinks() != "h1–h2" {
			t.Errorf("while paused: %v", a)
		}
	})
}
