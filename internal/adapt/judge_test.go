package adapt

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

const slot = 100 * time.Millisecond

// application is a made-up one: how many bytes its edges deliver in each interval, given how fast the network lets it be.
type application func(at time.Duration, speed float64, dice *rand.Rand) float64

// steady sends as fast as it may, with the unevenness of TCP flows that share a wire.
func steady(_ time.Duration, speed float64, dice *rand.Rand) float64 {
	return 1e6 * speed * (0.8 + 0.4*dice.Float64())
}

// iterating exchanges for a part of each period and computes in the rest.
func iterating(period time.Duration, busy float64) application {
	return func(at time.Duration, speed float64, dice *rand.Rand) float64 {
		p := time.Duration(float64(period) / speed)
		share := 0.0
		for step := range 10 {
			if t := at + time.Duration(step)*slot/10; float64(t%p)/float64(p) < busy {
				share += 0.1
			}
		}
		return 1e6 * speed * share * (0.95 + 0.1*dice.Float64())
	}
}

// bursty is on and off for times that dice choose, so that neighbouring intervals resemble one another.
func bursty() application {
	on, until := false, time.Duration(0)
	return func(at time.Duration, speed float64, dice *rand.Rand) float64 {
		if at >= until {
			on, until = !on, at+time.Duration((0.2+1.5*dice.ExpFloat64())*float64(time.Second))
		}
		if !on {
			return 1e4
		}
		return 1e6 * speed * (0.8 + 0.4*dice.Float64())
	}
}

// patient sends what its user types: the network is never the limit.
func patient(_ time.Duration, _ float64, dice *rand.Rand) float64 {
	return 2e4 * (0.5 + dice.Float64())
}

// trialOf lets an application run, changes the speed of its network after a while, and returns what the judge says of that.
func trialOf(run application, period, before time.Duration, off float64, seed uint64, direct float64) (all []Verdict) {
	const until = 90 * time.Second
	o, dice, j := star(2), rand.New(rand.NewPCG(seed, 9)), NewJudge()
	top := topology(1, [3]int{1, 2, 10})
	top.Groups[0].Rate = top.Groups[0].Edges[0].Rate / off
	top.Groups[0].Goal = vttif.Goal{Period: period, Confidence: 0.9}
	if period == 0 {
		top.Groups[0].Goal.Confidence = 0
	}
	course := vttif.Course{From: start, Slot: slot}
	courses := func([]ether.MAC) (vttif.Course, bool) {
		c := course
		if over := len(c.Bytes) - 600; over > 0 {
			c.From, c.Bytes = c.From.Add(time.Duration(over)*slot), c.Bytes[over:]
		}
		return c, true
	}
	speed, links := 1.0, false
	p := Proposal{ID: 1, Diverted: []Direct{{unordered(mac(1), mac(2)), EndsOf("host1", "host2")}}}
	for at := time.Duration(0); at < until; at += slot {
		now := start.Add(at)
		course.Bytes = append(course.Bytes, uint64(run(at, speed, dice)))
		barred := len(j.Bars(now)) > 0
		switch {
		case at >= before && !links && !barred:
			links, speed = true, direct
			j.Made(Change{Proposal: p, Began: now, Made: now.Add(slot), Bound: slot}, top, o, courses)
		case links && barred:
			links, speed = false, 1
			back := Proposal{ID: p.ID + 1, restored: []vttif.Pair{p.Diverted[0].Pair}}
			j.Made(Change{Proposal: back, Began: now, Made: now.Add(slot), Bound: slot}, top, o, courses)
			p.ID += 2
		}
		seen := top
		if links && period > 0 { // the inference has found the new period
			seen.Groups = slices.Clone(top.Groups)
			seen.Groups[0].Goal.Period = time.Duration(float64(period) / speed)
		}
		all = append(all, j.Step(now, seen, o, courses)...)
	}
	return all
}

func outcomes(all []Verdict) string {
	var text []string
	for _, v := range all {
		text = append(text, string(v.Outcome))
	}
	return strings.Join(text, ", ")
}

func TestChangesAreJudged(t *testing.T) {
	for _, row := range []struct {
		name   string
		run    application
		period time.Duration
		before time.Duration
		off    float64
		direct float64 // speed after the change
		want   string  // outcomes, the first ones
		why    string
	}{
		{"faster", steady, 0, 20 * time.Second, 1, 1.8, "kept", "faster by 8"},
		{"slower", steady, 0, 20 * time.Second, 1, 0.7, "reverted", "slower by"},
		{"slower, iterating", iterating(300*time.Millisecond, 0.6), 300 * time.Millisecond, 20 * time.Second, 1, 0.7, "reverted", "slower by"},
		{"faster, iterating slowly", iterating(3*time.Second, 0.6), 3 * time.Second, 40 * time.Second, 1, 1.5, "kept", "faster by"},
		{"no difference, much off the Proxy", patient, 0, 20 * time.Second, 0.5, 2, "kept", "50 % of its bytes are off the Proxy"},
		{"no difference, little off the Proxy", patient, 0, 20 * time.Second, 0.05, 2, "reverted", "no faster, and only 5 %"},
		{"a second of traffic before, and faster", steady, 0, time.Second, 1, 1.8, "kept", "not compared: it had only begun"},
		{"a second of traffic before, and slower", steady, 0, time.Second, 1, 0.2, "suspected, reverted", "the star is tried again"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := trialOf(row.run, row.period, row.before, row.off, 1, row.direct)
			if len(got) == 0 || !strings.HasPrefix(outcomes(got), row.want) || !strings.Contains(got[0].Reason, row.why) {
				for _, v := range got {
					t.Logf("%s: %s", v.Outcome, v.Reason)
				}
				t.Errorf("%s, want %s because of %q", outcomes(got), row.want, row.why)
			}
		})
	}
}

// A change that made no difference is taken back in at most two of a hundred runs, whatever the application is like; one that
// costs a third of the speed is nearly always.
func TestFewChangesAreTakenBackByMistake(t *testing.T) {
	for _, row := range []struct {
		name   string
		run    func() application
		period time.Duration
		least  int // of 100 harmful changes are taken back
	}{
		{"steady", func() application { return steady }, 0, 99},
		{"iterating in 50 ms", func() application { return iterating(50*time.Millisecond, 0.5) }, 50 * time.Millisecond, 99},
		{"iterating in 0.3 s", func() application { return iterating(300*time.Millisecond, 0.6) }, 300 * time.Millisecond, 99},
		{"iterating in 1 s", func() application { return iterating(time.Second, 0.4) }, time.Second, 95},
		{"iterating in 3 s", func() application { return iterating(3*time.Second, 0.4) }, 3 * time.Second, 80},
		{"bursty", bursty, 0, 0},
		{"patient", func() application { return patient }, 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			mistakes, caught, early := 0, 0, 0
			for seed := range uint64(100) {
				before := 20*time.Second + time.Duration(seed)*170*time.Millisecond
				if got := outcomes(trialOf(row.run(), row.period, before, 1, seed, 1)); strings.Contains(got, "reverted") || strings.Contains(got, "suspected") {
					mistakes++
				}
				begun := time.Duration(seed%10) * slot // it has just started
				if got := outcomes(trialOf(row.run(), row.period, begun, 1, seed, 1)); strings.Contains(got, "reverted") || strings.Contains(got, "suspected") {
					early++
				}
				if strings.Contains(outcomes(trialOf(row.run(), row.period, before, 1, seed, 0.67)), "reverted") {
					caught++
				}
			}
			t.Logf("of 100 neutral changes %d were taken back, of 100 at the application's start %d, of 100 that cost a third %d", mistakes, early, caught)
			if mistakes > 2 || early > 2 || caught < row.least {
				t.Errorf("at most 2 and at least %d were expected", row.least)
			}
		})
	}
}

// What was taken back is not done again for a minute, then for two, and a change that is kept ends the doubling.
func TestBarsDouble(t *testing.T) {
	j, now := NewJudge(), start
	tr := &trial{diverted: []Direct{{unordered(mac(1), mac(2)), EndsOf("host1", "host2")}}}
	for i := range 4 {
		j.bar(now, tr, "slower")
		bars := j.Bars(now)
		if want := time.Minute << i; len(bars) != 1 || bars[0].Until.Sub(now) != want || bars[0].Count != i+1 {
			t.Fatalf("the %d. time: %+v, want %v", i+1, bars, want)
		}
		now = bars[0].Until
	}
	kept := NewJudge()
	kept.Restore(j.Bars(now.Add(-time.Second)))
	if len(kept.Bars(now.Add(-time.Second))) != 1 {
		t.Error("bars do not outlive a restart")
	}
	j.lift(tr)
	if j.bar(now, tr, "slower"); j.Bars(now)[0].Until.Sub(now) != time.Minute {
		t.Error("a change that was kept does not end the doubling")
	}
}

// A trial ends without a verdict when what it compares is not the same any more.
func TestNoVerdictOnAnotherApplication(t *testing.T) {
	base := func() vttif.Topology { return topology(1, [3]int{1, 2, 10}, [3]int{2, 3, 10}) }
	for _, row := range []struct {
		name string
		next func(vttif.Topology) vttif.Topology
		want string
	}{
		{"another pattern", func(vttif.Topology) vttif.Topology { return topology(2, [3]int{1, 2, 10}, [3]int{1, 3, 10}) }, "pattern has changed"},
		{"over", func(vttif.Topology) vttif.Topology { return topology(2) }, "the application is over"},
		{"another on the same hosts", func(t vttif.Topology) vttif.Topology {
			other := topology(2, [3]int{7, 8, 10})
			t.Version, t.Groups = 2, append(t.Groups, other.Groups...)
			return t
		}, "another application"},
		{"another elsewhere", func(t vttif.Topology) vttif.Topology {
			other := topology(2, [3]int{4, 5, 10})
			t.Version, t.Groups = 2, append(t.Groups, other.Groups...)
			return t
		}, ""},
	} {
		o, j := star(5), NewJudge()
		place(o, 7, "host1")
		place(o, 8, "host4")
		none := func([]ether.MAC) (vttif.Course, bool) { return vttif.Course{}, false }
		p := Proposal{ID: 1, Diverted: []Direct{{unordered(mac(1), mac(2)), EndsOf("host1", "host2")}}}
		j.Made(Change{Proposal: p, Began: start, Made: start}, base(), o, none)
		got := j.Step(start.Add(time.Second), row.next(base()), o, none)
		if row.want == "" && len(got) > 0 || row.want != "" && (len(got) != 1 || got[0].Outcome != NoVerdict || !strings.Contains(got[0].Reason, row.want)) {
			t.Errorf("%s: %+v, want %q", row.name, got, row.want)
		}
	}
}

// The rates of a sample are those of the stretch, however it is cut.
func TestSamplesAddUp(t *testing.T) {
	dice := rand.New(rand.NewPCG(4, 4))
	for range 200 {
		bytes := make([]uint64, 20+dice.IntN(200))
		total := 0.0
		for i := range bytes {
			bytes[i] = uint64(dice.IntN(1000))
			total += float64(bytes[i])
		}
		window := time.Duration(len(bytes)) * slot / time.Duration(1+dice.IntN(9))
		sum := 0.0
		for _, r := range rates(bytes, slot, window) {
			sum += r * window.Seconds()
		}
		if left := total - sum; left < -1e-6 || left > 1000*(window.Seconds()/slot.Seconds()+1) || math.IsNaN(sum) {
			t.Fatalf("%d intervals in windows of %v: %v of %v", len(bytes), window, sum, total)
		}
	}
}

func TestStretches(t *testing.T) {
	read := func(text string) (list []uint64) {
		for _, c := range text {
			list = append(list, uint64(c-'0'))
		}
		return list
	}
	write := func(list []uint64) (text string) {
		for _, b := range list {
			text += fmt.Sprint(b)
		}
		return text
	}
	for _, row := range []struct{ bytes, last, first string }{
		{"0000000", "", ""},
		{"00012301", "2301", ""},
		{"1230120000", "", "123012"},
		{"12300001234", "234", "123"},
		{"1010101", "010101", "1010101"},
	} {
		if got := write(lastStretch(read(row.bytes), slot, 3*slot)); got != row.last {
			t.Errorf("last of %s: %s, want %s", row.bytes, got, row.last)
		}
		if got := write(firstStretch(read(row.bytes), slot, 3*slot)); got != row.first {
			t.Errorf("first of %s: %s, want %s", row.bytes, got, row.first)
		}
	}
}
