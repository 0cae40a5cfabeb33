package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
)

// keepJournal runs a writer until the test ends.
func keepJournal(t *testing.T, s *store.Store) (*journal, func()) {
	t.Helper()
	disk := store.NewWriter(s, func(error) {})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { disk.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return &journal{disk: disk, say: func(err error) { t.Error(err) }}, func() { disk.Settle(ctx) }
}

func pastOf(id uint64) *pastChange {
	return &pastChange{
		what: "ring", by: "fastpath", started: time.Unix(int64(id), 0).UTC(), bound: time.Second, outcome: committed, run: 1,
		proposal: &adapt.Proposal{ID: id, Reason: "ring", Steps: []adapt.Step{{Kind: adapt.OpenLink, What: "h1–h2", Reason: "busy"}}},
	}
}

// The journal keeps the last decisions and no more, goes on after a restart, and leaves out a view that is too large.
func TestTheJournalIsBounded(t *testing.T) {
	disk := store.Memory()
	j, settle := keepJournal(t, disk)
	o := overlay.New("proxy")
	for id := range uint64(journalKept + 50) {
		past := pastOf(id + 1)
		j.open(past, adapt.View{Overlay: o})
		j.write(past)
		if id%10 == 0 {
			past.effects = append(past.effects, effect{adapt.Verdict{Outcome: adapt.Kept, Reason: "faster"}, time.Unix(1, 0)})
			j.write(past) // the same entry, with what is known now
		}
	}
	settle()
	lines, last, err := journalLines(disk)
	if err != nil || len(lines) != journalKept || last != journalKept+50 {
		t.Fatalf("%d lines up to %d, %v", len(lines), last, err)
	}
	for i, text := range lines {
		var e entry
		if err := json.Unmarshal(text, &e); err != nil || e.Seq != uint64(51+i) || e.Proposal.ID != e.Seq || e.View == nil {
			t.Fatalf("line %d: %s, %v", i, text, err)
		}
		if got, want := e.past(), pastOf(e.Seq); got.proposal.Reason != want.proposal.Reason || !got.started.Equal(want.started) || got.bound != want.bound || got.outcome != committed {
			t.Errorf("read back: %+v", got)
		}
	}
	dice := rand.New(rand.NewPCG(1, 1))
	for i := range 20_000 {
		o.Nodes[overlay.Name(fmt.Sprintf("n%d-%x", i, dice.Uint64()))] = &overlay.Node{}
	}
	past := pastOf(1000)
	if j.open(past, adapt.View{Overlay: o}); past.view != nil {
		t.Errorf("a view of %d bytes is kept in memory", len(past.view))
	}
	j.write(past)
	settle()
	lines, _, _ = journalLines(disk)
	if final := lines[len(lines)-1]; len(final) > journalEntry || bytes.Contains(final, []byte(`"view"`)) || !bytes.Contains(final, []byte(`"id":1000`)) {
		t.Errorf("the last line has %d bytes", len(final))
	}
}

// A recording can be played to another policy as if that had been in charge; a journal decision by decision.
func TestAnotherPolicyIsTriedOffline(t *testing.T) {
	recording := recordRing(t)
	for policy, want := range map[string]string{"fastpath": "4 links", "oracle": "1 link", "mesh": "6 links", "star": ""} {
		var all []Decision
		got, err := Replan(bytes.NewReader(recording), policy, "02:00:00:00:00:01=02:00:00:00:00:03", func(d Decision) { all = append(all, d) })
		if err != nil || got.Journal || got.Decisions != len(all) || want == "" && len(all) > 0 {
			t.Errorf("%s: %+v, %v, %v", policy, got, all, err)
		}
		if want != "" && (len(all) == 0 || !strings.Contains(all[0].Now, want+" to open")) {
			t.Errorf("%s: %v, want %s", policy, all, want)
		}
		if len(all) > 1 {
			t.Errorf("%s is not content with its own change: %d decisions", policy, len(all))
		}
	}
	for _, bad := range []string{"", "{}", "no JSON", `{"start":{"format":1}}` + "\n{"} {
		if _, err := Replan(strings.NewReader(bad), "star", "", func(Decision) {}); err == nil {
			t.Errorf("%q can be replayed", bad)
		}
	}
	if _, err := Replan(strings.NewReader(""), "best", "", nil); err == nil || errors.Unwrap(err) != nil {
		t.Errorf("an unknown policy: %v", err)
	}
}
