package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtuoso-vnet/virtuoso/internal/server/servertest"
)

func TestMonitorsFindTotalsAndNoPairs(t *testing.T) {
	srv := httptest.NewServer(Handler(servertest.New("host1")))
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := metrics(context.Background(), servertest.New("host1"))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(err, resp.Status)
	}
	line := regexp.MustCompile(`^[a-z_]+(\{(version|reason)="[^"]*"\})? [0-9.e+]+$`)
	for l := range strings.Lines(text) {
		if l = strings.TrimSuffix(l, "\n"); !strings.HasPrefix(l, "# ") && !line.MatchString(l) {
			t.Errorf("not what Prometheus reads, or a label that may grow: %s", l)
		}
	}
	for _, want := range []string{"vnet_edge_in_frames_total ", "vnet_links_up ", "# TYPE vnet_dropped_frames_total counter"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if regexp.MustCompile(`([0-9a-f]{2}:){5}`).MatchString(text) {
		t.Errorf("there is a MAC in\n%s", text)
	}
}

// docs/api.md has every metric, and none that is not there.
func TestMetricsAreDocumented(t *testing.T) {
	code, err := os.ReadFile("metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	names := func(b []byte, pattern string) map[string]bool {
		set := map[string]bool{}
		for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(b, -1) {
			set[string(m[1])] = true
		}
		return set
	}
	want, got := names(code, `"(vnet_[a-z_]+)"`), names(text, "`(vnet_[a-z_]+)[`{]")
	if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
		t.Errorf("what is counted and what docs/api.md says (-counted +said):\n%s", diff)
	}
}
