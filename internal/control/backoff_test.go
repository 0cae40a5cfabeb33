package control

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

func TestBackoff(t *testing.T) {
	type span struct{ from, to time.Duration }
	s := time.Second
	for name, c := range map[string]struct {
		b     *Backoff
		waits []span
	}{
		"star": {StarBackoff(), []span{{0, 200 * ms}, {200 * ms, 400 * ms}, {400 * ms, 800 * ms}, {800 * ms, 1600 * ms},
			{1600 * ms, 3200 * ms}, {3200 * ms, 6400 * ms}, {5 * s, 10 * s}, {5 * s, 10 * s}}},
		"fast path": {FastBackoff(), []span{{5 * s, 6250 * ms}, {10 * s, 12500 * ms}, {20 * s, 25 * s}, {40 * s, 50 * s},
			{80 * s, 100 * s}, {160 * s, 200 * s}, {300 * s, 300 * s}, {300 * s, 300 * s}}},
	} {
		t.Run(name, func(t *testing.T) {
			dice, now := rand.New(rand.NewPCG(1, 2)), noon()
			for round := range 100 {
				for i, want := range c.waits {
					if got := c.b.Down(now, dice).Sub(now); got < want.from || got > want.to {
						t.Fatalf("round %d, attempt %d: wait %v, want %v to %v", round, i, got, want.from, want.to)
					}
				}
				c.b.Up(now)
				now = now.Add(301 * s) // it stood: all is forgotten
			}
		})
	}
}

func TestBackoffOfAFlappingLinkGoesOn(t *testing.T) {
	dice, now, b := rand.New(rand.NewPCG(1, 2)), noon(), FastBackoff()
	for range 5 {
		next := b.Down(now, dice)
		b.Up(next)
		now = next.Add(time.Second)
	}
	if wait := b.Down(now, dice).Sub(now); wait < 100*time.Second {
		t.Errorf("after five flaps it waits %v, want 160 s or more", wait)
	}
}

func TestBothEndsKeepTheSameLink(t *testing.T) {
	// a and b both dialled: the link dialled by a is the one both keep.
	for _, c := range []struct {
		at, peer overlay.Name
		dialled  bool
		want     bool
	}{{"a", "b", true, true}, {"a", "b", false, false}, {"b", "a", true, false}, {"b", "a", false, true}} {
		if got := Stays(c.at, c.peer, c.dialled); got != c.want {
			t.Errorf("at %s, dialled by itself %v: stays %v", c.at, c.dialled, got)
		}
	}
}
