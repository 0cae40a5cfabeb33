package main

import (
	"strings"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/lab/demo"
)

func TestTheOverlayIsDrawn(t *testing.T) {
	star := strings.Join(drawOverlay(demo.Snapshot{VMs: 4}, false), "\n")
	for _, want := range []string{"[vm1]", "[vm2]", "[vm3]", "[vm4]", "[Proxy]", "·"} {
		if !strings.Contains(star, want) {
			t.Errorf("the star lacks %q:\n%s", want, star)
		}
	}
	if strings.Contains(star, "●") {
		t.Errorf("a star without fast paths shows one:\n%s", star)
	}
	ring := strings.Join(drawOverlay(demo.Snapshot{VMs: 4, Links: [][2]string{{"host1", "host2"}}}, false), "\n")
	if !strings.Contains(ring, "●") {
		t.Errorf("the fast path is missing:\n%s", ring)
	}
}

func TestSparkline(t *testing.T) {
	if got, want := sparkline([]float64{0, 4, 8}), "▁▅█"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := sparkline([]float64{0, 0}); got != "▁▁" {
		t.Errorf("nothing but zeros: %q", got)
	}
}
