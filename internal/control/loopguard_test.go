package control

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

func heard(port string, p Probe) ProbeHeard { p.Overlay = "home"; return ProbeHeard{port, p} }

func TestLoopGuard(t *testing.T) {
	older := Probe{Node: "a", Port: "eth0", Started: 50}
	seq := func(p Probe, n uint64) Probe { p.Seq = n; return p }
	opened := said[LoopEvent]{0, PortOpened{"lan", 100}, "probe 1 out of lan"}
	block := "block lan: the same LAN is already joined through port eth0 of a"
	for name, story := range map[string][]said[LoopEvent]{
		"the younger gives way until the older is silent": {
			opened,
			{100 * ms, heard("lan", seq(older, 7)), block},
			{1000 * ms, Tick{}, "probe 2 out of lan"}, // blocked ports probe on
			{1100 * ms, heard("lan", seq(older, 8)), ""},
			{5200 * ms, Tick{}, "probe 3 out of lan"},
			{6100 * ms, Tick{}, "unblock lan"},
		},
		"the older stays": {
			opened,
			{100 * ms, heard("lan", Probe{Node: "a", Port: "eth0", Started: 101, Seq: 1}), ""},
		},
		"of the same age the higher name gives way": {
			opened,
			{100 * ms, heard("lan", Probe{Node: "z", Port: "eth0", Started: 100, Seq: 1}), ""},
			{200 * ms, heard("lan", Probe{Node: "h", Port: "zzz", Started: 100, Seq: 1}), ""}, // of this node, but never sent
			{300 * ms, heard("lan", Probe{Node: "b", Port: "eth0", Started: 100, Seq: 1}), "block lan: the same LAN is already joined through port eth0 of b"},
		},
		"it hears itself": {
			opened,
			{1 * ms, heard("lan", Probe{Node: "h", Port: "lan", Started: 100, Seq: 1}), "block lan: its own probe came back: there is a loop in the LAN behind it"},
		},
		"replays are not believed": {
			opened,
			{100 * ms, heard("lan", seq(older, 7)), block},
			{5100 * ms, Tick{}, "probe 2 out of lan\n unblock lan"},
			{5200 * ms, heard("lan", seq(older, 7)), ""},
			{5300 * ms, heard("lan", seq(older, 6)), ""},
			{5300 * ms, heard("lan", Probe{Node: "h", Port: "lan", Started: 100, Seq: 3}), ""},
			{5300 * ms, heard("lan", Probe{Node: "h", Port: "lan", Started: 99, Seq: 1}), ""},
			{5400 * ms, heard("lan", seq(older, 8)), block},
		},
		"other overlays are no concern": {
			opened,
			{100 * ms, ProbeHeard{"lan", Probe{Overlay: "work", Node: "a", Port: "eth0", Started: 1, Seq: 1}}, ""},
		},
		"two ports of one node on one LAN: one is blocked": {
			opened,
			{10 * ms, PortOpened{"two", 200}, "probe 1 out of two"},
			{11 * ms, heard("lan", Probe{Node: "h", Port: "two", Started: 200, Seq: 1}), ""},
			{12 * ms, heard("two", Probe{Node: "h", Port: "lan", Started: 100, Seq: 1}), "block two: the same LAN is already joined through port lan of h"},
			{13 * ms, PortClosed{"lan"}, ""},
			{5012 * ms, Tick{}, "probe 2 out of two\n unblock two"},
		},
	} {
		t.Run(name, func(t *testing.T) { tell(t, NewLoopGuard(Probe{Overlay: "home", Node: "h"}), story) })
	}
}

// Any number of ports on one LAN: after a few seconds exactly the oldest is open, whatever was lost before.
func TestOnePortStaysOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := noon()
		guards, open := map[string]*LoopGuard{}, map[string]bool{}
		names := []string{"a", "b", "c"}[:rapid.IntRange(2, 3).Draw(t, "ports")]
		oldest, least := "", uint64(1<<62)
		var step func(name string, ev LoopEvent, lossy bool)
		step = func(name string, ev LoopEvent, lossy bool) {
			for _, e := range guards[name].Step(now, ev) {
				switch e := e.(type) {
				case Block:
					open[name] = false
				case Unblock:
					open[name] = true
				case SendProbe:
					for _, other := range names {
						if other != name && guards[other] != nil && (!lossy || rapid.Bool().Draw(t, "heard")) {
							step(other, ProbeHeard{"lan", e.Probe}, lossy)
						}
					}
				}
			}
		}
		for _, name := range names {
			guards[name] = NewLoopGuard(Probe{Overlay: "home", Node: overlay.Name(name)})
			open[name] = true
		}
		for _, name := range names {
			started := rapid.Uint64Range(1, 3).Draw(t, "started")
			if started < least {
				oldest, least = name, started
			}
			step(name, PortOpened{"lan", started}, true)
		}
		for i := range 40 {
			now = now.Add(500 * time.Millisecond)
			for _, name := range names {
				step(name, Tick{}, i < 20)
			}
		}
		for _, name := range names {
			if open[name] != (name == oldest) {
				t.Fatalf("open %v, want only %s", open, oldest)
			}
			if blocked := guards[name].Blocked(); slices.Contains(blocked, "lan") == open[name] {
				t.Fatalf("%s says blocked %v, but open is %v", name, blocked, open[name])
			}
		}
	})
}
