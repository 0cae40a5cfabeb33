package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/report"
	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// The benchmark works: every row that was asked for is there, and what crossed each peer arrived as it was sent. How fast
// it was is nobody's business here.
func TestQuickRunHasAllRows(t *testing.T) {
	if obstacle := lab.Preflight(); obstacle != nil {
		t.Skipf("no namespaces here: %v", obstacle)
	}
	if _, err := exec.LookPath("iperf3"); err != nil {
		t.Skip("no iperf3 here")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "datapath")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("cannot build it: %v: %s", err, out)
	}
	peers := []string{"veth", "ours-udp", "ours-tcp"}
	var complaint bytes.Buffer
	cmd := exec.Command(program, "-quick", "-json", "-programs", dir, "-only", "veth,ours-udp,ours-tcp", "-figures", "tcp,udp64,segment64,rr,rest")
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("it failed: %v: %s", err, complaint.String())
	}
	var r report.Result
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("cannot read what it printed: %v: %s", err, out)
	}
	for i, name := range peers {
		if i >= len(r.Systems) || r.Systems[i].Name != name || r.Systems[i].NotRun != "" || r.Systems[i].Checked < quick().checked {
			t.Fatalf("row %d is not %s, run and checked: %+v", i, name, r.Systems)
		}
		keys := []string{"tcp1", "cpu", "udp64", "segment64", "rr50", "rr99"}
		if name != "veth" {
			keys = append(keys, "rss", "idle")
		}
		for _, key := range keys {
			if len(r.Values(name, key)) != 1 {
				t.Errorf("%s has no %s: %+v", name, key, r.Samples)
			}
		}
	}
}

// Every aim speaks of a figure and of systems that there are.
func TestAimsSpeakOfWhatIsMeasured(t *testing.T) {
	known := map[string]bool{"": true, report.BestPeer: true}
	o := options{}
	all, err := o.peers()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names(all) {
		known[name] = true
	}
	for _, a := range aims() {
		if !known[a.System] || !known[a.To] || a.Figure.Key == "" {
			t.Errorf("the aim %q is of %q, %q and %q", a.What, a.System, a.Figure.Key, a.To)
		}
	}
}
