package adapt

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// What the user wants comes before what the traffic says.
func TestTheUsersWill(t *testing.T) {
	busy := [][3]int{{1, 2, 40}, {2, 3, 30}, {3, 4, 20}, {1, 4, 10}}
	for _, tt := range []struct {
		name string
		will overlay.Will
		max  int
		want string
	}{
		{"nothing", overlay.Will{}, 2, "open link host1–host2; open link host2–host3; divert vm1 and vm2 over host1–host2; divert vm2 and vm3 over host2–host3"},
		{"a pair stays on the star", overlay.Will{Forbids: []overlay.Forbid{{Kind: overlay.ForbidPair, X: mac(1), Y: mac(2)}}}, 1,
			"open link host2–host3; divert vm2 and vm3 over host2–host3"},
		{"no link between two nodes", overlay.Will{Forbids: []overlay.Forbid{{A: "host1", B: "host2"}}}, 1, "open link host2–host3; divert vm2 and vm3 over host2–host3"},
		{"a pinned link, with nobody to use it", overlay.Will{Pins: []overlay.Pin{{A: "host1", B: "host3"}}}, 1, "open link host1–host3"},
		{"a pinned link counts", overlay.Will{Pins: []overlay.Pin{{A: "host1", B: "host3"}}}, 2, "open link host1–host2; open link host1–host3; divert vm1 and vm2 over host1–host2"},
		{"a path over another node", overlay.Will{Pins: []overlay.Pin{{Kind: overlay.PinPath, X: mac(1), Y: mac(2), Via: []overlay.Name{"host4"}}}}, 1,
			"open link host1–host4; open link host2–host4; divert vm1 and vm4 over host1–host4; divert vm1 and vm2 over host1–host4–host2"},
		{"a path over the Proxy", overlay.Will{Pins: []overlay.Pin{{Kind: overlay.PinPath, X: mac(1), Y: mac(2), Via: []overlay.Name{"proxy"}}}}, 1,
			"open link host2–host3; divert vm2 and vm3 over host2–host3"},
		{"the star for a pair", overlay.Will{Pins: []overlay.Pin{{Kind: overlay.PinPath, X: mac(2), Y: mac(1), Star: true}}}, 1,
			"open link host2–host3; divert vm2 and vm3 over host2–host3"},
		{"a direct link for a weak pair", overlay.Will{Pins: []overlay.Pin{{Kind: overlay.PinPath, X: mac(4), Y: mac(1)}}}, 1,
			"open link host1–host4; divert vm4 and vm1 over host4–host1"},
		{"through a node that is no transit", overlay.Will{
			Pins: []overlay.Pin{{Kind: overlay.PinPath, X: mac(1), Y: mac(2), Via: []overlay.Name{"host4"}}}, Forbids: []overlay.Forbid{{Kind: overlay.ForbidTransit, A: "host4"}}}, 1,
			"open link host2–host3; divert vm2 and vm3 over host2–host3"},
		{"one link at host2", overlay.Will{MaxAt: map[overlay.Name]int{"host2": 1}}, 0,
			"open link host1–host2; open link host3–host4; open link host1–host4; divert vm1 and vm2 over host1–host2; divert vm3 and vm4 over host3–host4; divert vm1 and vm4 over host1–host4"},
		{"none at host1 and host2", overlay.Will{MaxAt: map[overlay.Name]int{"host1": 0, "host2": 0}}, 0, "open link host3–host4; divert vm3 and vm4 over host3–host4"},
		{"a dear link", overlay.Will{Costs: []overlay.Cost{{A: "host1", B: "host2", Factor: 3}}}, 1, "open link host2–host3; divert vm2 and vm3 over host2–host3"},
	} {
		p := NewPlanner(Config{MaxLinks: tt.max})
		v := View{Overlay: star(4), Topology: topology(1, busy...), Will: tt.will}
		got, _ := p.Step(start, v)
		var steps []string
		for _, s := range got.Steps {
			steps = append(steps, s.Kind.String()+" "+s.What)
		}
		if text := strings.Join(steps, "; "); text != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, text, tt.want)
			continue
		}
		v.Overlay = carryOut(got)
		if cycles := v.Overlay.Cycles(); len(cycles) > 0 {
			t.Errorf("%s: %v", tt.name, cycles)
		}
		if again, ok := p.Step(start.Add(time.Second), v); ok {
			t.Errorf("%s: not content: %v", tt.name, again.Steps)
		}
		v.Will, v.Topology = overlay.Will{}, topology(2)
		if last, ok := p.Step(start.Add(time.Hour), v); ok {
			v.Overlay = carryOut(last)
		}
		if len(v.Overlay.Links) > 0 {
			t.Errorf("%s: without a will there are still links: %v", tt.name, v.Overlay.Links)
		}
	}
}

// A pinned way that would let frames circle is not taken, and that is what is said of it, also when the two talk.
func TestAPinThatWouldCircle(t *testing.T) {
	o := star(4)
	turnsBack(o)
	pin := overlay.Pin{Kind: overlay.PinPath, X: mac(3), Y: mac(4), Via: []overlay.Name{"host1"}}
	got, ok := NewPlanner(Config{}).Step(start, View{Overlay: o, Topology: topology(1, [3]int{3, 4, 9}), Will: overlay.Will{Pins: []overlay.Pin{pin}}})
	if ok || len(got.Not) != 1 || !strings.Contains(got.Not[0].Reason, "the way host3–host1–host4 cannot be had with the other rules there are: frames src") {
		t.Errorf("%v\n%s", ok, reasons(got))
	}
}

// Whatever the user pins, what is proposed can be carried out in stages and has no circle.
func TestPinsAreSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := star(5)
		names := []overlay.Name{"host1", "host2", "host3", "host4", "host5", "proxy"}
		p := NewPlanner(Config{MaxLinks: rapid.IntRange(0, 3).Draw(t, "max")})
		for step := range 3 {
			var w overlay.Will
			for range rapid.IntRange(0, 3).Draw(t, "pins") {
				pin := overlay.Pin{Kind: overlay.PinPath, X: mac(rapid.IntRange(1, 5).Draw(t, "x")), Y: mac(rapid.IntRange(1, 5).Draw(t, "y"))}
				pin.Via = rapid.SliceOfN(rapid.SampledFrom(names), 0, 3).Draw(t, "via")
				if _, twice := w.PathOf(pin.X, pin.Y); pin.X != pin.Y && !twice {
					w.Pins = append(w.Pins, pin)
				}
			}
			var edges [][3]int
			for range rapid.IntRange(0, 4).Draw(t, "edges") {
				a := rapid.IntRange(1, 4).Draw(t, "a")
				edges = append(edges, [3]int{a, rapid.IntRange(a+1, 5).Draw(t, "b"), rapid.IntRange(1, 9).Draw(t, "rate")})
			}
			next, ok := p.Step(start.Add(time.Duration(step)*time.Minute), View{Overlay: o, Topology: topology(uint64(step+1), edges...), Will: w})
			if !ok {
				continue
			}
			to := carryOut(next)
			if _, err := overlay.Plan(o, to); err != nil {
				if cycles := to.Cycles(); len(cycles) > 0 {
					t.Fatalf("%v", cycles)
				}
				t.Logf("only by a detour: %v", err)
			}
			if errs := to.Validate(); len(errs) > 0 {
				t.Fatal(errs)
			}
			o = to
		}
	})
}
