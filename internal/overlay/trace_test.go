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
