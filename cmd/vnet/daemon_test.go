package main

import (
	"runtime/debug"
	"testing"
)

func TestHowMuchGarbage(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	for _, c := range []struct {
		what, env string
		want      int
	}{{"as the daemon wishes", "", garbageShare}, {"as the user wishes", "100", 100}} {
		t.Setenv("GOGC", c.env)
		debug.SetGCPercent(100) // what the runtime would have made of it
		(&daemon{}).saveMemory()
		if got := debug.SetGCPercent(100); got != c.want {
			t.Errorf("%s: garbage may grow to %d %%, not to %d", c.what, got, c.want)
		}
	}
}
