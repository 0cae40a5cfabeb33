package adapt

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func mac(i int) ether.MAC { return ether.MAC{2, 0, 0, 0, 0, byte(i)} }

// star is an overlay of hosts host1… with one VM each, vm1… ; host 0 is the Proxy, with vm0 and a LAN port.
func star(hosts int) *overlay.Overlay {
	o := overlay.New("proxy")
	o.Nodes["proxy"].Ports = []overlay.Port{{Name: "lan", LAN: true}}
	o.VMs[mac(0)] = overlay.VM{MAC: mac(0), Name: "vm0", Node: "proxy", Port: "lan"}
	for i := 1; i <= hosts; i++ {
		place(o, i, host(i))
	}
	return o
}

func host(i int) overlay.Name { return overlay.Name(fmt.Sprint("host", i)) }

// place puts VM i on a node, with a port of its own and rules that lead to it.
func place(o *overlay.Overlay, i int, at overlay.Name) {
	if o.Nodes[at] == nil {
		o.Nodes[at] = &overlay.Node{Name: at}
	}
	name := fmt.Sprint("vm", i)
	n := o.Nodes[at]
	if !n.HasPort(name) {
		n.Ports = append(n.Ports, overlay.Port{Name: name})
	}
	o.VMs[mac(i)] = overlay.VM{MAC: mac(i), Name: name, Node: at, Port: name}
	toAny := overlay.Match{Kind: overlay.Any}
	o.AddRule(at, overlay.Rule{Src: toAny, Dst: overlay.ExactMAC(mac(i)), Out: overlay.AtPort(name), Origin: overlay.OriginStar})
	if at != o.Proxy {
		o.AddRule(o.Proxy, overlay.Rule{Src: toAny, Dst: overlay.ExactMAC(mac(i)), Out: overlay.AtLink(at), Origin: overlay.OriginStar})
	}
}

// topology is one group of the given edges: a, b, megabytes/s.
func topology(version uint64, edges ...[3]int) vttif.Topology {
	if len(edges) == 0 {
		return vttif.Topology{Version: version}
	}
	g := vttif.Group{Name: "group"}
	for _, e := range edges {
		g.Edges = append(g.Edges, vttif.Edge{A: mac(e[0]), B: mac(e[1]), Rate: float64(e[2]) * 1e6})
		g.Rate += float64(e[2]) * 1e6
		g.VMs = append(g.VMs, mac(e[0]), mac(e[1]))
	}
	slices.SortFunc(g.VMs, ether.MAC.Compare)
	g.VMs = slices.Compact(g.VMs)
	return vttif.Topology{Version: version, Edges: g.Edges, Groups: []vttif.Group{g}}
}

// moment is one Step of a story; what it proposes is carried out unless refused is set.
type moment struct {
	at      int // seconds
	edges   [][3]int
	failed  []string // barred links "host1–host2"
	away    []int    // hosts
	pin     string   // a link, of the user's
	move    [2]int   // VM to host, before the Step
	plan    [][]int  // of an agent: a VM, the hosts between, another VM
	refused bool
	want    string // kinds and whats, one a line; "" = no proposal
	says    string // a part of the reason of a step or a refusal
}

// carryOut numbers the new rules, as the Proxy does.
func carryOut(p Proposal) *overlay.Overlay {
	o := p.Target.Clone()
	for _, name := range o.Names() {
		for i := range o.Nodes[name].Rules {
			if r := &o.Nodes[name].Rules[i]; r.ID == 0 {
				r.ID = o.NextID()
			}
		}
	}
	return o
}

// turnsBack has rules of the user's for vm4 that host1 must not be led into: what its port does not take goes round host3 and host1.
func turnsBack(o *overlay.Overlay) {
	for _, ends := range [][2]overlay.Name{{"host1", "host3"}, {"host3", "host4"}} {
		o.AddLink(overlay.MakeLink(ends[0], ends[1], overlay.OriginUser))
	}
	toVM4 := func(at, over overlay.Name) {
		o.AddRule(at, overlay.Rule{Src: overlay.Match{Kind: overlay.Any}, Dst: overlay.ExactMAC(mac(4)), Out: overlay.AtLink(over)})
	}
	toVM4("host3", "host1")
	toVM4("host4", "host3") // should its port be gone
}

// reasons are those of what is done and of what is not, one a line.
func reasons(p Proposal) string {
	var text strings.Builder
	for _, s := range p.Steps {
		fmt.Fprintln(&text, s.Kind, s.What+":", s.Reason)
	}
	for _, r := range p.Not {
		fmt.Fprintln(&text, "not", r.What+":", r.Reason)
	}
	return text.String()
}

func TestStories(t *testing.T) {
	for _, row := range []struct {
		name   string
		config Config
		before func(*overlay.Overlay)
		story  []moment
	}{
		{name: "a ring gets its links, once, and loses them when it is over", story: []moment{
			{at: 0, want: ""},
			{at: 1, edges: [][3]int{{1, 2, 9}, {2, 3, 9}, {1, 3, 9}}, want: "open link host1–host2, open link host1–host3, open link host2–host3, " +
				"divert vm1 and vm2 over host1–host2, divert vm1 and vm3 over host1–host3, divert vm2 and vm3 over host2–host3"},
			{at: 2, edges: [][3]int{{1, 2, 5}, {2, 3, 9}, {1, 3, 1}}, want: ""},
			{at: 30, edges: [][3]int{{1, 2, 5}}, want: "restore vm1 and vm3, restore vm2 and vm3, close link host1–host3, close link host2–host3"},
			{at: 300, want: "restore vm1 and vm2, close link host1–host2"},
			{at: 301, want: ""},
		}},
		{name: "VMs at the Proxy, on its LAN, on one host or unknown need no link", before: func(o *overlay.Overlay) { place(o, 7, "host1") }, story: []moment{
			{at: 0, edges: [][3]int{{0, 1, 9}, {1, 7, 9}, {1, 50, 9}}, want: ""},
		}},
		{name: "k of n: the strongest, and no swap for a little or too soon", config: Config{MaxLinks: 1}, story: []moment{
			{at: 0, edges: [][3]int{{1, 2, 4}, {2, 3, 5}}, want: "open link host2–host3, divert vm2 and vm3 over host2–host3"},
			{at: 1, edges: [][3]int{{1, 2, 100}, {2, 3, 5}}, want: ""},
			{at: 20, edges: [][3]int{{1, 2, 7}, {2, 3, 5}}, want: ""},
			{at: 21, edges: [][3]int{{1, 2, 8}, {2, 3, 5}}, want: "open link host1–host2, divert vm1 and vm2 over host1–host2, restore vm2 and vm3, close link host2–host3"},
		}},
		{name: "a failed link is left alone while it is barred, and the next best is taken", config: Config{MaxLinks: 1}, story: []moment{
			{at: 0, edges: [][3]int{{1, 2, 4}, {2, 3, 5}}, want: "open link host2–host3, divert vm2 and vm3 over host2–host3"},
			{at: 5, edges: [][3]int{{1, 2, 4}, {2, 3, 5}}, failed: []string{"host2–host3"},
				want: "open link host1–host2, divert vm1 and vm2 over host1–host2, restore vm2 and vm3, close link host2–host3"},
		}},
		{name: "a user's link is taken and left in place", config: Config{MaxLinks: 1},
			before: func(o *overlay.Overlay) { o.AddLink(overlay.MakeLink("host1", "host2", overlay.OriginUser)) }, story: []moment{
				{at: 0, edges: [][3]int{{1, 2, 4}, {2, 3, 5}}, want: "open link host2–host3, divert vm2 and vm3 over host2–host3, divert vm1 and vm2 over host1–host2"},
				{at: 100, want: "restore vm1 and vm2, restore vm2 and vm3, close link host2–host3"},
			}},
		{name: "a user's rule for the pair wins", before: func(o *overlay.Overlay) {
			o.AddRule("host1", overlay.Rule{Src: overlay.ExactMAC(mac(1)), Dst: overlay.ExactMAC(mac(2)), Out: overlay.AtLink("proxy")})
		}, story: []moment{{at: 0, edges: [][3]int{{1, 2, 4}}, want: ""}}},
		{name: "VMs of two hosts share a link", before: func(o *overlay.Overlay) { place(o, 7, "host1"); place(o, 8, "host2") }, config: Config{MaxLinks: 1}, story: []moment{
			{at: 0, edges: [][3]int{{1, 2, 2}, {7, 8, 2}, {2, 3, 3}}, want: "open link host1–host2, divert vm1 and vm2 over host1–host2, divert vm7 and vm8 over host1–host2"},
			{at: 50, edges: [][3]int{{1, 2, 4}}, want: "restore vm7 and vm8"},
		}},
		{name: "a VM that moves takes its paths along", story: []moment{
			{at: 0, edges: [][3]int{{1, 2, 2}}, want: "open link host1–host2, divert vm1 and vm2 over host1–host2"},
			{at: 9, edges: [][3]int{{1, 2, 2}}, move: [2]int{2, 3}, want: "open link host1–host3, divert vm1 and vm2 over host1–host3, restore vm1 and vm2, close link host1–host2"},
		}},
		{name: "a link that was just closed is not opened for a VM that moves", before: func(o *overlay.Overlay) { place(o, 7, "host1") }, story: []moment{
			{at: 0, edges: [][3]int{{1, 3, 2}, {2, 3, 2}}, want: "open link host1–host3, open link host2–host3, divert vm1 and vm3 over host1–host3, divert vm2 and vm3 over host2–host3"},
			{at: 100, edges: [][3]int{{2, 3, 2}}, want: "restore vm1 and vm3, close link host1–host3"},
			{at: 101, edges: [][3]int{{2, 3, 2}, {3, 7, 2}}, move: [2]int{2, 1}, want: "restore vm2 and vm3, close link host2–host3",
				says: "link host1–host3 was closed 0s ago; none is opened again within 6s"},
			{at: 102, edges: [][3]int{{2, 3, 2}, {3, 7, 2}}, want: ""},
			{at: 120, edges: [][3]int{{2, 3, 2}, {3, 7, 2}}, want: "open link host1–host3, divert vm2 and vm3 over host1–host3, divert vm3 and vm7 over host1–host3"},
		}},
		{name: "nor for an agent's way over another host", config: Config{Policy: AgentPolicy}, story: []moment{
			{at: 0, plan: [][]int{{1, 2}}, want: "open link host1–host2, divert vm1 and vm2 over host1–host2"},
			{at: 50, want: "restore vm1 and vm2, close link host1–host2"},
			{at: 51, plan: [][]int{{1, 2, 3}, {1, 2}}, want: "", says: "link host1–host2 was closed"},
			{at: 60, plan: [][]int{{1, 2, 3}, {1, 2}}, want: "open link host1–host2, open link host2–host3, divert vm1 and vm2 over host1–host2, divert vm1 and vm3 over host1–host2–host3"},
		}},
		{name: "but for what the user has pinned", config: Config{Policy: AgentPolicy}, story: []moment{
			{at: 0, plan: [][]int{{1, 2}}, want: "open link host1–host2, divert vm1 and vm2 over host1–host2"},
			{at: 50, want: "restore vm1 and vm2, close link host1–host2"},
			{at: 51, plan: [][]int{{1, 2, 3}}, pin: "host1–host2", want: "open link host1–host2, open link host2–host3, divert vm1 and vm3 over host1–host2–host3"},
		}},
		{name: "a link that a host holds which is away counts", config: Config{Policy: AgentPolicy, MaxPerNode: 2}, story: []moment{
			{at: 0, plan: [][]int{{1, 2, 3}}, want: "open link host1–host2, open link host2–host3, divert vm1 and vm3 over host1–host2–host3", says: "open link host1–host2: plan: of a test"},
			{at: 50, plan: [][]int{{2, 4}}, away: []int{3}, want: "restore vm1 and vm3"},
			{at: 51, plan: [][]int{{2, 4}}, want: "open link host2–host4, divert vm2 and vm4 over host2–host4, restore vm1 and vm3, close link host1–host2, close link host2–host3"},
		}},
		{name: "no way that would let frames circle with the user's rules", config: Config{Policy: AgentPolicy}, before: turnsBack, story: []moment{
			{at: 0, plan: [][]int{{3, 1, 4}}, want: "", says: "the way host3–host1–host4 cannot be had with the other rules there are: frames src"},
			{at: 1, plan: [][]int{{3, 2, 4}}, want: "open link host2–host3, open link host2–host4, divert vm3 and vm4 over host3–host2–host4"},
		}},
		{name: "a host that is away keeps what it has and holds up nobody else", config: Config{MaxLinks: 2}, story: []moment{
			{at: 0, edges: [][3]int{{1, 2, 2}}, want: "open link host1–host2, divert vm1 and vm2 over host1–host2"},
			{at: 1, edges: [][3]int{{2, 3, 2}, {3, 4, 1}, {1, 3, 1}}, away: []int{1}, want: "open link host2–host3, divert vm2 and vm3 over host2–host3"},
			{at: 2, edges: [][3]int{{2, 3, 2}}, want: "restore vm1 and vm2, close link host1–host2"},
		}},
		{name: "what is refused is proposed again", story: []moment{
			{at: 0, edges: [][3]int{{1, 2, 2}}, refused: true, want: "open link host1–host2, divert vm1 and vm2 over host1–host2"},
			{at: 1, edges: [][3]int{{1, 2, 3}}, want: "open link host1–host2, divert vm1 and vm2 over host1–host2"},
		}},
		{name: "observe proposes nothing", config: Config{Mode: Observe}, story: []moment{{at: 0, edges: [][3]int{{1, 2, 2}}, want: ""}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			o, p := star(4), NewPlanner(row.config)
			if row.before != nil {
				row.before(o)
			}
			for i, m := range row.story {
				if m.move != [2]int{} {
					place(o, m.move[0], host(m.move[1]))
				}
				now := start.Add(time.Duration(m.at) * time.Second)
				v := View{Topology: topology(uint64(i), m.edges...), Overlay: o, Failed: map[Ends]time.Time{}}
				for _, f := range m.failed {
					a, b, _ := strings.Cut(f, "–")
					v.Failed[EndsOf(overlay.Name(a), overlay.Name(b))] = now.Add(time.Minute)
				}
				v.PlanWhy = "of a test"
				for _, way := range m.plan {
					w := Way{A: mac(way[0]), B: mac(way[len(way)-1])}
					for _, i := range way[1 : len(way)-1] {
						w.Via = append(w.Via, host(i))
					}
					v.Plan = append(v.Plan, w)
				}
				if a, b, ok := strings.Cut(m.pin, "–"); ok {
					v.Will.Pins = []overlay.Pin{{A: overlay.Name(a), B: overlay.Name(b)}}
				}
				v.Away = map[overlay.Name]bool{}
				for _, i := range m.away {
					v.Away[host(i)] = true
				}
				got, ok := p.Step(now, v)
				if text := strings.Join(whats(got.Steps), ", "); text != m.want || ok != (m.want != "") {
					t.Fatalf("at %d s: proposed\n%s\nwant\n%s", m.at, text, m.want)
				}
				if !strings.Contains(reasons(got), m.says) {
					t.Fatalf("at %d s: no reason is %q:\n%s", m.at, m.says, reasons(got))
				}
				if ok && !m.refused {
					o = carryOut(got)
				}
			}
		})
	}
}

func TestInheritedRulesOutliveARestartOfTheProxy(t *testing.T) {
	ring := topology(1, [3]int{1, 2, 9}, [3]int{2, 3, 9}, [3]int{1, 3, 9})
	first, ok := NewPlanner(Config{}).Step(start, View{Topology: ring, Overlay: star(3)})
	if !ok {
		t.Fatal("no proposal")
	}
	p, o := NewPlanner(Config{}), carryOut(first)
	for at := range 179 {
		if got, ok := p.Step(start.Add(time.Duration(at)*time.Second), View{Overlay: o}); ok {
			t.Fatalf("at %d s: %v", at, whats(got.Steps))
		}
	}
	if got, ok := p.Step(start.Add(inheritedFor), View{Overlay: o}); !ok || len(got.Target.Links) != 0 {
		t.Errorf("not given up: %v", whats(got.Steps))
	}
}

func TestAProposalSaysWhy(t *testing.T) {
	p := NewPlanner(Config{MaxLinks: 1})
	v := View{Topology: topology(3, [3]int{1, 2, 6}, [3]int{2, 3, 2}), Overlay: star(3)}
	got, _ := p.Step(start, v)
	if got.ID != 1 || got.Topology != 3 || got.Gain != 0.75 || got.Reason != "group of 3: 1 link to open, 1 pair to divert" {
		t.Errorf("proposal %+v", got)
	}
	want := []Step{
		{OpenLink, "host1–host2", "vm1 and vm2 exchange 6.0 MB/s"},
		{Divert, "vm1 and vm2 over host1–host2", "6.0 MB/s of a group of 3"},
	}
	if !slices.Equal(got.Steps, want) {
		t.Errorf("steps %q", got.Steps)
	}
	rules := map[overlay.Name][]string{}
	for name, n := range got.Target.Nodes {
		for _, r := range n.Rules {
			if r.Origin == overlay.OriginAdapted && r.ID == 0 {
				rules[name] = append(rules[name], r.String())
			}
		}
	}
	wantAt := func(name overlay.Name, lines ...string) {
		t.Helper()
		if !slices.Equal(rules[name], lines) {
			t.Errorf("rules at %s:\n%s", name, strings.Join(rules[name], "\n"))
		}
	}
	wantAt("host1", "from port:vm1 src 02:00:00:00:00:01 dst 02:00:00:00:00:02 to link:host2", "from link:host2 src 02:00:00:00:00:02 dst 02:00:00:00:00:01 to port:vm1")
	wantAt("host2", "from link:host1 src 02:00:00:00:00:01 dst 02:00:00:00:00:02 to port:vm2", "from port:vm2 src 02:00:00:00:00:02 dst 02:00:00:00:00:01 to link:host1")
	wantAt("host3")
	if again, _ := p.Step(start, v); again.ID != 1 {
		t.Errorf("the same proposal has ID %d", again.ID)
	}
}

func TestModes(t *testing.T) {
	for m := Auto; m <= Observe; m++ {
		if got, err := ParseMode(m.String()); got != m || err != nil {
			t.Errorf("%v: %v, %v", m, got, err)
		}
	}
	if _, err := ParseMode("automatic"); err == nil || err.Error() != `cannot use mode "automatic": it is one of observe, advise, auto` {
		t.Error(err)
	}
}
