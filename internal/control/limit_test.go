package control

import (
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

func TestDeclaredAddressesMoveWhereTheyAreLetIn(t *testing.T) {
	l, now := NewLocator(), time.Unix(0, 0)
	l.Announce(now, "a", sight(1, 1, ""))
	l.Limit([]overlay.PortLimit{
		{Node: "a", Port: "p", MACs: []ether.MAC{guest(1)}}, {Node: "b", Port: "p", MACs: []ether.MAC{guest(1), guest(2)}},
	})
	now = now.Add(time.Minute)
	steps := []struct {
		node overlay.Name
		a    Announce
		want string
	}{
		{"c", sight(1, 1, "g"), "conflict 1@a #0 (c)"}, // it announces itself, and is not let in there
		{"b", sight(1, 1, "g"), "moved 1@b #1 (a)"},    // it is let in here too
		{"c", sight(2, 2, ""), "refused 2@c #0"},       // nobody has it yet, and c may not
		{"b", sight(2, 2, ""), "learned 2@b #0"},
		{"c", sight(3, 3, ""), "learned 3@c #0"}, // nobody said anything of it
	}
	for _, s := range steps {
		if got := placeLines(l.Announce(now, s.node, s.a)); got != s.want {
			t.Errorf("%s, announcement %d: %q, want %q", s.node, s.a.Seq, got, s.want)
		}
		now = now.Add(time.Minute)
	}
	if got := placeLines(l.Limit([]overlay.PortLimit{{Node: "a", Port: "p", MACs: []ether.MAC{guest(1)}}})); got != "gone 1@b #1" {
		t.Errorf("limited to another port: %q", got)
	}
	if got := placeLines(l.Declare(now, Place{MAC: guest(1), Node: "c", Port: "p"})); got != "learned 1@c #0" {
		t.Errorf("declared in a file: %q", got)
	}
}

func TestFixedPortsKeepTheirAddresses(t *testing.T) {
	l, now := NewLocator(), time.Unix(0, 0)
	l.Limit([]overlay.PortLimit{{Node: "a", Port: "p", Fixed: true}})
	l.Announce(now, "a", sight(1, 1, ""))
	now = now.Add(time.Minute)
	got := l.Announce(now, "b", sight(1, 1, "g"))
	if placeLines(got) != "conflict 1@a #0 (b)" || !strings.Contains(got[0].Why, "port p of a keeps its addresses") {
		t.Errorf("claimed by announcing itself: %v", got)
	}
	if got := placeLines(l.Announce(now, "b", sight(2, 2, ""))); got != "learned 2@b #0" {
		t.Errorf("another: %q", got)
	}
	if got := placeLines(l.Declare(now, Place{MAC: guest(1), Node: "b", Port: "p"})); got != "moved 1@b #1 (a)" {
		t.Errorf("declared: %q", got)
	}
}

// A host that fills the directory leaves room for others.
func TestOneNodeDoesNotFillTheDirectory(t *testing.T) {
	l, now := NewLocator(), time.Unix(0, 0)
	refusals := 0
	for i := range 2 * maxPlacesOfNode {
		a := Announce{Boot: 1, Seq: uint64(i + 1), Seen: []Sighting{{MAC: ether.MAC{2, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}, Port: "p"}}}
		for _, c := range l.Announce(now, "liar", a) {
			if c.Kind == PlaceRefused {
				refusals++
			}
		}
	}
	if len(l.places) != maxPlacesOfNode || refusals != 1 {
		t.Errorf("it has %d places; %d reports", len(l.places), refusals)
	}
	if got := placeLines(l.Announce(now, "b", sight(1, 1, ""))); got != "learned 1@b #0" {
		t.Errorf("another host: %q", got)
	}
	l.Forget("liar")
	if l.reporter("liar").places != 0 || len(l.places) != 1 {
		t.Errorf("forgotten, and %d places are counted, %d are there", l.reporter("liar").places, len(l.places))
	}
}
