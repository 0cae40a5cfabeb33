package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

func guest(n byte) ether.MAC { return ether.MAC{0x52, 0x54, 0, 0, 0, n} }

// sight is an announcement of one MAC at port p of a node; flags: g = gratuitous, x = gone.
func sight(seq uint64, mac byte, flags string) Announce {
	return Announce{Boot: 1, Seq: seq, Seen: []Sighting{{
		MAC: guest(mac), Port: "p", Gratuitous: strings.Contains(flags, "g"), Gone: strings.Contains(flags, "x"),
	}}}
}

func placeLines(changes []PlaceChange) string {
	var lines []string
	for _, c := range changes {
		l := fmt.Sprintf("%s %d@%s #%d", c.Kind, c.Place.MAC[5], c.Place.Node, c.Place.Mobility)
		if c.Old.Node != "" {
			l += fmt.Sprintf(" (%s)", c.Old.Node)
		}
		lines = append(lines, l)
	}
	return strings.Join(lines, ", ")
}

func TestLocator(t *testing.T) {
	type step struct {
		at   time.Duration
		node overlay.Name // of an announcement, empty for a Tick
		a    Announce
		want string
	}
	s := time.Second
	for name, story := range map[string][]step{
		"learned, refreshed, aged": {
			{0, "a", sight(1, 1, ""), "learned 1@a #0"},
			{100 * s, "a", sight(2, 1, ""), ""},
			{399 * s, "", Announce{}, ""},
			{404 * s, "", Announce{}, "gone 1@a #0"},
		},
		"moves once the old place is quiet": {
			{0, "a", sight(1, 1, ""), "learned 1@a #0"},
			{500 * ms, "b", sight(1, 1, ""), "conflict 1@a #0 (b)"},
			{900 * ms, "b", sight(2, 1, ""), ""}, // reported already
			{1000 * ms, "b", sight(3, 1, ""), "moved 1@b #1 (a)"},
			{5 * s, "a", sight(2, 1, ""), "moved 1@a #2 (b)"},
		},
		"an announced move is believed at once": {
			{0, "a", sight(1, 1, ""), "learned 1@a #0"},
			{100 * ms, "b", sight(1, 1, "g"), "moved 1@b #1 (a)"},
		},
		"two owners: reported, no flapping": {
			{0, "a", sight(1, 1, ""), "learned 1@a #0"},
			{500 * ms, "b", sight(1, 1, ""), "conflict 1@a #0 (b)"},
			{600 * ms, "a", sight(2, 1, ""), ""},
			{1500 * ms, "b", sight(2, 1, ""), ""},
			{1550 * ms, "a", sight(3, 1, ""), ""},
			{10500 * ms, "a", sight(4, 1, ""), ""},
			{10600 * ms, "b", sight(3, 1, ""), "conflict 1@a #0 (b)"},
		},
		"five moves freeze it, calm thaws it": {
			{0, "a", sight(1, 1, ""), "learned 1@a #0"},
			{2 * s, "b", sight(1, 1, ""), "moved 1@b #1 (a)"},
			{4 * s, "a", sight(2, 1, ""), "moved 1@a #2 (b)"},
			{6 * s, "b", sight(2, 1, ""), "moved 1@b #3 (a)"},
			{8 * s, "a", sight(3, 1, ""), "moved 1@a #4 (b)"},
			{10 * s, "b", sight(3, 1, ""), "moved 1@b #5 (a), frozen 1@b #5 (a)"},
			{12 * s, "a", sight(4, 1, ""), ""},
			{20 * s, "a", sight(5, 1, "g"), "conflict 1@b #5 (a)"},
			{199 * s, "b", sight(4, 1, ""), ""},
			{199 * s, "", Announce{}, ""},
			{204 * s, "", Announce{}, "thawed 1@b #5"},
			{206 * s, "a", sight(6, 1, ""), "moved 1@a #6 (b)"},
		},
		"a frozen place that left thaws too": {
			{0, "a", sight(1, 1, ""), "learned 1@a #0"},
			{1 * s, "b", sight(1, 1, "g"), "moved 1@b #1 (a)"},
			{2 * s, "a", sight(2, 1, "g"), "moved 1@a #2 (b)"},
			{3 * s, "b", sight(2, 1, "g"), "moved 1@b #3 (a)"},
			{4 * s, "a", sight(3, 1, "g"), "moved 1@a #4 (b)"},
			{5 * s, "b", sight(3, 1, "g"), "moved 1@b #5 (a)"},
			{6 * s, "a", sight(4, 1, "g"), "moved 1@a #6 (b), frozen 1@a #6 (b)"},
			{100 * s, "b", sight(4, 1, ""), "conflict 1@a #6 (b)"},
			{186 * s, "", Announce{}, "thawed 1@a #6"},
		},
		"announced migrations at leisure do not freeze": {
			{0, "a", sight(1, 1, ""), "learned 1@a #0"},
			{20 * s, "b", sight(1, 1, "g"), "moved 1@b #1 (a)"},
			{40 * s, "a", sight(2, 1, "g"), "moved 1@a #2 (b)"},
			{60 * s, "b", sight(2, 1, "g"), "moved 1@b #3 (a)"},
			{80 * s, "a", sight(3, 1, "g"), "moved 1@a #4 (b)"},
			{100 * s, "b", sight(3, 1, "g"), "moved 1@b #5 (a)"},
			{120 * s, "a", sight(4, 1, "g"), "moved 1@a #6 (b)"},
		},
		"a port that closes": {
			{0, "a", sight(1, 1, ""), "learned 1@a #0"},
			{1 * s, "b", sight(1, 1, "x"), ""}, // not b's
			{2 * s, "a", sight(2, 1, "x"), "gone 1@a #0"},
		},
		"stale and foreign reports are ignored": {
			{0, "a", sight(2, 1, ""), "learned 1@a #0"},
			{2 * s, "b", sight(1, 1, ""), "moved 1@b #1 (a)"},
			{4 * s, "a", sight(2, 1, ""), ""},
			{4 * s, "a", Announce{Boot: 0, Seq: 9, Seen: sight(9, 1, "").Seen}, ""},
			{4 * s, "a", Announce{Boot: 2, Seq: 1, Seen: sight(1, 1, "").Seen}, "moved 1@a #2 (b)"},
			{5 * s, "a", Announce{Boot: 2, Seq: 2, Seen: []Sighting{{MAC: ether.MAC{1}, Port: "p"}, {Port: "p"}}}, ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLocator()
			for _, st := range story {
				var got string
				if st.node == "" {
					got = placeLines(l.Tick(noon().Add(st.at)))
				} else {
					got = placeLines(l.Announce(noon().Add(st.at), st.node, st.a))
				}
				if got != st.want {
					t.Fatalf("at %v: %q, want %q", st.at, got, st.want)
				}
			}
		})
	}
}

func TestDeclaredBeatsLearned(t *testing.T) {
	l, now := NewLocator(), noon()
	l.Announce(now, "a", sight(1, 1, ""))
	if got := placeLines(l.Declare(now, Place{MAC: guest(1), Node: "b", Port: "p"})); got != "moved 1@b #1 (a)" {
		t.Fatal(got)
	}
	if got := placeLines(l.Announce(now.Add(time.Minute), "a", sight(2, 1, "g"))); got != "conflict 1@b #1 (a)" {
		t.Fatal(got)
	}
	if got := placeLines(l.Tick(now.Add(time.Hour))); got != "" {
		t.Fatal("a declared place ages:", got)
	}
	if got := placeLines(l.Undeclare(now.Add(time.Hour), guest(1))); got != "updated 1@b #1" {
		t.Fatal(got)
	}
	if got := placeLines(l.Announce(now.Add(2*time.Hour), "a", sight(3, 1, ""))); got != "moved 1@a #2 (b)" {
		t.Fatal(got)
	}
}

// A machine without a battery starts in 1970: what its daemon says counts all the same, and what an earlier one said does not any
// more.
func TestAClockSetBackSilencesNobody(t *testing.T) {
	l, now := NewLocator(), noon()
	say := func(boot, seq uint64, mac byte) string {
		return placeLines(l.Announce(now, "a", Announce{Boot: boot, Seq: seq, Seen: sight(1, mac, "").Seen}))
	}
	l.NodeHere(now, "a", 1000)
	if got := say(1000, 5, 1); got != "learned 1@a #0" {
		t.Fatal(got)
	}
	l.NodeGone("a")
	l.NodeHere(now, "a", 7)
	if got := say(7, 1, 2); got != "learned 2@a #0" {
		t.Errorf("after a start with the clock set back: %q", got)
	}
	if got := say(1000, 6, 3); got != "" {
		t.Errorf("a straggler of the start before: %q", got)
	}
	if got := say(7, 1, 4); got != "" {
		t.Errorf("the same announcement twice: %q", got)
	}
}

func TestPlacesOutliveTheirNodesControlStream(t *testing.T) {
	l, now := NewLocator(), noon()
	l.Announce(now, "a", sight(1, 1, ""))
	l.NodeGone("a")
	if got := l.Tick(now.Add(time.Hour)); len(got) > 0 || !l.Away("a") {
		t.Fatal("gone with the control stream:", placeLines(got))
	}
	l.NodeHere(now.Add(time.Hour), "a", 1)
	if got := placeLines(l.Tick(now.Add(time.Hour + macAgeing))); got != "gone 1@a #0" {
		t.Fatalf("ages %q after the node is back", got)
	}
	l.Announce(now, "b", sight(1, 2, ""))
	if got := placeLines(l.Forget("b")); got != "gone 2@b #0" {
		t.Fatal(got)
	}
}

func TestAddressesGoWithTheGuest(t *testing.T) {
	l, now := NewLocator(), noon()
	ip := netip.MustParseAddr
	at := func(node overlay.Name, seq uint64, ips ...netip.Addr) []PlaceChange {
		now = now.Add(2 * time.Second)
		return l.Announce(now, node, Announce{Boot: 1, Seq: seq, Seen: []Sighting{{MAC: guest(1), Port: "p", IPs: ips}}})
	}
	at("a", 1, ip("10.0.0.2"))
	if got := placeLines(at("a", 2, ip("10.0.0.1"), ip("10.0.0.2"))); got != "updated 1@a #0" {
		t.Fatal(got)
	}
	at("b", 1)
	p, _ := l.Place(guest(1))
	if want := []netip.Addr{ip("10.0.0.1"), ip("10.0.0.2")}; !slices.Equal(p.IPs, want) || p.Node != "b" {
		t.Fatalf("%+v, want at b with %v", p, want)
	}
	for i := range 100 {
		at("b", uint64(i+2), netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}))
	}
	if p, _ := l.Place(guest(1)); len(p.IPs) != maxIPs {
		t.Errorf("keeps %d addresses, want %d", len(p.IPs), maxIPs)
	}
}

// Whatever is announced, told effects applied in order give the directory, and mobility only grows.
func TestEffectsTellTheDirectory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, now, told := NewLocator(), noon(), map[ether.MAC]Place{}
		seq := uint64(0)
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 60_000).Draw(t, "ms")) * ms)
			node := rapid.SampledFrom([]overlay.Name{"a", "b", "c"}).Draw(t, "node")
			mac := rapid.ByteRange(1, 3).Draw(t, "mac")
			var changes []PlaceChange
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				changes = l.Tick(now)
			case 1:
				l.NodeGone(node)
			case 2:
				l.NodeHere(now, node, 1)
			case 3:
				changes = l.Declare(now, Place{MAC: guest(mac), Node: node, Port: "p"})
			case 4:
				changes = l.Undeclare(now, guest(mac))
			default:
				seq += uint64(rapid.IntRange(0, 1).Draw(t, "new"))
				changes = l.Announce(now, node, sight(seq, mac, rapid.SampledFrom([]string{"", "", "g", "x"}).Draw(t, "flags")))
			}
			for _, c := range changes {
				old, known := told[c.Place.MAC]
				switch {
				case c.Kind == PlaceGone:
					delete(told, c.Place.MAC)
					continue
				case known && c.Kind == PlaceMoved && c.Place.Mobility != old.Mobility+1:
					t.Fatalf("moved from mobility %d to %d", old.Mobility, c.Place.Mobility)
				case known == (c.Kind == PlaceLearned):
					t.Fatalf("%s, known %v", c.Kind, known)
				}
				told[c.Place.MAC] = c.Place
			}
		}
		var want []Place
		for _, p := range told {
			want = append(want, p)
		}
		slices.SortFunc(want, func(a, b Place) int { return a.MAC.Compare(b.MAC) })
		plain := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
		if d := cmp.Diff(want, append([]Place(nil), l.Snapshot()...), plain); d != "" {
			t.Fatalf("told (-) and kept (+):\n%s", d)
		}
		again := NewLocator()
		again.Restore(now, l.Snapshot())
		if d := cmp.Diff(l.Snapshot(), again.Snapshot(), plain); d != "" {
			t.Fatalf("restored differently:\n%s", d)
		}
	})
}
