package proxy

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

const (
	journalBucket = "journal"
	// journalKept is how many decisions the journal has room for: the next takes the place of the oldest.
	journalKept = 256
	// journalEntry in bytes, compressed, is the most one may take; the view of a larger overlay is left out. With the number
	// above it bounds the journal to 16 MiB.
	journalEntry = 64 << 10
	// journalText in bytes is the most an entry may be before that. The text of views shrinks to a twentieth at best: what is
	// longer need not be tried, and what is on disk and longer was not written here.
	journalText = 4 << 20
)

// journal keeps view, decision and effect of every change that adaptation makes or advises. It belongs to the hub; the
// disk is the writer's, and when that is full what waits is at most one journal.
type journal struct {
	disk *store.Writer
	next uint64
	say  func(error)
}

// entry is one decision in the journal.
type entry struct {
	Seq      uint64        `json:"seq"`
	At       time.Time     `json:"at"`
	Run      uint64        `json:"run"` // of the Proxy; tells proposals of the same number apart
	By       string        `json:"by"`  // policy or agent
	View     *fullView     `json:"view,omitempty"`
	Proposal proposalEntry `json:"proposal"`
	Change   uint64        `json:"change,omitempty"`
	Outcome  string        `json:"outcome"`
	Error    string        `json:"error,omitempty"`
	Bound    time.Duration `json:"bound_ns,omitempty"` // on configuration time, as the policy saw it
	Commit   time.Duration `json:"commit_ns,omitempty"`
	Stages   []stageEntry  `json:"stages,omitempty"`
	Effects  []effectEntry `json:"effects,omitempty"`
}

// proposalEntry is a proposal without its target, which its view and policy give again.
type proposalEntry struct {
	ID       uint64          `json:"id"`
	Topology uint64          `json:"topology"`
	Steps    []adapt.Step    `json:"steps"`
	Diverted []adapt.Direct  `json:"diverted,omitempty"`
	Not      []adapt.Refusal `json:"not,omitempty"`
	Gain     float64         `json:"gain"`
	Relief   float64         `json:"relief"`
	Reason   string          `json:"reason"`
}

type stageEntry struct {
	Name string        `json:"name"`
	Took time.Duration `json:"took_ns"`
}

type effectEntry struct {
	At time.Time `json:"at"`
	adapt.Verdict
}

// fullView is all that a policy saw.
type fullView struct {
	viewLine
	Topology vttif.Topology `json:"topology"`
	Matrix   []vttif.Entry  `json:"matrix,omitempty"`
	Past     pastEntry      `json:"past"`
}

// pastEntry is an adapt.Past as far as policies look at it.
type pastEntry struct {
	First   time.Time   `json:"first"`
	Opened  []openEntry `json:"opened,omitempty"`
	Closed  []openEntry `json:"closed,omitempty"`
	Pairs   []pairEntry `json:"pairs,omitempty"`
	Talks   []talkEntry `json:"talks,omitempty"`
	Changes []time.Time `json:"changes,omitempty"`
}

type openEntry struct {
	Ends  adapt.Ends `json:"ends"`
	Since time.Time  `json:"since"`
}

type pairEntry struct {
	Pair vttif.Pair `json:"pair"`
	adapt.PairPast
}

type talkEntry struct {
	Pair        vttif.Pair `json:"pair"`
	Last, Heavy time.Time
}

func pastOut(p adapt.Past) pastEntry {
	out := pastEntry{First: p.First, Changes: p.Changes}
	for ends, since := range p.Opened {
		out.Opened = append(out.Opened, openEntry{ends, since})
	}
	for ends, at := range p.Closed {
		out.Closed = append(out.Closed, openEntry{ends, at})
	}
	for pair, past := range p.Pairs {
		out.Pairs = append(out.Pairs, pairEntry{pair, past})
	}
	for pair, t := range p.Talks {
		out.Talks = append(out.Talks, talkEntry{pair, t.Last, t.Heavy})
	}
	slices.SortFunc(out.Opened, func(a, b openEntry) int { return compareEnds(a.Ends, b.Ends) })
	slices.SortFunc(out.Closed, func(a, b openEntry) int { return compareEnds(a.Ends, b.Ends) })
	slices.SortFunc(out.Pairs, func(a, b pairEntry) int { return a.Pair.Compare(b.Pair) })
	slices.SortFunc(out.Talks, func(a, b talkEntry) int { return a.Pair.Compare(b.Pair) })
	return out
}

func (e pastEntry) past() adapt.Past {
	p := adapt.Past{
		First: e.First, Changes: e.Changes, Opened: map[adapt.Ends]time.Time{}, Closed: map[adapt.Ends]time.Time{}, Pairs: map[vttif.Pair]adapt.PairPast{}, Talks: map[vttif.Pair]adapt.Talk{},
	}
	for _, o := range e.Opened {
		p.Opened[o.Ends] = o.Since
	}
	for _, o := range e.Closed {
		p.Closed[o.Ends] = o.Since
	}
	for _, one := range e.Pairs {
		p.Pairs[one.Pair] = one.PairPast
	}
	for _, t := range e.Talks {
		p.Talks[t.Pair] = adapt.Talk{Last: t.Last, Heavy: t.Heavy}
	}
	return p
}

// view is what the policy saw then.
func (f *fullView) view() adapt.View {
	v := f.viewLine.view()
	v.Topology, v.Matrix, v.Past, v.Config = f.Topology, f.Matrix, f.Past.past(), f.Settings
	return v
}

// open numbers a new entry and takes the view it rests on.
func (j *journal) open(p *pastChange, v adapt.View) {
	j.next++
	p.seq = j.next
	full := fullView{viewLine: viewOut(v, v.Config), Topology: v.Topology, Matrix: v.Matrix, Past: pastOut(v.Past)}
	text, err := json.Marshal(full)
	if err != nil {
		j.say(fmt.Errorf("cannot write a view down: %w", err))
		return
	}
	if len(text) > journalText/2 {
		return
	}
	if packed, err := pack(text); err != nil || len(packed) > journalEntry {
		return // too large to be kept, in memory as well
	}
	p.view = text // as it is now: the hub goes on changing what it points to
}

// write puts an entry on disk, again when more is known of it.
func (j *journal) write(p *pastChange) {
	if p.seq == 0 {
		return
	}
	text, err := p.entry()
	if err == nil {
		text, err = pack(text)
	}
	if err == nil && len(text) > journalEntry {
		short := *p
		short.view = nil
		if text, err = short.entry(); err == nil {
			text, err = pack(text)
		}
	}
	if err != nil {
		j.say(fmt.Errorf("cannot write the journal: %w", err))
		return
	}
	j.disk.Put(journalBucket, fmt.Sprintf("%04d", p.seq%journalKept), text)
}

// entry is a change as a line of the journal.
func (p *pastChange) entry() ([]byte, error) {
	e := entry{
		Seq: p.seq, At: p.started, Run: p.run, By: p.by, Change: p.id, Outcome: p.outcome, Error: p.result.Error, Bound: p.bound, Commit: p.commit,
		Proposal: proposalEntry{
			ID: p.proposal.ID, Topology: p.proposal.Topology, Steps: p.proposal.Steps, Diverted: p.proposal.Diverted, Not: p.proposal.Not,
			Gain: p.proposal.Gain, Relief: p.proposal.Relief, Reason: p.proposal.Reason,
		},
	}
	for s := control.StagePrepare; s <= control.StageDelete; s++ {
		if took := p.result.Took[s]; took > 0 {
			e.Stages = append(e.Stages, stageEntry{s.String(), took})
		}
	}
	for _, one := range p.effects {
		e.Effects = append(e.Effects, effectEntry{one.at, one.Verdict})
	}
	type plain entry
	return json.Marshal(struct {
		plain
		View json.RawMessage `json:"view,omitempty"`
	}{plain(e), p.view})
}

// past is an entry as part of the history.
func (e entry) past() pastChange {
	p := pastChange{
		id: e.Change, what: e.Proposal.Reason, by: e.By, started: e.At, bound: e.Bound, commit: e.Commit, outcome: e.Outcome, run: e.Run, seq: e.Seq,
		proposal: &adapt.Proposal{
			ID: e.Proposal.ID, Topology: e.Proposal.Topology, Steps: e.Proposal.Steps, Diverted: e.Proposal.Diverted, Not: e.Proposal.Not,
			Gain: e.Proposal.Gain, Relief: e.Proposal.Relief, Reason: e.Proposal.Reason,
		},
	}
	p.result.Error = e.Error
	for s := control.StagePrepare; s <= control.StageDelete; s++ {
		for _, st := range e.Stages {
			if st.Name == s.String() {
				p.result.Took[s] = st.Took
			}
		}
	}
	for _, one := range e.Effects {
		p.effects = append(p.effects, effect{one.Verdict, one.At})
	}
	return p
}

func pack(text []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func unpack(text []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(r, journalText+1))
	if err == nil && len(plain) > journalText {
		return nil, errors.New("the entry is too long")
	}
	return plain, err
}

// lines are the journal, oldest first.
func journalLines(s *store.Store) (lines [][]byte, last uint64, err error) {
	type one struct {
		seq  uint64
		text []byte
	}
	var all []one
	err = s.Each(journalBucket, func(_ string, value []byte) error {
		text, err := unpack(value)
		var e struct{ Seq uint64 }
		if err == nil {
			err = json.Unmarshal(text, &e)
		}
		if err == nil { // one that cannot be read is of another version, or half a disk's: the rest is as good
			all = append(all, one{e.Seq, text})
		}
		return nil
	})
	slices.SortFunc(all, func(a, b one) int { return int(int64(a.seq - b.seq)) })
	for _, o := range all {
		lines, last = append(lines, o.text), o.seq
	}
	return lines, last, err
}

// restoreJournal takes up the history where it ended.
func (h *hub) restoreJournal() error {
	lines, last, err := journalLines(h.p.cfg.Store)
	if err != nil {
		return fmt.Errorf("cannot read the journal: %w", err)
	}
	h.journal = journal{disk: h.p.disk, next: last, say: func(err error) { h.p.event("warning", err.Error(), nil) }}
	for _, text := range lines[max(0, len(lines)-historyKept):] {
		var e entry
		if json.Unmarshal(text, &e) == nil {
			h.history = append(h.history, e.past())
		}
	}
	return nil
}

// GetJournal sends all that the journal holds.
func (p *Proxy) GetJournal(ctx context.Context, _ *vnetv1.GetJournalRequest, send func(*vnetv1.GetJournalResponse) error) error {
	_ = p.disk.Settle(ctx) // what a full disk has not taken is not there to be read
	lines, _, err := journalLines(p.cfg.Store)
	if err != nil {
		return unavailable("cannot read the journal: %w", err)
	}
	for _, text := range lines {
		if err := send(&vnetv1.GetJournalResponse{Line: text}); err != nil {
			return err
		}
	}
	return nil
}
