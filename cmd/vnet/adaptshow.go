package main

import (
	"fmt"
	"strconv"
	"strings"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func printAdaptation(t *table, a *api.Adaptation) {
	t.line("%s", adaptationLine(a))
	if a.GetPausedUntil() != nil {
		t.line("paused until %s", since(a.GetPausedUntil()))
	}
	if l := a.GetLease(); l != nil {
		t.line("agent %s steers, until %s unless it renews its lease", l.GetAgent(), since(l.GetUntil()))
	}
	if len(a.GetLinks()) > 0 {
		t.row("A", "B", "SINCE", "REASON")
		for _, l := range a.GetLinks() {
			t.row(l.GetA(), l.GetB(), since(l.GetSince()), l.GetReason())
		}
		t.w.Flush()
	}
	if p := a.GetProposal(); p != nil {
		t.line("proposal %d: %s; takes %.0f %% of the groups' bytes (%s) off the Proxy", p.GetId(), p.GetReason(), 100*p.GetGain(), bitrate(p.GetReliefBps()))
		for i, s := range p.GetSteps() {
			t.line("  %d. %s: %s", i+1, s.GetWhat(), s.GetReason())
		}
	}
	for _, e := range a.GetTrials() {
		t.line("%s: %s", e.GetGroup(), e.GetReason())
	}
	if len(a.GetBars()) > 0 {
		t.row("TAKEN BACK", "LINK", "NOT BEFORE", "TIMES", "WHY")
		for _, b := range a.GetBars() {
			t.row(b.GetA()+" and "+b.GetB(), b.GetLink(), since(b.GetUntil()), b.GetCount(), b.GetWhy())
		}
		t.w.Flush()
	}
	if len(a.GetNotDone()) > 0 {
		t.row("NOT DONE", "REASON")
		for _, r := range a.GetNotDone() {
			t.row(r.GetWhat(), r.GetReason())
		}
		t.w.Flush()
	}
	printHistory(t, a.GetHistory())
}

// adaptationLine is "auto by fastpath: 4 fast paths, no limit".
func adaptationLine(a *api.Adaptation) string {
	paths := "1 fast path"
	if n := len(a.GetLinks()); n != 1 {
		paths = fmt.Sprintf("%d fast paths", n)
	}
	limit := "no limit"
	switch {
	case a.GetMaxLinks() > 0 && a.GetMaxPerNode() > 0:
		limit = fmt.Sprintf("at most %d, %d at a node", a.GetMaxLinks(), a.GetMaxPerNode())
	case a.GetMaxLinks() > 0:
		limit = fmt.Sprintf("at most %d", a.GetMaxLinks())
	case a.GetMaxPerNode() > 0:
		limit = fmt.Sprintf("at most %d at a node", a.GetMaxPerNode())
	}
	return fmt.Sprintf("%s by %s: %s, %s", word(a.GetMode(), "ADAPTATION_MODE_"), a.GetPolicy(), paths, limit)
}

// printHistory prints nothing where there is nothing.
func printHistory(t *table, list []*api.Change) {
	if len(list) == 0 {
		return
	}
	t.row("CHANGE", "STARTED", "BY", "OUTCOME", "TOOK", "STAGES", "REASON", "EFFECT")
	for _, ch := range list {
		printChange(t, ch)
	}
	t.w.Flush()
}

func printChange(t *table, ch *api.Change) {
	var stages, effects []string
	for _, s := range ch.GetStages() {
		stages = append(stages, fmt.Sprintf("%s %s", s.GetName(), duration(s.GetTook())))
	}
	for _, e := range ch.GetEffects() {
		effects = append(effects, fmt.Sprintf("%s: %s", e.GetOutcome(), e.GetReason()))
	}
	outcome := ch.GetOutcome()
	if ch.GetWhy() != "" {
		outcome += ": " + ch.GetWhy()
	}
	p := ch.GetProposal()
	number := ""
	if p.GetId() != 0 { // else a person's change, which nobody judges
		number = strconv.FormatUint(uint64(p.GetId()), 10)
	}
	t.row(number, since(ch.GetStarted()), p.GetBy(), outcome, duration(ch.GetTotal()), list(stages), p.GetReason(), strings.Join(effects, "; "))
}
