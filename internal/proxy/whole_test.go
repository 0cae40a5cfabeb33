package proxy

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/lang"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// apply applies a file at the Proxy.
func (w *world) apply(text string, dry bool, revision string) (*vnetv1.ApplyOverlayResponse, error) {
	return w.service().ApplyOverlay(context.Background(), &vnetv1.ApplyOverlayRequest{Text: text, Name: "t", DryRun: dry, Revision: revision})
}

// file describes links between hosts, with rules for the pairs of guests over them, hop by hop where paths has more nodes than two.
func (w *world) file(paths ...[]int) string {
	m := &lang.Meaning{}
	seen := map[string]bool{}
	for _, path := range paths {
		for _, way := range [][]int{path, reversed(path)} {
			src, dst := w.hosts[way[0]].guests[0], w.hosts[way[len(way)-1]].guests[0]
			for i := range way {
				at := w.hosts[way[i]].name
				from, to := "port:"+src.name, "port:"+dst.name
				if i > 0 {
					from = "link:" + w.hosts[way[i-1]].name
				}
				if i < len(way)-1 {
					to = "link:" + w.hosts[way[i+1]].name
					a, b := min(at, to[5:]), max(at, to[5:])
					if !seen[a+b] {
						seen[a+b] = true
						f, err := lang.Parse("link", []byte(fmt.Sprintf("vnet 1\nlink %s %s\n", a, b)))
						if err != nil {
							w.t.Fatal(err)
						}
						m.Links = append(m.Links, f.Meaning().Links...)
					}
				}
				f, err := lang.Parse("rule", []byte(fmt.Sprintf("vnet 1\nrule %s from %s src %s dst %s to %s\n", at, from, src.mac, dst.mac, to)))
				if err != nil {
					w.t.Fatal(err)
				}
				m.Rules = append(m.Rules, f.Meaning().Rules...)
			}
		}
	}
	return string(lang.Format(lang.Describe(m)))
}

func reversed(path []int) []int {
	out := make([]int, len(path))
	for i := range path {
		out[len(path)-1-i] = path[i]
	}
	return out
}

// settle waits until the hosts are there and known, and nothing is under way.
func (w *world) settle() {
	w.await("all hosts are there", w.up)
	w.greet()
	time.Sleep(2 * time.Second)
}

func TestApplyingAFile(t *testing.T) {
	p := issuePapers(t, 4)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p, 1, wan.Path{Delay: 2 * time.Millisecond}, 0, 1, 1, 1, 1)
		defer w.stop()
		w.settle()
		text := w.file([]int{0, 1}, []int{0, 1, 2}) + "vm a " + w.hosts[0].guests[0].mac.String() + "\nforbid transit h3\nmax-links h1 2\nmax-links 5\nmode observe\n"
		dry, err := w.apply(text, true, "")
		if err != nil || len(dry.Steps) == 0 {
			t.Fatalf("dry run: %v, %v", dry, err)
		}
		done, err := w.apply(text, false, dry.Revision)
		if err != nil {
			t.Fatal(err)
		}
		if len(done.Steps) != len(dry.Steps) {
			t.Errorf("%d steps, the dry run said %d", len(done.Steps), len(dry.Steps))
		}
		if again, err := w.apply(text, false, ""); err != nil || len(again.Steps) > 0 || again.Generation != done.Generation {
			t.Errorf("a second time: %v %v", again, err)
		}
		_, err = w.apply("vnet 1\n", false, dry.Revision)
		if err == nil || !strings.Contains(err.Error(), "somebody else has changed the overlay meanwhile") {
			t.Errorf("from an old revision: %v", err)
		}
		w.proxy.crash()
		w.proxy.start()
		w.await("all hosts are back", w.up)
		if again, err := w.apply(text, true, ""); err != nil || len(again.Steps) > 0 {
			t.Errorf("after a restart of the Proxy: %v %v", again, err)
		}
		got, err := w.service().GetOverlay(context.Background(), &vnetv1.GetOverlayRequest{Compare: true})
		if err != nil || len(got.Overlay.Differences)+len(got.Overlay.Silent) > 0 || strings.Join(got.Overlay.Will, "; ") != "forbid transit h3; max-links 5; max-links h1 2; mode observe" {
			t.Errorf("%v %v", got, err)
		}
		back, err := w.apply("vnet 1\n", false, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range back.Steps {
			t.Log(s.Text)
		}
		if _, err := w.apply("vnet 1\nnode nobody host\n", false, ""); err == nil || !strings.Contains(err.Error(), "`vnet launch` starts nodes") {
			t.Errorf("missing nodes: %v", err)
		}
		if _, err := w.apply("vnet 1\nlink h1 proxy\n", false, ""); err == nil || !strings.Contains(err.Error(), "every host has one by itself, the star") {
			t.Errorf("a link to the Proxy: %v", err)
		}
		_, err = w.apply("vnet 1\nlink h1 nobody\n", false, "")
		if err == nil || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("a link to nobody: %v", err)
		}
		ring := "vnet 1\nlink h1 h2\nlink h2 h3\nlink h3 h1\nrule h1 src any dst 02:00:00:00:00:99 to link:h2\nrule h2 src any dst 02:00:00:00:00:99 to link:h3\nrule h3 src any dst 02:00:00:00:00:99 to link:h1\n"
		if _, err = w.apply(ring, false, ""); err == nil || !strings.Contains(err.Error(), "would circle: ") || !strings.Contains(err.Error(), "t:5:6: ") {
			t.Errorf("a ring: %v", err)
		}
	})
}

// Two people who apply at once are told which of them came second.
func TestTheLoserIsTold(t *testing.T) {
	p := issuePapers(t, 4)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p, 2, wan.Path{Delay: 5 * time.Millisecond}, 0, 1, 1, 1)
		defer w.stop()
		w.settle()
		dry, err := w.apply("vnet 1\n", true, "")
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 2)
		for _, path := range [][]int{{0, 1}, {1, 2}} {
			go func() {
				_, err := w.apply(w.file(path), false, dry.Revision)
				errs <- err
			}()
		}
		a, b := <-errs, <-errs
		if (a == nil) == (b == nil) || !strings.Contains(fmt.Sprint(a, b), "somebody else has changed the overlay meanwhile") {
			t.Errorf("%v and %v", a, b)
		}
	})
}

func TestTraces(t *testing.T) {
	p := issuePapers(t, 4)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p, 3, wan.Path{Delay: 2 * time.Millisecond}, 1, 1, 1, 1)
		defer w.stop()
		w.settle()
		if _, err := w.apply(w.file([]int{0, 1, 2}), false, ""); err != nil {
			t.Fatal(err)
		}
		for _, src := range w.guests {
			for _, dst := range w.guests {
				if src == dst {
					continue
				}
				var ways [2]string
				for i, live := range []bool{false, true} {
					r, err := w.service().Trace(context.Background(), &vnetv1.TraceRequest{Src: src.mac.String(), Dst: dst.mac.String(), Live: live})
					if err != nil {
						t.Fatal(err)
					}
					ways[i] = way(r)
				}
				if ways[0] != ways[1] {
					t.Errorf("computed\n%sseen\n%s", ways[0], ways[1])
				}
			}
		}
		r, err := w.service().Trace(context.Background(), &vnetv1.TraceRequest{Src: w.hosts[0].guests[0].mac.String(), Dst: w.hosts[2].guests[0].mac.String(), Live: true})
		if err != nil || !strings.HasPrefix(r.Text, "delivered at port:vm1 of h3 after 2 hops") {
			t.Errorf("%v %v", r, err)
		}
	})
}

// way is a trace as a line a hop.
func way(r *vnetv1.TraceResponse) string {
	var b strings.Builder
	for _, h := range r.Hops {
		fmt.Fprintf(&b, "%s %s %v rule %d rank %d %s\n", h.Node, h.Arrival, h.Out, h.RuleId, h.Rank, h.Reason)
	}
	return b.String() + r.End + "\n"
}
