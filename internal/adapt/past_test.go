package adapt

import (
	"testing"
	"time"
)

// alternation plays two topologies by turns, each published for half of a period, to a planner whose proposals are carried
// out at once; it returns when links were opened and closed, and how many changes were made in the last two periods.
func alternation(t *testing.T, period, lasts time.Duration) (late int) {
	t.Helper()
	o, p := star(4), NewPlanner(Config{})
	turns := [][][3]int{{{1, 2, 9}, {3, 4, 9}}, {{1, 3, 9}, {2, 4, 9}}}
	closed, opened := map[Ends]time.Duration{}, map[Ends]time.Duration{}
	version := uint64(0)
	for at := time.Duration(0); at < lasts; at += 100 * time.Millisecond {
		turn := int(at/(period/2)) % 2
		if at%(period/2) == 0 {
			version++
		}
		v := View{Overlay: o, Topology: topology(version, turns[turn]...), Bound: 100 * time.Millisecond}
		got, ok := p.Step(start.Add(at), v)
		if !ok {
			continue
		}
		before := o
		o = carryOut(got)
		if lasts-at <= 2*period {
			late++
		}
		for _, e := range []Ends{EndsOf(host(1), host(2)), EndsOf(host(3), host(4)), EndsOf(host(1), host(3)), EndsOf(host(2), host(4))} {
			_, was := before.LinkBetween(e.A, e.B)
			_, is := o.LinkBetween(e.A, e.B)
			switch since, known := closed[e]; {
			case is && !was:
				if opened[e] = at; known && at-since < EffectiveBound(v.Bound) {
					t.Errorf("period %v: at %v link %s is opened again, %v after it was closed", period, at, e, at-since)
				}
			case was && !is:
				if closed[e] = at; at-opened[e] < EffectiveBound(v.Bound) {
					t.Errorf("period %v: at %v link %s is closed, %v after it was opened", period, at, e, at-opened[e])
				}
			}
		}
	}
	return late
}

// What leaves the topology and comes back: never within the effective bound, and if it comes back again and again its links
// stay: the union.
func TestAlternatingPairsGetTheUnion(t *testing.T) {
	for _, period := range []time.Duration{16 * time.Second, 20 * time.Second, 30 * time.Second, time.Minute} {
		if late := alternation(t, period, 15*period); late > 0 {
			t.Errorf("period %v: still %d changes in the last two periods", period, late)
		}
	}
	if late := alternation(t, 12*time.Minute, 48*time.Minute); late == 0 {
		t.Error("topologies that alternate slowly are not followed")
	}
}
