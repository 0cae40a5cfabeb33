package e2e

import (
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/lab/cells"
)

// Two cells of the experiments, short: the application ends with every byte verified by each policy, adaptation has a link for
// every edge and no other, and no frame is missing. How fast it is, `vnet experiment cells` measures.
func TestCellsOfTheGrid(t *testing.T) {
	for _, name := range []string{"cluster4/ring", "wide4/alltoall"} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), program, "experiment", "cells", "--only", name, "--runs", "1", "--span", "6s", "--json", "--out", t.TempDir()).Output()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var all []cells.Cell
			if err := json.Unmarshal(out, &all); err != nil || len(all) != 1 || len(all[0].Lab) != 1 {
				t.Fatalf("%v: %s", err, out)
			}
			c, run := all[0], all[0].Lab[0]
			if run.FramesLost != 0 || run.Duplicates != 0 {
				t.Errorf("%d frames lost, %d twice", run.FramesLost, run.Duplicates)
			}
			for policy, links := range map[string]int{"star": 0, "oracle": c.Edges, "fastpath": c.Edges} {
				if got := run.Runs[policy]; got.Links != links || got.Iterations == 0 {
					t.Errorf("%s: %d links for %d edges, %d iterations", policy, got.Links, c.Edges, got.Iterations)
				}
			}
		})
	}
}
