package vttif

import (
	"testing"
	"time"
)

// What a group delivered is known from up to a window before it was published, through changes of its edges, and by the
// interval.
func TestTheCourseOfAGroup(t *testing.T) {
	s := newStory(Config{})
	first := []sends{{1, 2, 1e6}, {2, 3, 1e6}}
	s.ticks(3*time.Second, first...)
	c, ok := s.in.Course(s.top.Groups[0].VMs)
	if !ok || c.Slot != tick {
		t.Fatalf("no course: %+v", c)
	}
	at := func(since time.Duration) uint64 {
		i := int(s.start.Add(since).Sub(c.From) / c.Slot)
		if i < 0 || i >= len(c.Bytes) {
			t.Fatalf("%v is not within %d intervals from %v on", since, len(c.Bytes), c.From.Sub(s.start))
		}
		return c.Bytes[i]
	}
	if began := at(200 * time.Millisecond); began == 0 {
		t.Error("what was counted before the group was known is missing")
	}
	for since := 500 * time.Millisecond; since < 2800*time.Millisecond; since += tick {
		if got := at(since); got != 200_000 {
			t.Errorf("at %v: %d bytes", since, got)
		}
	}
	s.ticks(3*time.Second, append(first, sends{1, 3, 1e6})...)
	c, _ = s.in.Course(s.top.Groups[0].VMs)
	if before, after := at(2500*time.Millisecond), at(5*time.Second); before != 200_000 || after != 300_000 {
		t.Errorf("before the new edge %d, after it %d", before, after)
	}
	total := uint64(0)
	for _, b := range c.Bytes {
		total += b
	}
	if total > 60*300_000 {
		t.Errorf("%d bytes in all: an edge's past was counted as its present", total)
	}
	vms := s.top.Groups[0].VMs
	for range 2 { // a group that is gone for a while has no part in what is delivered meanwhile
		s.ticks(15*time.Second, sends{1, 2, 1e6})
		s.ticks(3*time.Second, first...)
	}
	c, _ = s.in.Course(vms)
	for i, b := range c.Bytes {
		if b > 400_000 {
			t.Errorf("interval %d of %d: %d bytes", i, len(c.Bytes), b)
		}
	}
	if _, ok := s.in.Course(s.top.Groups[0].VMs[:1]); ok {
		t.Error("a course of a group that there is not")
	}
}
