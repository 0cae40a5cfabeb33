package control

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// fastPath is the usual change: two hosts get a link, inert rules and source rules, and an old rule each goes.
func fastPath() ChangeConfig {
	link := overlay.Link{A: "a", B: "b", Origin: overlay.OriginAdapted}
	both := func(a, b overlay.NodeStage) map[overlay.Name]overlay.NodeStage {
		return map[overlay.Name]overlay.NodeStage{"a": a, "b": b}
	}
	return ChangeConfig{
		ID: 7, Wait: time.Second, Generation: 3,
		Candidates: map[overlay.Name][]netip.AddrPort{"b": {netip.MustParseAddrPort("192.0.2.2:4242")}},
		Stages: overlay.Stages{
			Prepare: both(overlay.NodeStage{OpenLinks: []overlay.Link{link}, AddRules: numbered(11)}, overlay.NodeStage{AddRules: numbered(21)}),
			Flip:    both(overlay.NodeStage{AddRules: numbered(12)}, overlay.NodeStage{AddRules: numbered(22)}),
			Finish:  both(overlay.NodeStage{DeleteRules: numbered(1)}, overlay.NodeStage{DeleteRules: numbered(2)}),
			Delete:  map[overlay.Name]overlay.NodeStage{"a": {DeleteRules: numbered(3)}},
		},
	}
}

func yes(node overlay.Name, s Stage) Reply {
	return Reply{node, StageReply{Change: 7, Stage: s, OK: true}}
}

func no(node overlay.Name, s Stage, why string, failed ...LinkFailure) Reply {
	return Reply{node, StageReply{Change: 7, Stage: s, Error: why, Failed: failed}}
}

func TestChange(t *testing.T) {
	prepare := "to a: prepare open b (dial) +[11] -[]\n to b: prepare open a +[21] -[]"
	flip := "to a: flip +[12] -[]\n to b: flip +[22] -[]"
	finish := "to a: finish +[] -[1]\n to b: finish +[] -[2]"
	toFlip := []said[ChangeEvent]{
		{0, Start{}, prepare},
		{5 * ms, yes("b", StagePrepare), ""},
		{6 * ms, yes("a", StagePrepare), flip},
	}
	stories := map[string][]said[ChangeEvent]{
		"all goes well": append(toFlip[:3:3],
			said[ChangeEvent]{10 * ms, yes("a", StageFlip), ""},
			said[ChangeEvent]{12 * ms, yes("b", StageFlip), "committed after 12ms\n" + finish},
			said[ChangeEvent]{14 * ms, yes("a", StageFinish), ""},
			said[ChangeEvent]{15 * ms, yes("b", StageFinish), ""},
			said[ChangeEvent]{500 * ms, Tick{}, ""},
			said[ChangeEvent]{1015 * ms, Tick{}, "to a: delete +[] -[3]\n to b: delete"},
			said[ChangeEvent]{1016 * ms, yes("b", StageDelete), ""},
			said[ChangeEvent]{1017 * ms, yes("a", StageDelete), "done ok=true reached=delete a=delete b=delete"},
			said[ChangeEvent]{1018 * ms, yes("a", StageDelete), ""}),
		"repeated and early replies are harmless": {
			{0, yes("a", StagePrepare), ""},
			{0, Start{}, prepare},
			{1 * ms, Start{}, ""},
			{1 * ms, yes("a", StageFlip), ""},
			{2 * ms, yes("a", StagePrepare), ""},
			{3 * ms, yes("a", StagePrepare), ""},
			{3 * ms, yes("stranger", StagePrepare), ""},
			{3 * ms, Reply{"b", StageReply{Change: 6, Stage: StagePrepare, OK: true}}, ""},
			{4 * ms, yes("b", StagePrepare), flip},
		},
		"a link fails: all is taken back once everybody answered": {
			{0, Start{}, prepare},
			{3000 * ms, no("a", StagePrepare, "cannot open link to b: no answer", LinkFailure{"b", "no answer"}), ""},
			{3001 * ms, no("b", StagePrepare, "cannot open link to a: no answer", LinkFailure{"a", "no answer"}), "to a: abort\n to b: abort"},
			{3002 * ms, yes("a", StageAbort), ""},
			{3003 * ms, yes("b", StageAbort), "done ok=false reached=abort a=abort b=abort: a cannot prepare: cannot open link to b: no answer"},
		},
		"a node is lost while preparing": {
			{0, Start{}, prepare},
			{1 * ms, NodeLost{"b"}, ""},
			{2 * ms, yes("a", StagePrepare), "to a: abort"},
			{3 * ms, yes("a", StageAbort), "done ok=false reached=abort a=abort b=none(lost): b was lost before it confirmed prepare"},
		},
		"a node comes back in time": {
			{0, Start{}, prepare},
			{1 * ms, NodeLost{"b"}, ""},
			{2 * ms, NodeBack{"b"}, "to b: prepare open a +[21] -[]"},
			{3 * ms, yes("a", StagePrepare), ""},
			{4 * ms, yes("b", StagePrepare), flip},
		},
		"nobody answers": {
			{0, Start{}, prepare},
			{1000 * ms, Tick{}, prepare},
			{5000 * ms, Tick{}, "to a: abort\n to b: abort"},
			{7000 * ms, Tick{}, "done ok=false reached=abort a=none b=none: a did not answer prepare in time"},
		},
		"lost while flipping: the other goes on, what is old stays": append(toFlip[:3:3],
			said[ChangeEvent]{7 * ms, NodeLost{"b"}, ""},
			said[ChangeEvent]{8 * ms, yes("a", StageFlip), ""},
			said[ChangeEvent]{2006 * ms, Tick{}, ""},
			said[ChangeEvent]{2007 * ms, Tick{}, "committed after 2.007s [b]\n" +
				"done ok=false reached=prepare a=flip b=prepare(lost): b was lost before it confirmed flip"}),
		"lost while flipping and back": append(toFlip[:3:3],
			said[ChangeEvent]{7 * ms, NodeLost{"b"}, ""},
			said[ChangeEvent]{8 * ms, yes("a", StageFlip), ""},
			said[ChangeEvent]{900 * ms, NodeBack{"b"}, "to b: flip +[22] -[]"},
			said[ChangeEvent]{901 * ms, yes("b", StageFlip), "committed after 901ms\n" + finish}),
		"silent while flipping": append(toFlip[:3:3],
			said[ChangeEvent]{8 * ms, yes("a", StageFlip), ""},
			said[ChangeEvent]{1006 * ms, Tick{}, "to b: flip +[22] -[]"},
			said[ChangeEvent]{4006 * ms, Tick{}, "committed after 4.006s [b]\n" +
				"done ok=false reached=prepare a=flip b=prepare: b did not answer flip in time"}),
		"lost while finishing": append(toFlip[:3:3],
			said[ChangeEvent]{10 * ms, yes("a", StageFlip), ""},
			said[ChangeEvent]{10 * ms, yes("b", StageFlip), "committed after 10ms\n" + finish},
			said[ChangeEvent]{11 * ms, yes("a", StageFinish), ""},
			said[ChangeEvent]{12 * ms, NodeLost{"b"}, ""},
			said[ChangeEvent]{2012 * ms, Tick{}, "done ok=false reached=flip a=finish b=flip(lost): b was lost before it confirmed finish"}),
		"a flip is refused: sources go back, stragglers are waited for": append(toFlip[:3:3],
			said[ChangeEvent]{7 * ms, yes("a", StageFlip), ""},
			said[ChangeEvent]{8 * ms, no("b", StageFlip, "change 7 expired here"), "to a: abort wait 1s\n to b: abort wait 1s"},
			said[ChangeEvent]{9 * ms, yes("b", StageAbort), ""},
			said[ChangeEvent]{1010 * ms, Tick{}, "to a: abort wait 1s"},
			said[ChangeEvent]{1011 * ms, yes("a", StageAbort), "done ok=false reached=abort a=abort b=abort: b refused to flip: change 7 expired here"}),
		"silent while deleting": append(toFlip[:3:3],
			said[ChangeEvent]{10 * ms, yes("a", StageFlip), ""},
			said[ChangeEvent]{10 * ms, yes("b", StageFlip), "committed after 10ms\n" + finish},
			said[ChangeEvent]{10 * ms, yes("a", StageFinish), ""},
			said[ChangeEvent]{10 * ms, yes("b", StageFinish), ""},
			said[ChangeEvent]{1010 * ms, Tick{}, "to a: delete +[] -[3]\n to b: delete"},
			said[ChangeEvent]{1020 * ms, yes("b", StageDelete), ""},
			said[ChangeEvent]{6010 * ms, Tick{}, "done ok=false reached=finish a=finish b=delete: a did not answer delete in time"}),
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) { tell(t, NewChange(fastPath()), story) })
	}
}

func TestEmptyChangeTimesTheConfiguration(t *testing.T) {
	c := NewChange(ChangeConfig{ID: 7, Nodes: []overlay.Name{"a"}, Wait: time.Second})
	tell(t, c, []said[ChangeEvent]{
		{0, Start{}, "to a: prepare"},
		{2 * ms, yes("a", StagePrepare), "to a: flip"},
		{4 * ms, yes("a", StageFlip), "committed after 4ms\n to a: finish"},
		{6 * ms, yes("a", StageFinish), "to a: delete"}, // nothing old: no stragglers
		{8 * ms, yes("a", StageDelete), "done ok=true reached=delete a=delete"},
	})
	tell(t, NewChange(ChangeConfig{ID: 8}), []said[ChangeEvent]{
		{0, Start{}, "committed after 0s\n done ok=true reached=delete"},
	})
}

func TestResultSaysWhatFailedAndHowLongItTook(t *testing.T) {
	c := NewChange(fastPath())
	c.Step(noon(), Start{})
	c.Step(noon().Add(time.Second), no("b", StagePrepare, "no", LinkFailure{"a", "silence"}))
	c.Step(noon().Add(2*time.Second), no("a", StagePrepare, "no", LinkFailure{"b", "silence"}))
	c.Step(noon().Add(3*time.Second), yes("a", StageAbort))
	effects := c.Step(noon().Add(4*time.Second), yes("b", StageAbort))
	r := effects[len(effects)-1].(Done).Result
	if got := r.FailedLinks(); len(got) != 1 || got[0] != [2]overlay.Name{"a", "b"} {
		t.Errorf("failed links %v, want a-b once", got)
	}
	if r.Took[StagePrepare] != 2*time.Second || r.Took[StageAbort] != 2*time.Second || r.Commit != 0 {
		t.Errorf("took %v, commit %v", r.Took, r.Commit)
	}
	if !c.Over() || !c.NextTime().IsZero() {
		t.Error("the machine is not over")
	}
}

func TestWaitFor(t *testing.T) {
	for rtt, want := range map[time.Duration]time.Duration{0: time.Second, 100 * ms: time.Second, 600 * ms: 1200 * ms} {
		if got := WaitFor(rtt); got != want {
			t.Errorf("WaitFor(%v) = %v, want %v", rtt, got, want)
		}
	}
}

// A plan of the overlay room, carried out as it comes.
func TestChangeTakesAPlan(t *testing.T) {
	from := overlay.New("proxy")
	for _, n := range []overlay.Name{"a", "b"} {
		from.Nodes[n] = &overlay.Node{Name: n, Ports: []overlay.Port{{Name: "vm"}}}
		from.AddLink(overlay.MakeLink(n, "proxy", overlay.OriginStar))
	}
	to := from.Clone()
	to.AddLink(overlay.MakeLink("a", "b", overlay.OriginAdapted))
	src, dst := overlay.ExactMAC(guest(1)), overlay.ExactMAC(guest(2))
	to.AddRule("a", overlay.Rule{Arrival: overlay.AtPort("vm"), Src: src, Dst: dst, Out: overlay.AtLink("b"), Origin: overlay.OriginAdapted})
	to.AddRule("b", overlay.Rule{Arrival: overlay.AtLink("a"), Src: src, Dst: dst, Out: overlay.AtPort("vm"), Origin: overlay.OriginAdapted})
	stages, err := overlay.Plan(from, to)
	if err != nil {
		t.Fatal(err)
	}
	rule := func(n overlay.Name) uint64 { return to.Nodes[n].Rules[0].ID }
	c := NewChange(ChangeConfig{ID: 7, Stages: stages, Wait: time.Second})
	tell(t, c, []said[ChangeEvent]{
		{0, Start{}, fmt.Sprintf("to a: prepare open b\n to b: prepare open a +[%d] -[]", rule("b"))},
		{1 * ms, yes("a", StagePrepare), ""},
		{2 * ms, yes("b", StagePrepare), fmt.Sprintf("to a: flip +[%d] -[]\n to b: flip", rule("a"))},
		{3 * ms, yes("b", StageFlip), ""},
		{4 * ms, yes("a", StageFlip), "committed after 4ms\n to a: finish\n to b: finish"},
	})
}
