package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

const stream = `{"Action":"start","Package":"x/a"}
{"Action":"output","Package":"x/a","Test":"TestFine","Output":"    a_test.go:7: 3 ms\n"}
{"Action":"pass","Package":"x/a","Test":"TestFine"}
{"Action":"output","Package":"x/a","Test":"TestBad","Output":"    a_test.go:9: want 1, got 2\n"}
{"Action":"output","Package":"x/a","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"fail","Package":"x/a","Test":"TestBad"}
{"Action":"output","Package":"x/a","Test":"TestAway","Output":"    a_test.go:12: iperf3 is not installed\n"}
{"Action":"output","Package":"x/a","Test":"TestAway","Output":"--- SKIP: TestAway (0.00s)\n"}
{"Action":"skip","Package":"x/a","Test":"TestAway"}
{"Action":"output","Package":"x/a","Output":"FAIL\tx/a\t0.1s\n"}
{"Action":"fail","Package":"x/a"}
{"Action":"output","Package":"x/b","Output":"ok  \tx/b\t0.2s\n"}
{"Action":"pass","Package":"x/b"}
{"ImportPath":"x/c","Action":"build-output","Output":"c.go:1: broken\n"}
`

const printed = `    TestFine: 3 ms
    a_test.go:9: want 1, got 2
--- FAIL: TestBad (0.00s)
FAIL	x/a	0.1s
ok  	x/b	0.2s
c.go:1: broken
`

func TestWhatAPersonWantsToSee(t *testing.T) {
	kept := filepath.Join(t.TempDir(), "skipped")
	var out bytes.Buffer
	if err := run(bytes.NewReader([]byte(stream)), &out, kept, "a$"); err != nil {
		t.Fatal(err)
	}
	if out.String() != printed {
		t.Errorf("printed:\n%s\nwant:\n%s", out.String(), printed)
	}
	skipped, err := os.ReadFile(kept)
	if want := "x/a TestAway: iperf3 is not installed\n"; err != nil || string(skipped) != want {
		t.Errorf("kept %q (%v), want %q", skipped, err, want)
	}
}
