package control

import (
	"slices"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

func asked(s Stage, more ...func(*StageRequest)) Asked {
	r := StageRequest{Change: 7, Stage: s}
	switch s {
	case StagePrepare:
		r.OpenLinks, r.AddRules = []LinkSpec{{Peer: "b"}}, numbered(11)
	case StageFlip:
		r.AddRules, r.DeleteRules = numbered(12), []uint64{1}
	case StageDelete:
		r.DeleteRules, r.CloseLinks = []uint64{3}, []overlay.Name{"c"}
	}
	for _, change := range more {
		change(&r)
	}
	return Asked{r}
}

func edited(s Stage, removed ...uint64) RulesEdited {
	return RulesEdited{Change: 7, Stage: s, Removed: numbered(removed...)}
}

func TestPrepared(t *testing.T) {
	wait := func(r *StageRequest) { r.Wait = time.Second }
	toPrepared := []said[PreparedEvent]{
		{0, asked(StagePrepare), "open link to b\n edit rules for prepare +[11] -[]"},
		{0, edited(StagePrepare), ""},
		{5 * ms, LinkProved{Peer: "b"}, "reply prepare ok=true"},
	}
	toFlipped := append(toPrepared[:3:3],
		said[PreparedEvent]{8 * ms, asked(StageFlip), "edit rules for flip +[12] -[1]"},
		said[PreparedEvent]{8 * ms, edited(StageFlip, 1), "reply flip ok=true"})
	undo := "edit rules for abort +[] -[11]\n close link to b: "
	stories := map[string][]said[PreparedEvent]{
		"all goes well, everything asked for twice": append(toFlipped[:5:5],
			said[PreparedEvent]{9 * ms, asked(StageFlip), "reply flip ok=true"},
			said[PreparedEvent]{9 * ms, asked(StagePrepare), "reply prepare ok=true"},
			said[PreparedEvent]{10 * ms, asked(StageFinish), "reply finish ok=true"},
			said[PreparedEvent]{20 * ms, asked(StageDelete), "edit rules for delete +[] -[3]"},
			said[PreparedEvent]{20 * ms, asked(StageDelete), ""},
			said[PreparedEvent]{20 * ms, edited(StageDelete), "close link to c: no longer part of the topology\n reply delete ok=true"},
			said[PreparedEvent]{21 * ms, asked(StageDelete), "reply delete ok=true"},
			said[PreparedEvent]{22 * ms, asked(StageAbort), "reply abort ok=false: the change is complete here and cannot be taken back"},
			said[PreparedEvent]{time.Hour, Tick{}, ""}),
		"expires": append(toPrepared[:3:3],
			said[PreparedEvent]{10004 * ms, Tick{}, ""},
			said[PreparedEvent]{10005 * ms, Tick{}, undo + "prepared state expired"},
			said[PreparedEvent]{10006 * ms, asked(StageFlip), "reply flip ok=false: change 7 expired here: no flip within 10s of preparing"},
			said[PreparedEvent]{10007 * ms, asked(StagePrepare), "reply prepare ok=false: change 7 expired here: no flip within 10s of preparing"},
			said[PreparedEvent]{10008 * ms, asked(StageAbort), "reply abort ok=true"}),
		"does not expire without the Proxy": append(toPrepared[:3:3],
			said[PreparedEvent]{1000 * ms, ProxyLost{}, ""},
			said[PreparedEvent]{60000 * ms, Tick{}, ""},
			said[PreparedEvent]{61000 * ms, ProxyBack{}, ""},
			said[PreparedEvent]{70999 * ms, Tick{}, ""},
			said[PreparedEvent]{71000 * ms, Tick{}, undo + "prepared state expired"}),
		"flipped state does not expire": append(toFlipped[:5:5],
			said[PreparedEvent]{time.Hour, Tick{}, ""}),
		"a link that stood before is not closed": {
			{0, asked(StagePrepare), "open link to b\n edit rules for prepare +[11] -[]"},
			{0, LinkProved{Peer: "b", Existed: true}, ""},
			{0, edited(StagePrepare), "reply prepare ok=true"},
			{9 * ms, asked(StageAbort), "edit rules for abort +[] -[11]\n reply abort ok=true"},
		},
		"a link fails": {
			{0, asked(StagePrepare), "open link to b\n edit rules for prepare +[11] -[]"},
			{0, edited(StagePrepare), ""},
			{9 * ms, LinkFailed{"b", "refused"}, undo + "change could not be prepared\n reply prepare ok=false: cannot open link to b: refused"},
			{10 * ms, asked(StagePrepare), "reply prepare ok=false: cannot open link to b: refused"},
			{10 * ms, asked(StageFlip), "reply flip ok=false: change 7 could not be prepared here"},
		},
		"a link takes too long": {
			{0, asked(StagePrepare), "open link to b\n edit rules for prepare +[11] -[]"},
			{0, edited(StagePrepare), ""},
			{3000 * ms, LinkTrouble{"b", "no answer over udp"}, ""},
			{4000 * ms, Tick{}, undo + "change could not be prepared\n reply prepare ok=false: cannot open link to b: not proven within 4s: no answer over udp"},
			{4001 * ms, LinkProved{Peer: "b"}, ""},
		},
		"rules are refused": {
			{0, asked(StagePrepare), "open link to b\n edit rules for prepare +[11] -[]"},
			{0, RulesEdited{Change: 7, Stage: StagePrepare, Error: "no port vm9"}, ""},
			{0, LinkProved{Peer: "b"}, undo + "change could not be prepared\n reply prepare ok=false: no port vm9"},
		},
		"a flip is taken back: the source at once, the rest after stragglers": append(toFlipped[:5:5],
			said[PreparedEvent]{100 * ms, asked(StageAbort, wait), "edit rules for abort +[1] -[12]"},
			said[PreparedEvent]{101 * ms, asked(StageAbort, wait), ""},
			said[PreparedEvent]{102 * ms, asked(StageFinish), "reply finish ok=false: change 7 was taken back"},
			said[PreparedEvent]{1100 * ms, Tick{}, undo + "change was taken back\n reply abort ok=true"},
			said[PreparedEvent]{1101 * ms, asked(StageAbort, wait), "reply abort ok=true"}),
		"an abort while the flip is being done waits for it": append(toPrepared[:3:3],
			said[PreparedEvent]{8 * ms, asked(StageFlip), "edit rules for flip +[12] -[1]"},
			said[PreparedEvent]{8 * ms, asked(StageAbort), ""},
			said[PreparedEvent]{9 * ms, edited(StageFlip, 1), "reply flip ok=true\n edit rules for abort +[1] -[12]\n" + undo + "change was taken back\n reply abort ok=true"}),
		"an abort overtakes its prepare": {
			{0, asked(StageAbort), "reply abort ok=true"},
			{1, asked(StagePrepare), "reply prepare ok=false: change 7 was taken back"},
		},
		"out of order": {
			{0, asked(StageFlip), "reply flip ok=false: change 7 is not known here; the node has restarted or forgotten it"},
			{0, asked(StagePrepare), "open link to b\n edit rules for prepare +[11] -[]"},
			{0, asked(StageFlip), "reply flip ok=false: prepare of change 7 is still under way"},
			{0, edited(StagePrepare), ""},
			{0, LinkProved{Peer: "b"}, "reply prepare ok=true"},
			{0, asked(StageDelete), "reply delete ok=false: change 7 cannot delete here before it can flip"},
			{0, asked(StageAbort + 1), "reply unknown ok=false: this stage is not known here; the node may be older than the Proxy"},
		},
		"a later change inherits the link of one that is taken back": append(toFlipped[:5:5],
			said[PreparedEvent]{100 * ms, asked(StageAbort, wait), "edit rules for abort +[1] -[12]"},
			said[PreparedEvent]{200 * ms, Asked{StageRequest{Change: 8, Stage: StagePrepare, OpenLinks: []LinkSpec{{Peer: "b"}}}}, "open link to b"},
			said[PreparedEvent]{200 * ms, LinkProved{Peer: "b", Existed: true}, "reply prepare ok=true"},
			said[PreparedEvent]{1100 * ms, Tick{}, "edit rules for abort +[] -[11]\n reply abort ok=true"},
			said[PreparedEvent]{1200 * ms, Asked{StageRequest{Change: 8, Stage: StageAbort}}, "close link to b: change was taken back\n reply abort ok=true"}),
		"a later change keeps a link that the one before would close": append(toFlipped[:5:5],
			said[PreparedEvent]{10 * ms, asked(StageFinish), "reply finish ok=true"},
			said[PreparedEvent]{20 * ms, Asked{StageRequest{Change: 8, Stage: StagePrepare, OpenLinks: []LinkSpec{{Peer: "c"}}}}, "open link to c"},
			said[PreparedEvent]{20 * ms, LinkProved{Peer: "c", Existed: true}, "reply prepare ok=true"},
			said[PreparedEvent]{1000 * ms, asked(StageDelete), "edit rules for delete +[] -[3]"},
			said[PreparedEvent]{1000 * ms, edited(StageDelete), "reply delete ok=true"},
			said[PreparedEvent]{1100 * ms, Asked{StageRequest{Change: 8, Stage: StageAbort}}, "close link to c: change was taken back\n reply abort ok=true"}),
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) { tell(t, &Prepared{}, story) })
	}
}

func TestProvisionalRulesAreThoseThatMayExpire(t *testing.T) {
	n := &Prepared{}
	n.Step(noon(), asked(StagePrepare))
	n.Step(noon(), edited(StagePrepare))
	n.Step(noon(), LinkProved{Peer: "b"})
	if got := n.Provisional(); !slices.Equal(got, []uint64{11}) {
		t.Errorf("provisional %v, want 11", got)
	}
	n.Step(noon(), asked(StageFlip))
	n.Step(noon(), edited(StageFlip))
	if got := n.Provisional(); len(got) > 0 {
		t.Errorf("provisional %v after the flip, want none", got)
	}
}

func TestPreparedRemembersOnlySoMuch(t *testing.T) {
	n := &Prepared{}
	for id := range uint64(1000) {
		for s := StagePrepare; s <= StageDelete; s++ {
			n.Step(noon(), Asked{StageRequest{Change: id + 1, Stage: s}})
		}
	}
	if len(n.held) > maxRemembered {
		t.Errorf("remembers %d changes, want at most %d", len(n.held), maxRemembered)
	}
}
