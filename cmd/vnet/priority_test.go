package main

import "testing"

func TestNiceness(t *testing.T) {
	for text, want := range map[string]struct {
		nice  int
		asked bool
	}{"": {defaultNice, false}, "0": {0, true}, "-20": {-20, true}, "19": {19, true}} {
		if nice, asked, err := niceness(text); nice != want.nice || asked != want.asked || err != nil {
			t.Errorf("%q: %d, asked for: %v, error %v", text, nice, asked, err)
		}
	}
	for _, text := range []string{"20", "-21", "high", "1.5", " "} {
		if _, _, err := niceness(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
