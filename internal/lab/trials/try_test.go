package trials

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestTry(t *testing.T) {
	for _, e := range Environments() {
		for _, vms := range []int{4, 8} {
			for _, p := range Patterns(vms) {
				s := Setting{e, vms, p, 1}
				if f := os.Getenv("F"); f != "" && !strings.Contains(s.String(), f) {
					continue
				}
				b := time.Now()
				c, err := s.Compare(Work)
				if err != nil {
					t.Error(s, err)
					continue
				}
				fmt.Printf("%s edges %d links %d star %.3f oracle %.3f mesh %.3f(%d) ratio %.4f tomesh %.4f speedup %.2f inf %.2f ad %.3f ch %d rev %d lost %d dup %d  %.1fs\n", c.Setting, c.Edges, c.Auto.Links, c.Star, c.Oracle.IterationS, c.Mesh.IterationS, c.Mesh.Links, c.Ratio, c.ToMesh, c.Speedup, c.Auto.InferredS, c.Auto.AdaptedS, c.Auto.Changes, c.Auto.Reverted, c.FramesLost, c.Duplicates, time.Since(b).Seconds())
			}
		}
	}
}
