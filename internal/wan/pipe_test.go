package wan

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func dice(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func TestOfferTranscript(t *testing.T) {
	start := time.Unix(0, 0)
	ms := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
	// 1 Mbit/s: 125 bytes take 1 ms.
	line := Path{Delay: ms(10), Rate: 1_000_000, Queue: ms(2), MTU: 500}
	type offer struct {
		at   float64 // ms
		size int
		want string // arrival, or the reason
	}
	for _, tc := range []struct {
		name   string
		path   Path
		offers []offer
	}{
		{"a perfect wire", Path{}, []offer{{0, 1500, "0s"}, {1, 9000, "1ms"}}},
		{"delay alone", Path{Delay: ms(5)}, []offer{{0, 1500, "5ms"}, {0, 1500, "5ms"}, {3, 1, "8ms"}}},
		{"rate and queue", line, []offer{
			{0, 125, "11ms"}, {0, 125, "12ms"}, {0, 125, "13ms"}, // waits 0, 1, 2 ms
			{0, 125, "queue full"}, // would wait 3 ms
			{1, 125, "14ms"},       // one has left
			{100, 250, "112ms"},    // idle again
		}},
		{"too big", line, []offer{{0, 501, "too big"}, {0, 500, "14ms"}}},
		{"no queue", Path{Rate: 1_000_000, Queue: -1}, []offer{{0, 125, "1ms"}, {0.5, 125, "queue full"}, {1, 125, "2ms"}}},
		{"always lost", Path{Loss: 1}, []offer{{0, 1, "lost"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := New(tc.path)
			for i, o := range tc.offers {
				at, ok, why := p.Offer(start.Add(ms(o.at)), o.size, dice(1))
				got := why.String()
				if ok {
					got = at.Sub(start).String()
				}
				if got != o.want {
					t.Errorf("offer %d (%g ms, %d bytes): got %s, want %s", i, o.at, o.size, got, o.want)
				}
			}
		})
	}
}

func anyPath(t *rapid.T) Path {
	p := Path{
		Delay:  time.Duration(rapid.Int64Range(0, 50e6).Draw(t, "delay")),
		Jitter: time.Duration(rapid.Int64Range(0, 20e6).Draw(t, "jitter")),
		Loss:   rapid.SampledFrom([]float64{0, 0.01, 0.5}).Draw(t, "loss"),
		Rate:   rapid.SampledFrom([]int64{0, 9_999, 1_000_000, 100_000_000, 10_000_000_007}).Draw(t, "rate"),
		Queue:  time.Duration(rapid.Int64Range(-1, 100e6).Draw(t, "queue")),
	}
	if err := p.Validate(); err != nil {
		t.Fatalf("drawn path is refused: %v", err)
	}
	return p
}

// Order is kept, the rate is never exceeded over any window beyond one packet, nobody waits longer than
// the queue, and the extra delay of jitter does not build up.
func TestOfferProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := anyPath(t)
		p, d := New(path), dice(rapid.Uint64().Draw(t, "seed"))
		now := time.Unix(1000, 0)
		type arrival struct {
			at   time.Time
			size int
		}
		var got []arrival
		for range rapid.IntRange(1, 60).Draw(t, "packets") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 3e6).Draw(t, "gap")))
			size := rapid.IntRange(1, 1500).Draw(t, "size")
			wait := p.Backlog(now)
			at, ok, why := p.Offer(now, size, d)
			if ok != (why == Kept) {
				t.Fatalf("ok=%v, why=%v", ok, why)
			}
			if full := path.Rate > 0 && wait > path.Depth(); full != (why == Full) {
				t.Fatalf("backlog %v of %v: %v", wait, path.Depth(), why)
			}
			if !ok {
				continue
			}
			least := now.Add(wait + path.Delay)
			most := least.Add(path.Jitter)
			if path.Rate > 0 {
				tx := time.Duration(int64(size) * 8e9 / path.Rate)
				least, most = least.Add(tx), most.Add(tx+60) // up to 1 ns of carry a packet
			}
			if at.Before(least) || at.After(most) {
				t.Fatalf("arrives %v, want between %v and %v", at, least, most)
			}
			got = append(got, arrival{at, size})
		}
		for i := range got {
			if i > 0 && got[i].at.Before(got[i-1].at) {
				t.Fatalf("packet %d overtakes", i)
			}
			if path.Rate == 0 {
				continue
			}
			var bits int64 // of the packets behind i in the window
			for j := i + 1; j < len(got); j++ {
				bits += int64(got[j].size) * 8
				window := got[j].at.Sub(got[i].at) + time.Duration(j-i)
				if allowed := float64(path.Rate) * window.Seconds(); float64(bits) > allowed+1e-3*float64(bits)+float64(path.Rate)*1e-9 {
					t.Fatalf("%d bits in %v: more than %d bit/s", bits, window, path.Rate)
				}
			}
		}
	})
}

// Over a long time a busy pipe delivers exactly its rate: the fractions of nanoseconds are carried.
func TestRateIsExactInTheLongRun(t *testing.T) {
	p := New(Path{Rate: 10_000_000_000, Queue: time.Minute})
	now := time.Unix(0, 0)
	const packets, size = 1_000_000, 1499 // 1,199.2 ns each
	var last time.Time
	for range packets {
		last, _, _ = p.Offer(now, size, nil)
	}
	if got, want := last.Sub(now), 1_199_200_000*time.Nanosecond; got != want {
		t.Errorf("a million packets took %v, want %v", got, want)
	}
}

func TestSameDiceSameFate(t *testing.T) {
	fate := func(seed uint64) string {
		p, d := New(Path{Loss: 0.3, Jitter: time.Millisecond, Reorder: true}), dice(seed)
		var b strings.Builder
		for i := range 200 {
			at, ok, _ := p.Offer(time.Unix(int64(i), 0), 100, d)
			b.WriteString(at.String())
			if !ok {
				b.WriteString("lost")
			}
		}
		return b.String()
	}
	if one, again := fate(1), fate(1); one != again || one == fate(2) {
		t.Error("the fate of packets must follow from the dice")
	}
}

func TestReorderIsOnlyOnRequest(t *testing.T) {
	p, d := New(Path{Jitter: 10 * time.Millisecond, Reorder: true}), dice(7)
	now, last, overtakes := time.Unix(0, 0), time.Time{}, 0
	for range 100 {
		at, _, _ := p.Offer(now, 100, d)
		if at.Before(last) {
			overtakes++
		}
		last = at
	}
	if overtakes == 0 {
		t.Error("asked for reordering, got none in 100 packets")
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		path Path
		want string // part of the message, empty = fine
	}{
		{Path{}, ""},
		{Path{Delay: time.Second, Loss: 1, Rate: 1, Queue: -1}, ""},
		{Path{Delay: -1}, "delay"},
		{Path{Jitter: time.Hour}, "jitter"},
		{Path{Loss: 1.1}, "loss"},
		{Path{Rate: -1}, "rate"},
		{Path{Queue: time.Hour}, "queue"},
		{Path{MTU: -1}, "mtu"},
	} {
		err := tc.path.Validate()
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.path, err, tc.want)
		}
	}
}
