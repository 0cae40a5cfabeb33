package link

import (
	"testing"
	"time"
)

func TestATurnEndsUnderLoadOnly(t *testing.T) {
	var turn Turn
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		after time.Duration
		over  bool
	}{
		{0, false},
		{time.Millisecond, false},
		{turnLong, true}, // nine milliseconds without a wait
		{time.Millisecond, false},
		{beatEvery, false}, // it waited
		{turnLong - 1, false},
		{1, true},
	} {
		now = now.Add(c.after)
		if over := turn.over(now); over != c.over {
			t.Errorf("%v later the turn is over: %v", c.after, over)
		}
	}
}
