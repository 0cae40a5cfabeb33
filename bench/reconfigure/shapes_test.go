package main

import (
	"fmt"
	"testing"
)

// TestShapesAreThoseOfThePaper counts links and rules: with these the paper's 20 ms a primitive make its 1.6 s and 3.23 s.
func TestShapesAreThoseOfThePaper(t *testing.T) {
	var vms []vm
	for i := range hosts {
		vms = append(vms, vm{Host: fmt.Sprintf("host%d", i+1), Port: fmt.Sprintf("vm%d", i+1), MAC: fmt.Sprintf("02:00:00:00:00:%02x", i+1)})
	}
	of := func(pattern string) shape {
		s, err := joined(pattern, pattern, vms)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, c := range []struct {
		shape        shape
		links, rules int
	}{
		{star(), 0, 0}, {of("alltoall"), 28, 56}, {of("ring"), 8, 16}, {of("hypercube"), 12, 24}, {bus("bus", vms, hosts), 7, 168}, {bus("neighbours", vms, 1), 7, 14},
	} {
		if links, rules := len(c.shape.links), len(c.shape.rules); links != c.links || rules != c.rules {
			t.Errorf("%s: %d links and %d rules, want %d and %d", c.shape.name, links, rules, c.links, c.rules)
		}
	}
}
