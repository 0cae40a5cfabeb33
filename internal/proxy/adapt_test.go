package proxy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

const (
	auto    = vnetv1.AdaptationMode_ADAPTATION_MODE_AUTO
	advise  = vnetv1.AdaptationMode_ADAPTATION_MODE_ADVISE
	observe = vnetv1.AdaptationMode_ADAPTATION_MODE_OBSERVE
)

// adaptedLinks are the fast paths of the record, "h1–h2 h2–h3".
func (w *world) adaptedLinks() string {
	var links []string
	for _, l := range w.record().Links {
		if l.Origin == overlay.OriginAdapted {
			links = append(links, fmt.Sprintf("%s–%s", l.A, l.B))
		}
	}
	return strings.Join(links, " ")
}

// happened counts events of a kind.
func (w *world) happened(kind string) int { return strings.Count("\n"+w.events(), "\n"+kind+": ") }

// A direct path that is slower than the way through the Proxy is taken, noticed, given back, and not taken again while the bar
// lasts, and explain says why: whether the application ran for a while before, or had just started.
func TestAHarmfulChangeIsTakenBack(t *testing.T) {
	for _, row := range []struct {
		name   string
		before time.Duration
		want   string // in the reason
	}{
		{"the application ran before", 15 * time.Second, "before,"},
		{"it had just started", 0, "than the star"},
	} {
		t.Run(row.name, func(t *testing.T) {
			inAppWorld(t, 1, []int{0, 1, 1}, func(w *world) {
				slow := appPath()
				slow.Rate = 5e5
				w.net.SetPathBoth(w.hosts[0].addr, w.hosts[1].addr, slow)
				if row.before == 0 {
					w.adapts(auto)
				}
				app := w.run(20, 20*time.Millisecond, w.guests, [][2]int{{0, 1}})
				time.Sleep(row.before)
				w.adapts(auto)
				w.await("the link is made", func() bool { return w.adaptedLinks() == "h1–h2" })
				w.await("it is given back", func() bool { return w.adaptedLinks() == "" })
				w.await("the verdict is there", func() bool { return w.happened("adapt.reverted") == 1 })
				time.Sleep(50 * time.Second)
				if n := w.happened("adapt.open_link"); n != 1 || w.adaptedLinks() != "" {
					t.Errorf("the link was made %d times within the bar", n)
				}
				told, err := w.service().Explain(context.Background(), &vnetv1.ExplainRequest{A: w.guests[0].mac.String(), B: w.guests[1].mac.String()})
				if err != nil {
					t.Fatal(err)
				}
				e := told.Explanation
				if !strings.HasPrefix(e.Way, "through the Proxy") || !strings.Contains(e.Reason, "slower by") || !strings.Contains(e.Reason, row.want) ||
					e.Effect.GetOutcome() != "reverted" || len(e.Alternatives) == 0 || !strings.Contains(e.Alternatives[0].Reason, "taken back 1 times") {
					t.Errorf("explained: %v", e)
				}
				a := w.adaptation()
				if len(a.Bars) != 1 || len(a.History) == 0 || len(a.NotDone) != 1 {
					t.Errorf("status: %v", a)
				}
				if app.end() == 0 {
					t.Error("the application did nothing")
				}
			})
		})
	}
}

// A change that helps is kept, and explain says what it saved.
func TestAGoodChangeIsKept(t *testing.T) {
	inAppWorld(t, 2, []int{0, 1, 1, 1, 1}, func(w *world) {
		app := w.run(20, 20*time.Millisecond, w.guests, [][2]int{{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}})
		time.Sleep(15 * time.Second)
		star := app.iterations()
		w.adapts(auto)
		w.await("the effect is known", func() bool { return w.happened("adapt.kept") == 1 })
		began := app.iterations()
		time.Sleep(15 * time.Second)
		if fast := app.end() - began; fast < 2*star {
			t.Errorf("%d iterations on the star, %d direct, in 15 s each", star, fast)
		}
		told, err := w.service().Explain(context.Background(), &vnetv1.ExplainRequest{A: w.guests[0].mac.String(), B: w.guests[1].mac.String()})
		if err != nil {
			t.Fatal(err)
		}
		e := told.Explanation
		if e.Way != "direct over h1–h2" || e.Effect.GetOutcome() != "kept" || !strings.Contains(e.Effect.GetReason(), "faster by") ||
			e.SavedBytes < 100_000 || e.SavedTime.AsDuration() < 10*time.Second || e.Since == nil || e.Origin != "adapted" || len(e.Alternatives) != 1 {
			t.Errorf("explained: %v", e)
		}
		var lines []string
		if err := w.service().GetJournal(context.Background(), &vnetv1.GetJournalRequest{}, func(r *vnetv1.GetJournalResponse) error {
			lines = append(lines, string(r.Line))
			return nil
		}); err != nil || len(lines) != 1 {
			t.Fatalf("journal: %v, %v", lines, err)
		}
		for policy, want := range map[string]int{"fastpath": 1, "star": 0, "mesh": 1} {
			got, err := Replan(strings.NewReader(lines[0]), policy, "", func(Decision) {})
			if err != nil || !got.Journal || got.Decisions != 1 || got.Same != want {
				t.Errorf("replayed by %s: %+v, %v", policy, got, err)
			}
		}
		w.proxy.stop() // what was decided outlives a restart
		w.proxy.start()
		w.await("all hosts are back", w.up)
		if a := w.adaptation(); len(a.History) != 1 || len(a.History[0].Effects) != 1 || a.History[0].Effects[0].Outcome != "kept" {
			t.Errorf("after a restart the history is %v", a.History)
		}
	})
}

// Three of the eight VMs of a ring live on one host, and a second application runs beside it on three of its hosts: both are
// inferred for what they are, and the links are just those that their edges need.
func TestTwoApplicationsOnOverlappingHosts(t *testing.T) {
	inAppWorld(t, 3, []int{0, 4, 2, 2, 1, 1, 1}, func(w *world) {
		w.adapts(auto)
		ring := w.run(10, 50*time.Millisecond, []*guest{w.at(1, 1), w.at(1, 2), w.at(1, 3), w.at(2, 1), w.at(3, 1), w.at(4, 1), w.at(5, 1), w.at(6, 1)}, ringOf(8))
		time.Sleep(10 * time.Second)
		bus := w.run(6, 30*time.Millisecond, []*guest{w.at(1, 4), w.at(2, 2), w.at(3, 2)}, [][2]int{{0, 1}, {1, 2}})
		time.Sleep(10 * time.Second)
		var names []string
		app, _ := w.service().GetApp(context.Background(), &vnetv1.GetAppRequest{})
		for _, g := range app.App.Groups {
			names = append(names, fmt.Sprintf("%s of %d", g.Name, len(g.Vms)))
		}
		slices.Sort(names)
		if got := strings.Join(names, ", "); got != "bus of 3, ring of 8" {
			t.Errorf("inferred %s", got)
		}
		if got := w.adaptedLinks(); got != "h1–h2 h1–h6 h2–h3 h3–h4 h4–h5 h5–h6" {
			t.Errorf("links %s", got)
		}
		if bus.end() == 0 || ring.end() == 0 {
			t.Error("an application stands still")
		}
		if n := w.happened("adapt.reverted") + w.happened("adapt.suspected"); n > 0 {
			t.Errorf("%d changes were taken back", n)
		}
	})
}

// A link that cannot be made is not tried again and again: the next best is chosen, and the first is tried after ever longer
// waits. A host that dies in the middle of it all holds up nobody else.
func TestLinksThatFailLeaveRoomForTheNextBest(t *testing.T) {
	inAppWorld(t, 4, []int{0, 1, 1, 1, 1}, func(w *world) {
		one := uint32(1)
		if _, err := w.service().SetAdaptation(context.Background(), &vnetv1.SetAdaptationRequest{Mode: auto, MaxLinks: &one}); err != nil {
			t.Fatal(err)
		}
		w.net.Cut(w.hosts[0].addr, w.hosts[1].addr)
		strong := w.run(30, 20*time.Millisecond, []*guest{w.at(1, 1), w.at(2, 1)}, [][2]int{{0, 1}})
		weak := w.run(8, 100*time.Millisecond, []*guest{w.at(3, 1), w.at(4, 1)}, [][2]int{{0, 1}})
		w.await("the next best is there", func() bool { return w.adaptedLinks() == "h3–h4" })
		tried := w.happened("adapt.failed")
		time.Sleep(60 * time.Second)
		if n := w.happened("adapt.failed"); n > tried+20 {
			t.Errorf("%d failed steps within a minute", n-tried)
		}
		w.hosts[3].crash()
		time.Sleep(5 * time.Second)
		w.net.Heal(w.hosts[0].addr, w.hosts[1].addr)
		w.hosts[3].start()
		before := strong.iterations()
		time.Sleep(10 * time.Second)
		if strong.end() == before {
			t.Error("the application that lost nothing stands still")
		}
		weak.end()
	})
}

// A fast path that dies while both its hosts live makes room for the next best.
func TestADeadFastPathMakesRoom(t *testing.T) {
	inAppWorld(t, 5, []int{0, 1, 1, 1, 1}, func(w *world) {
		one := uint32(1)
		if _, err := w.service().SetAdaptation(context.Background(), &vnetv1.SetAdaptationRequest{Mode: auto, MaxLinks: &one}); err != nil {
			t.Fatal(err)
		}
		strong := w.run(30, 20*time.Millisecond, []*guest{w.at(1, 1), w.at(2, 1)}, [][2]int{{0, 1}})
		weak := w.run(8, 100*time.Millisecond, []*guest{w.at(3, 1), w.at(4, 1)}, [][2]int{{0, 1}})
		w.await("the strongest has it", func() bool { return w.adaptedLinks() == "h1–h2" })
		w.net.Cut(w.hosts[0].addr, w.hosts[1].addr)
		w.await("the next best has it", func() bool { return w.adaptedLinks() == "h3–h4" })
		before := strong.iterations()
		time.Sleep(5 * time.Second)
		if strong.end() == before {
			t.Error("the application whose path died stands still")
		}
		weak.end()
	})
}

// refuses has the Proxy hear of a host that it will not prepare, as long as the test runs.
func (w *world) refuses(name overlay.Name) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			var id uint64
			w.proxy.proxy.ask(ctx, func(h *hub) {
				if c := h.changes.current; c != nil && slices.Contains(c.nodes(), name) && c.request.proposal != nil {
					id = c.machine.ID()
				}
			})
			if id != 0 {
				w.proxy.proxy.Heard(name, control.StageReply{Change: id, Stage: control.StagePrepare, Error: "no room for rules"})
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return func() { cancel(); <-ended }
}

// A host that refuses what adaptation asks of it keeps nobody else from adapting, and is not asked again and again: neither for
// a new link, nor for rules on one that is there.
func TestAHostThatRefusesIsLeftAlone(t *testing.T) {
	ctx := context.Background()
	inAppWorld(t, 10, []int{0, 1, 1, 1, 1}, func(w *world) {
		defer w.refuses("h3")()
		w.adapts(auto)
		app := w.run(10, 50*time.Millisecond, w.guests, ringOf(4))
		w.await("the others have their links", func() bool { return w.adaptedLinks() == "h1–h2 h1–h4" })
		time.Sleep(time.Minute)
		if n := w.happened("change.failed"); n < 2 || n > 6 {
			t.Errorf("%d changes failed in a minute", n)
		}
		if app.end() == 0 {
			t.Error("the application stands still")
		}
	})
	inAppWorld(t, 11, []int{0, 1, 1}, func(w *world) {
		if _, err := w.service().AddLink(ctx, &vnetv1.AddLinkRequest{Node: "h1", Peer: "h2"}); err != nil {
			t.Fatal(err)
		}
		stop := w.refuses("h2")
		w.adapts(auto)
		app := w.run(10, 50*time.Millisecond, w.guests, [][2]int{{0, 1}})
		time.Sleep(time.Minute)
		if n := w.happened("change.failed"); n < 2 || n > 6 {
			t.Errorf("%d changes failed in a minute", n)
		}
		stop()
		w.await("it is done when it can be", func() bool { return w.happened("adapt.divert") == 1 })
		app.end()
	})
}
