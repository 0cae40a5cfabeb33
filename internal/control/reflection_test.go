package control

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The slow twin is a map from frame to the time it was sent; while it has no more entries than one bucket, both agree.
func TestReflectionsAgreeWithAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, twin, now := NewReflections(64), map[uint64]time.Time{}, noon()
		frames := []uint64{0, 1 << 63, 0xdeadbeef << 30, 42 << 24}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 700).Draw(t, "ms")) * ms)
			frame := rapid.SampledFrom(frames).Draw(t, "frame")
			if rapid.Bool().Draw(t, "sent") {
				r.Sent(now, frame)
				twin[frame] = now
			}
			sent, known := twin[frame]
			if want := known && now.Sub(sent) < reflectionWindow; r.Seen(now, frame) != want {
				t.Fatalf("frame %x sent %v ago: seen %v, want %v", frame, now.Sub(sent), !want, want)
			}
		}
	})
}

func TestReflectionsForgetTheOldestFirst(t *testing.T) {
	r, now := NewReflections(1), noon() // one bucket
	for i := range uint64(5) {
		r.Sent(now.Add(time.Duration(i)*ms), (i+1)<<40)
	}
	for i := range uint64(5) {
		if got := r.Seen(now.Add(10*ms), (i+1)<<40); got != (i > 0) {
			t.Errorf("frame %d of 5 is remembered: %v", i+1, got)
		}
	}
	if !r.Seen(now.Add(-ms), 5<<40) {
		t.Error("a frame another worker noted a moment later is not seen")
	}
}

func TestReflectionsDoNotAllocate(t *testing.T) {
	r, now := NewReflections(0), noon()
	if n := testing.AllocsPerRun(100, func() { r.Sent(now, 7); r.Seen(now, 7) }); n > 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func BenchmarkReflections(b *testing.B) {
	r, now := NewReflections(0), noon()
	for i := range uint64(b.N) {
		r.Sent(now, i<<20)
		r.Seen(now, i<<20)
	}
}
