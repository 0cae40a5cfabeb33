package control

import (
	"strings"
	"testing"
	"time"
)

func TestTroublesAreListedUntilTheyEnd(t *testing.T) {
	l := NewLocator()
	start := time.Unix(1000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	want := func(d time.Duration, text string) {
		t.Helper()
		var lines []string
		for _, one := range l.Troubles(at(d)) {
			lines = append(lines, one.Place.MAC.String()+" "+one.Why)
		}
		if got := strings.Join(lines, "; "); got != text {
			t.Errorf("at %v: %q, want %q", d, got, text)
		}
	}
	l.Announce(at(0), "a", sight(1, 1, ""))
	want(0, "")
	l.Announce(at(500*ms), "b", sight(1, 1, ""))
	want(500*ms, "52:54:00:00:00:01 b claims it while a still sends with it")
	l.Announce(at(2*time.Second), "b", sight(2, 1, "")) // a was quiet: a move, no trouble
	want(2*time.Second, "")
	l.Announce(at(2500*ms), "a", sight(2, 1, ""))
	want(3*time.Second, "52:54:00:00:00:01 a claims it while b still sends with it")
	want(time.Hour, "")
}
