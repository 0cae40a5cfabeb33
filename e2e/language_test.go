package e2e

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// eightHosts are hosts with one VM each at one site, and the Proxy at another.
func eightHosts() string {
	var b strings.Builder
	b.WriteString("name: eight\nsites: [{name: cloud}, {name: home}]\nhosts:\n")
	for i := range 8 {
		fmt.Fprintf(&b, "  - {name: host%d, site: cloud}\n", i+1)
	}
	b.WriteString("  - {name: proxy, site: home}\nvms:\n")
	for i := range 8 {
		fmt.Fprintf(&b, "  - {name: vm%d, host: host%d}\n", i+1, i+1)
	}
	b.WriteString("paths: [{between: [cloud, home], delay: 2.5ms}]\noverlay: {proxy: proxy}\n")
	return b.String()
}

func eightVMs() (vms []string) {
	for i := range 8 {
		vms = append(vms, fmt.Sprintf("vm%d", i+1))
	}
	return vms
}

// feed runs a client command at a host with something on its standard input.
func (w *world) feed(host, in string, args ...string) (out string, code int) {
	w.Helper()
	var printed, complaints bytes.Buffer
	p, err := w.Command(host, append([]string{program}, args...), lab.CmdOptions{
		Name: "vnet", Stdin: strings.NewReader(in), Stdout: &printed, Stderr: &complaints,
	})
	if err != nil {
		w.Fatal(err)
	}
	end, err := p.Wait()
	if err != nil {
		w.Fatal(err)
	}
	return printed.String() + complaints.String(), end.Code
}

// apply applies a description and checks that nothing is different afterwards.
func (w *world) apply(text, what string) (took string) {
	w.Helper()
	out, code := w.feed("proxy", text, "apply", "-")
	if code != 0 {
		w.Fatalf("apply %s: %s", what, out)
	}
	w.same(text, what)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

func (w *world) same(text, what string) {
	w.Helper()
	if out, code := w.feed("host1", text, "diff", "-"); code != 0 || out != "same\n" {
		w.Errorf("diff after %s: exit %d\n%s", what, code, out)
	}
}

// warm has all VMs find each other.
func (w *world) warm(vms []string) {
	for _, a := range vms {
		for _, b := range vms {
			if a < b {
				w.Output(w.Context(), a, "ping", "-c", "1", "-W", "1", w.Address(b).String())
			}
		}
	}
}

// Eight hosts go from star to ring to hypercube to bus to star while all VMs send numbered packets to all others: nothing is lost,
// nothing comes twice, and the overlay is then as described.
func TestShapesWhileEveryoneTalks(t *testing.T) {
	needs(t, "ping")
	w := start(t, eightHosts())
	w.vnet("proxy", "adapt", "observe")
	vms := eightVMs()
	w.warm(vms)
	rate := func(from, to int) int {
		if to == from+4 { // four of the pairs
			return 1000
		}
		return 100
	}
	shapes := []string{"ring", "hypercube", "bus", "star"}
	files := map[string]string{}
	for _, shape := range shapes {
		files[shape] = w.vnet("proxy", "generate", shape, "--live", "--rules", "all")
	}
	files["star"] = "vnet 1\n"
	control := 0 // lost by a machine too busy to carry them, without any change
	for _, changing := range []bool{false, true} {
		c := w.crowd(vms, rate)
		time.Sleep(2 * time.Second)
		for _, shape := range shapes {
			if changing {
				t.Logf("%s: %s", shape, w.apply(files[shape], shape))
			}
			time.Sleep(time.Second)
		}
		sent, lost, twice := c.stop()
		t.Logf("changing %v: %d packets, %d lost, %d twice", changing, sent, lost, twice)
		if !changing {
			control = lost
		}
		if lost > control || twice != 0 || sent < 1000 {
			t.Errorf("changing %v: of %d packets %d were lost and %d came twice", changing, sent, lost, twice)
		}
	}
}

// The same in auto mode while patterns runs: adaptation adds links of its own, and diff says "same" all the same.
func TestShapesWhilePatternsAdapts(t *testing.T) {
	needs(t, "ping")
	w := start(t, eightHosts())
	vms := eightVMs()
	w.warm(vms)
	shapes := []string{"ring", "hypercube", "bus", "star"}
	files := map[string]string{}
	for _, shape := range shapes { // rules for two hosts of the shape only: the application of the others is adaptation's
		files[shape] = w.vnet("proxy", "generate", shape, "host1", "host2", "host3", "host4", "--live", "--rules", "all")
	}
	files["star"] = "vnet 1\n"
	w.patterns([]string{"vm5", "vm6", "vm7", "vm8"}, "--pattern", "ring", "--bytes", "200k", "--compute", "20ms", "--duration", "60s")
	w.eventually(30*time.Second, "adaptation adds links", func() bool {
		return len(ask[adaptation](w, "proxy", "adapt").links()) >= 3
	})
	for _, shape := range shapes {
		t.Logf("%s: %s", shape, w.apply(files[shape], shape))
		time.Sleep(500 * time.Millisecond)
		w.same(files[shape], shape+" half a second later")
	}
	if links := ask[adaptation](w, "proxy", "adapt").links(); len(links) < 3 {
		t.Errorf("adaptation's links are gone: %v", links)
	}
}

// The Proxy is killed in the midst of an apply: what has a link of its own flows on, and another apply completes it.
func TestTheProxyIsKilledWhileApplying(t *testing.T) {
	patient(t)
	needs(t, "ping")
	w := start(t, eightHosts())
	w.vnet("proxy", "adapt", "observe")
	vms := eightVMs()
	w.warm(vms)
	ring := w.vnet("proxy", "generate", "ring", "--live", "--rules", "needed")
	cube := w.vnet("proxy", "generate", "hypercube", "--live", "--rules", "needed")
	w.apply(ring, "a ring")
	s := w.stream("vm1", "vm2", 500) // neighbours in both shapes
	before, after := 0, 0
	for i, wait := range []time.Duration{5, 25, 60, 150} {
		text := cube
		if i%2 == 1 {
			text = ring
		}
		done := make(chan int, 1)
		go func() {
			p, err := w.Command("proxy", []string{program, "apply", "-"}, lab.CmdOptions{Name: "vnet", Stdin: strings.NewReader(text)})
			if err == nil {
				p.Wait()
			}
			done <- 0
		}()
		time.Sleep(wait * time.Millisecond)
		if err := w.Kill("proxy"); err != nil {
			t.Fatal(err)
		}
		<-done
		if err := w.StartProxy(w.Context()); err != nil {
			t.Fatal(err)
		}
		w.eventually(20*time.Second, "all hosts are back", func() bool {
			return strings.Count(w.vnet("proxy", "nodes"), " up ") == 9
		})
		left, code := w.feed("proxy", text, "diff", "-")
		if code == 0 {
			after++
		} else {
			before++
		}
		t.Logf("killed after %v ms: exit %d, %d steps are left", int(wait), code, strings.Count(left, ". "))
		w.eventually(20*time.Second, "the apply is completed", func() bool {
			_, code := w.feed("proxy", text, "apply", "-")
			return code == 0
		})
		w.same(text, "the completed apply")
	}
	t.Logf("killed %d times before the commit, %d after", before, after)
	if sent, r := s.stop(); r.LostCount > 0 || r.Duplicates > 0 {
		t.Errorf("of %d packets between hosts with a link in every shape %d were lost, %d came twice", sent, r.LostCount, r.Duplicates)
	}
}

// In auto mode, while an application makes adaptation add links of its own, a description that was applied is what is there.
func TestADescriptionBesideAdaptation(t *testing.T) {
	needs(t, "ping")
	w := start(t, eightHosts())
	vms := eightVMs()
	w.warm(vms[:6])
	text := w.vnet("proxy", "generate", "bus", "host1", "host2", "host3", "--live") + "max-links 0\n"
	w.apply(text, "a bus of three")
	s := w.stream("vm4", "vm6", 2000)
	w.eventually(20*time.Second, "adaptation adds a link", func() bool {
		return len(ask[adaptation](w, "proxy", "adapt").links()) > 0
	})
	w.same(text, "adaptation's own link")
	if out := w.vnet("host3", "show", "topology"); !strings.Contains(out, "# adapted: link host4 host6") || !strings.Contains(out, "\thost1 host2\n") || strings.Contains(out, "# differs") {
		t.Errorf("show topology prints\n%s", out)
	} else if formatted, code := w.feed("host3", out, "fmt", "-"); code != 0 || formatted != out {
		t.Errorf("what show topology prints is no fixed point:\n%s", formatted)
	}
	before := w.vnet("proxy", "links", "--node", "host4")
	w.apply(text+"forbid transit host8\n", "a prohibition")
	if after := ask[adaptation](w, "proxy", "adapt").links(); len(after) != 1 {
		t.Errorf("apply has touched adaptation's links: %v; before\n%s", after, before)
	}
	out := w.vnet("proxy", "trace", "vm4", "vm6", "--live")
	if !strings.Contains(out, "link:host6") || !strings.Contains(out, "delivered at port:vm6 of host6 after 1 hop") {
		t.Errorf("trace says\n%s", out)
	}
	w.apply(text+"forbid pair vm4 vm6\n"+vmLines(w, "vm4", "vm6"), "a forbidden pair")
	w.eventually(10*time.Second, "the forbidden pair goes back to the star", func() bool {
		return len(ask[adaptation](w, "proxy", "adapt").links()) == 0
	})
	if sent, r := s.stop(); r.Received != sent || r.Duplicates != 0 {
		t.Errorf("of %d packets %d came, %d twice", sent, r.Received, r.Duplicates)
	}
}

// vmLines declares VMs by what the overlay knows of them.
func vmLines(w *world, names ...string) (lines string) {
	for line := range strings.Lines(w.vnet("proxy", "show", "topology", "--all")) {
		line, _, _ = strings.Cut(line, " #")
		for _, name := range names {
			if strings.HasPrefix(line, "vm "+name+" ") {
				lines += line + "\n"
			}
		}
	}
	return lines
}
