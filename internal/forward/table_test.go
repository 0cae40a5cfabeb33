package forward

import (
	"strings"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

var (
	anyone = overlay.Match{Kind: overlay.Any}
	none   = overlay.Match{Kind: overlay.None}
	host   = Flood{Ports: []Side{PortSide(0), PortSide(1)}, Star: []Side{LinkSide(0)}}
	group  = ether.MAC{255, 255, 255, 255, 255, 255}
)

func mac(n int) ether.MAC {
	return ether.MAC{2, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

func must(t testing.TB, table *Table, add []Rule, del ...uint64) *Table {
	t.Helper()
	n, err := table.With(add, del)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestLifeOfAPair(t *testing.T) {
	a, b := mac(1), mac(2)
	table := New(host)
	want := func(because string, arrival Side, dst ether.MAC, action Action, reason Reason, outs ...Side) {
		t.Helper()
		v := table.Decide(arrival, a, dst)
		got := v.Outs
		if v.Action == Forward {
			got = []Side{v.Out}
		}
		ok := v.Action == action && v.Reason == reason && len(got) == len(outs)
		for i := range got {
			ok = ok && got[i] == outs[i]
		}
		if !ok {
			t.Errorf("%s: %+v, want %v %v (%v)", because, v, action, outs, reason)
		}
	}
	want("nothing is known", PortSide(0), b, FloodTree, FloodUnknown, PortSide(1), LinkSide(0))
	want("the star does not send back", LinkSide(0), b, FloodTree, FloodUnknown, PortSide(0), PortSide(1))
	want("a fast path needs a rule", LinkSide(7), b, Drop, DropFastPathNoRule)
	want("group frames stay in the tree", LinkSide(7), group, Drop, DropFastPathGroup)
	want("everybody hears", PortSide(1), group, FloodTree, FloodGroup, LinkSide(0), PortSide(0))
	table = must(t, table, []Rule{{ID: 1, Src: anyone, Dst: none, Out: LinkSide(0)}})
	want("the default is the tree", PortSide(0), b, FloodTree, FloodDefault, PortSide(1), LinkSide(0))
	table = must(t, table, []Rule{{ID: 2, Src: anyone, Dst: overlay.ExactMAC(b), Out: LinkSide(0)}})
	want("b was learned elsewhere", PortSide(0), b, Forward, RuleMatched, LinkSide(0))
	want("it is not here", LinkSide(0), b, Drop, DropSameSide)
	table = must(t, table, []Rule{{ID: 3, Src: overlay.ExactMAC(a), Dst: overlay.ExactMAC(b), Out: LinkSide(7)}})
	want("a and b got a fast path", PortSide(0), b, Forward, RuleMatched, LinkSide(7))
	table = table.WithDown(LinkSide(7), true)
	want("it died", PortSide(0), b, Forward, RuleMatched, LinkSide(0))
	table = table.WithDown(LinkSide(0), true)
	want("the star, too", PortSide(0), b, FloodTree, FloodUnknown, PortSide(1))
	table = table.WithBlocked(PortSide(1), true)
	want("and the other port is blocked", PortSide(0), b, Drop, DropNoOutput)
	want("so it may not send", PortSide(1), b, Drop, DropBlocked)
	table = table.WithDown(LinkSide(7), false)
	want("it lives again", PortSide(0), b, Forward, RuleMatched, LinkSide(7))
}

func TestRefusals(t *testing.T) {
	base := must(t, New(host), []Rule{{ID: 1, Src: anyone, Dst: anyone, Out: LinkSide(0)}})
	for _, tt := range []struct {
		rule  Rule
		del   uint64
		fails string
	}{
		{rule: Rule{ID: 2, Src: overlay.Match{Kind: overlay.Not, MAC: mac(1)}, Dst: overlay.Match{Kind: overlay.Not, MAC: mac(2)}, Out: LinkSide(1)}, fails: "not/not"},
		{rule: Rule{ID: 1, Src: anyone, Dst: anyone, Out: LinkSide(1)}, fails: "number is taken"},
		{rule: Rule{Src: anyone, Dst: anyone, Out: LinkSide(1)}, fails: "without a number"},
		{rule: Rule{ID: 2, Src: anyone, Dst: anyone}, fails: "sends to no side"},
		{rule: Rule{ID: 2, Arrival: LinkSide(1), Src: anyone, Dst: anyone, Out: LinkSide(1)}, fails: "came in by"},
		{rule: Rule{ID: 2, Src: anyone, Dst: overlay.ExactMAC(group), Out: LinkSide(1)}, fails: "only the flood tree"},
		{del: 9, fails: "cannot delete rule 9"},
	} {
		add, del := []Rule{{ID: 7, Src: anyone, Dst: anyone, Out: LinkSide(0)}, tt.rule}, []uint64{1, tt.del}
		if tt.del == 0 {
			del = nil
		} else {
			add = nil
		}
		if _, err := base.With(add, del); err == nil || !strings.Contains(err.Error(), tt.fails) {
			t.Errorf("%+v: error %v, want one with %q", tt.rule, err, tt.fails)
		}
	}
	if r, ok := base.Rule(1); base.Len() != 1 || !ok || r.Out != LinkSide(0) {
		t.Errorf("a refused change left %d rules, rule 1 %+v", base.Len(), r)
	}
	swapped := must(t, base, []Rule{{ID: 1, Src: anyone, Dst: anyone, Out: LinkSide(5)}}, 1)
	for r := range swapped.Rules() {
		if swapped.Len() != 1 || r.Out != LinkSide(5) {
			t.Errorf("a rule replaced under its number: %+v", r)
		}
	}
}

// pairs are n exact/exact rules, as adaptation makes them.
func pairs(n int) []Rule {
	rules := make([]Rule, n)
	for i := range rules {
		rules[i] = Rule{ID: uint64(i + 1), Src: overlay.ExactMAC(mac(i)), Dst: overlay.ExactMAC(mac(i + 1)), Out: LinkSide(1 + i%8)}
	}
	return rules
}

func TestCacheKeepsUnrelatedFlows(t *testing.T) {
	const flows = 1000
	table := must(t, New(host), pairs(flows))
	cache := NewCache(4 * flows)
	for i := range flows {
		cache.Decide(table, PortSide(0), mac(i), mac(i+1))
	}
	for _, tt := range []struct {
		name string
		rule Rule
	}{
		{"exact/exact", Rule{ID: 5000, Src: overlay.ExactMAC(mac(9001)), Dst: overlay.ExactMAC(mac(9002)), Out: LinkSide(1)}},
		{"any/exact", Rule{ID: 5000, Src: anyone, Dst: overlay.ExactMAC(mac(9002)), Out: LinkSide(1)}},
		{"exact/none", Rule{ID: 5000, Src: overlay.ExactMAC(mac(9001)), Dst: none, Out: LinkSide(1)}},
	} {
		next, stale := must(t, table, []Rule{tt.rule}), 0
		for i := range flows {
			s, d := word(mac(i)), word(mac(i+1))
			if table.stamps.of(s, d, 0) != next.stamps.of(s, d, 0) {
				stale++
			}
		}
		if stale > 10 {
			t.Errorf("%s: a new rule voids %d of %d unrelated flows", tt.name, stale, flows)
		}
	}
}

// TestCacheAcrossBranches uses one cache with tables that parted from each other, and with a table of another line.
func TestCacheAcrossBranches(t *testing.T) {
	base := New(host)
	rule := Rule{ID: 1, Src: anyone, Dst: overlay.ExactMAC(mac(2)), Out: LinkSide(1)}
	left := must(t, base, []Rule{rule})
	rule.Out = LinkSide(2)
	right := must(t, base, []Rule{rule})
	other := must(t, New(host), []Rule{{ID: 1, Src: anyone, Dst: anyone, Out: LinkSide(3)}})
	cache := NewCache(16)
	for range 3 {
		for _, table := range []*Table{base, left, right, other} {
			got, want := cache.Decide(table, PortSide(0), mac(1), mac(2)), table.Decide(PortSide(0), mac(1), mac(2))
			if got.Action != want.Action || got.Out != want.Out {
				t.Errorf("the cache says %+v, the table %+v", got, want)
			}
		}
	}
}

func TestNoAllocation(t *testing.T) {
	table := must(t, New(host), append(pairs(100), Rule{ID: 999, Src: anyone, Dst: none, Out: LinkSide(0)}))
	cache := NewCache(16)
	i := 0
	n := testing.AllocsPerRun(1000, func() {
		i++
		cache.Decide(table, PortSide(0), mac(i%200), mac(i%200+1))
		table.Decide(LinkSide(0), mac(i%200), group)
	})
	if n != 0 {
		t.Errorf("%v allocations a decision, want 0", n)
	}
}
