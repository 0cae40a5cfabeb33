package server

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtuoso-vnet/virtuoso/internal/server/servertest"
)

// TestTheExamplesInTheDocument runs each example of docs/api.md and compares its answer with the one printed there.
func TestTheExamplesInTheDocument(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("not run: needs curl")
	}
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	host1, host2 := servertest.New("host1"), servertest.New("host2")
	tunnel(host1, host2)
	socket := serve(t, host1)
	examples := regexp.MustCompile("(?s)```sh\n(.*?)```\n\n```json\n(.*?)```").FindAllSubmatch(text, -1)
	if len(examples) < 4 {
		t.Fatalf("found %d examples in docs/api.md", len(examples))
	}
	for _, example := range examples {
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", string(example[1]))
		cmd.Env = append(os.Environ(), "SOCK="+socket)
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v", example[1], err)
			continue
		}
		var got, want any
		if err := json.Unmarshal(out, &got); err != nil {
			t.Errorf("%s answers %q: %v", example[1], out, err)
		}
		if err := json.Unmarshal(example[2], &want); err != nil {
			t.Errorf("the document prints no JSON: %v", err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%sanswers (-document +daemon):\n%s", example[1], diff)
		}
	}
}
