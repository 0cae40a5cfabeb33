package overlay

import (
	"fmt"
	"strings"
	"testing"
)

func TestTrace(t *testing.T) {
	o := hosts(3)
	bus(o, 3)
	for _, tt := range []struct {
		name string
		at   Name
		side Side
		src  int
		dst  int
		cond Condition
		want string
	}{
		{name: "over the bus", at: "h0", side: AtPort("v"), src: 0, dst: 2, want: `
h0 from port:v to link:h1 (rule 14, rank 8)
h1 from link:h0 to link:h2 (rule 15, rank 8)
h2 from link:h1 to port:v (rule 11, rank 6)
delivered`},
		{name: "back on the star", at: "h0", side: AtPort("v"), src: 0, dst: 2, cond: Condition{DownLinks: []Link{MakeLink("h1", "h0", 0)}}, want: `
h0 from port:v to link:p (rule 9, rank 6)
p from link:h0 to link:h2 (rule 12, rank 6)
h2 from link:p to port:v (rule 11, rank 6)
delivered`},
		{name: "the far host is gone", at: "h0", side: AtPort("v"), src: 0, dst: 2, cond: Condition{DownLinks: []Link{MakeLink("h1", "h2", 0), MakeLink("p", "h2", 0)}}, want: `
h0 from port:v to link:h1 (rule 14, rank 8)
h1 from link:h0 to link:p (rule 10, rank 6)
p from link:h1 (output down)
dropped`},
		{name: "nobody knows it", at: "h0", side: AtPort("v"), src: 0, dst: 9, want: `
h0 from port:v (unknown destination)
flooded`},
		{name: "a stranger on a fast path", at: "h1", side: AtLink("h0"), src: 0, dst: 9, want: `
h1 from link:h0 (no rule on a fast path)
dropped`},
		{name: "home already", at: "h0", side: AtPort("v"), src: 9, dst: 0, want: `
h0 from port:v (same side 1, rank 6)
dropped`},
	} {
		p := o.TraceIn(tt.at, tt.side, mac(tt.src), mac(tt.dst), tt.cond)
		var b strings.Builder
		for _, h := range p.Hops {
			fmt.Fprintf(&b, "\n%s", h)
		}
		fmt.Fprintf(&b, "\n%s", p.End)
		if b.String() != tt.want {
			t.Errorf("%s:%s\nwant%s", tt.name, b.String(), tt.want)
		}
	}
}

// TestTraceFollowsTheTree floods to a VM whose place is known although no rule has it yet.
func TestTraceFollowsTheTree(t *testing.T) {
	o := hosts(2)
	for _, n := range o.Nodes {
		n.Rules = nil
	}
	p := o.Trace("h0", AtPort("v"), mac(0), mac(1))
	if fmt.Sprint(p.Hops) != "[h0 from port:v to link:p (unknown destination) p from link:h0 to link:h1 (unknown destination) h1 from link:p to port:v (unknown destination)]" || p.End != Delivered {
		t.Errorf("%v %v", p.Hops, p.End)
	}
	o.AddRule("h0", rule(t, "src any dst vm1 to link:h1"))
	o.AddRule("h1", rule(t, "from link:h0 src any dst vm1 to link:p"))
	o.AddRule("p", rule(t, "src any dst vm1 to link:h0"))
	o.AddLink(MakeLink("h0", "h1", OriginUser))
	if p := o.Trace("h0", AtPort("v"), mac(0), mac(1)); p.End != Loop || len(p.Hops) < 4 {
		t.Errorf("%v %v, want a loop", p.Hops, p.End)
	}
}

// TestDefaults pins down what a default rule does: towards the star it is the flood tree, elsewhere it is followed.
func TestDefaults(t *testing.T) {
	o := hosts(2)
	o.AddLink(MakeLink("h0", "h1", OriginUser))
	o.AddRule("h0", rule(t, "src vm0 dst none to link:h1"))
	o.AddRule("h0", rule(t, "src any dst none to link:p"))
	for _, tt := range []struct {
		flood  bool
		src    int
		side   Side
		action Action
		reason Reason
		out    Side
	}{
		{true, 0, AtPort("v"), Forward, RuleMatched, AtLink("h1")},
		{true, 1, AtPort("v"), FloodTree, FloodDefault, Side{}},
		{true, 1, AtLink("h1"), Drop, DropFastPathNoRule, Side{}},
		{true, 0, AtLink("h1"), Drop, DropSameSide, AtLink("h1")},
		{false, 1, AtPort("v"), Forward, RuleMatched, AtLink("p")},
		{false, 1, AtLink("p"), Drop, DropSameSide, AtLink("p")},
	} {
		o.Flood = tt.flood
		v := o.Decide("h0", tt.side, mac(tt.src), mac(9), Condition{})
		if v.Action != tt.action || v.Reason != tt.reason || v.Out != tt.out {
			t.Errorf("flood %v, from vm%d by %v: %+v", tt.flood, tt.src, tt.side, v)
		}
	}
}

// Learned rules cut the flood tree down to a branch; they make no way that the tree does not have.
func TestLearnedRulesFollowTheTree(t *testing.T) {
	o := hosts(2)
	o.AddLink(MakeLink("h0", "h1", OriginUser))
	for _, n := range o.Nodes {
		for i := range n.Rules {
			n.Rules[i].Origin = OriginLearned
		}
	}
	o.AddRule("h0", Rule{ID: 100, Src: ExactMAC(mac(7)), Dst: Match{Kind: Any}, Out: AtLink("h1")})
	for _, tt := range []struct {
		name     string
		at       Name
		arrival  Side
		src, dst int
		want     string
	}{
		{"up the star", "h0", AtPort("v"), 0, 1, "forward link:p"},
		{"down the star", "p", AtLink("h0"), 0, 1, "forward link:h1"},
		{"to its port", "h1", AtLink("p"), 0, 1, "forward port:v"},
		{"to its port from a fast path", "h1", AtLink("h0"), 0, 1, "forward port:v"},
		{"from a fast path never up", "h1", AtLink("h0"), 1, 0, "no rule on a fast path"},
		{"home already", "h0", AtPort("v"), 1, 0, "same side"},
		{"a user's rule goes first, however weak", "h0", AtPort("v"), 7, 1, "forward link:h1"},
		{"nobody has seen it", "h0", AtPort("v"), 0, 9, "flood [link:p]"},
	} {
		v := o.Decide(tt.at, tt.arrival, mac(tt.src), mac(tt.dst), Condition{})
		got := v.Reason.String()
		switch v.Action {
		case Forward:
			got = fmt.Sprintf("forward %s", v.Out)
		case FloodTree:
			got = fmt.Sprintf("flood %v", v.Outs)
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	if cycles := o.Cycles(); len(cycles) > 0 {
		t.Errorf("%v", cycles)
	}
}
