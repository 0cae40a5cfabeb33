package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// mostExposed is what systemd's own judge may say of the unit, from 0 to 10. What is left is
// the network, root's name, and the two capabilities that the daemon itself gives up once it is up.
const mostExposed = 3.0

func TestTheUnitIsASandbox(t *testing.T) {
	judge, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze on this machine")
	}
	unit := filepath.Join(t.TempDir(), unitName("lab"))
	if err := os.WriteFile(unit, []byte(unitText("lab", defaultNice, []string{"/usr/bin/env", "host", "--overlay", "lab"})), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(judge, "verify", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd does not take the unit: %v\n%s", err, out)
	}
	out, err := exec.Command(judge, "security", "--offline=true", "--no-pager", unit).CombinedOutput()
	found := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if found == nil {
		t.Skipf("this systemd-analyze judges no file: %v\n%s", err, out)
	}
	t.Logf("%s", found[0])
	if level, err := strconv.ParseFloat(string(found[1]), 64); err != nil || level > mostExposed {
		t.Errorf("exposure %v is above %v:\n%s", level, mostExposed, out)
	}
}
