package server

import (
	"os/exec"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/server/servertest"
)

// TestTheExampleAgent has examples/agent steer a daemon made of memory, which gives it the lease, one view, and an end.
func TestTheExampleAgent(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("not run: needs python3")
	}
	proxy := servertest.New("proxy")
	out, err := exec.CommandContext(t.Context(), python, "../../examples/agent/agent.py", "--socket", serve(t, proxy), "--pairs", "2").CombinedOutput()
	if want := "2 ways wanted, made in 0.050s\n"; err != nil || string(out) != want {
		t.Errorf("it says %q, %v; want %q", out, err, want)
	}
	if plan := proxy.Plan(); len(plan) != 2 || plan[0].GetA() != "02:00:00:00:00:01" || plan[0].GetB() != "02:00:00:00:00:03" {
		t.Errorf("its plan is %v", plan)
	}
}
