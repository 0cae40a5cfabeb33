package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// offloads is what a host says of them: why each is off, empty for those in use.
func (w *world) offloads(host string, args ...string) map[string]string {
	w.Helper()
	off := map[string]string{}
	for _, o := range ask[struct {
		Offloads []struct {
			Name, Why string
			On        bool
		}
	}](w, host, append([]string{"offload"}, args...)...).Offloads {
		if o.On != (o.Why == "") {
			w.Errorf("offload %s of %s: on %v, because %q", o.Name, host, o.On, o.Why)
		}
		off[o.Name] = o.Why
	}
	return off
}

// switchAll switches every offload of both hosts off and on again, alone, then all of them.
func (w *world) switchAll() {
	w.Helper()
	set := func(name, to string) {
		for _, host := range []string{"host-a0", "host-b0"} {
			if why := w.offloads(host, name, to)[name]; to == "off" && why != "switched off" && !strings.HasPrefix(why, "not by this kernel") {
				w.Errorf("%s of %s was switched off, and is: %q", name, host, why)
			}
		}
	}
	names := []string{"gso", "gro", "uso", "tso4", "tso6", "csum"}
	for _, name := range names {
		set(name, "off")
		time.Sleep(200 * time.Millisecond)
		set(name, "on")
	}
	for _, to := range []string{"off", "on"} {
		for _, name := range names {
			set(name, to)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// TestOffloadsAreSwitchedUnderLoad: every offload goes off and on at both ends, under numbered packets of which none is lost, and
// under frames of all kinds of which none is damaged. A daemon may start without them, and its status tells.
func TestOffloadsAreSwitchedUnderLoad(t *testing.T) {
	needs(t, "iperf3")
	program := buildMixer(t)
	w := start(t, mixSpec([]pairSizes{{1500, 1500}}))
	w.vnet("proxy", "adapt", "mode", "observe") // packets may overtake each other when they get a shorter way
	before := w.offloads("host-a0")
	for _, name := range []string{"gso", "gro", "csum", "tso4", "tso6"} {
		if why, known := before[name]; !known || why != "" {
			t.Errorf("%s is not in use (known: %v): %s", name, known, why)
		}
	}
	t.Logf("why each is off: %v", before)
	answers := func() bool {
		_, err := w.Output(w.Context(), "a0", "ping", "-c", "1", "-W", "1", w.Address("b0").String())
		return err == nil
	}
	w.eventually(5*time.Second, "the guests know each other's address", answers) // packets that wait for it in a guest's kernel are overtaken there
	s := w.stream("a0", "b0", 4000, "--bytes", "1200")
	w.switchAll()
	sent, r := s.stop()
	t.Logf("%d packets sent, %d received, %d out of order", sent, r.Received, r.Reordered)
	if r.LostCount > 0 || r.Duplicates > 0 || r.Reordered > 0 || r.Received < 4000 {
		t.Errorf("of %d packets %d were lost, %d came twice, %d out of order", sent, r.LostCount, r.Duplicates, r.Reordered)
	}
	m := mixing{world: w, program: program, vms: [2]string{"a0", "b0"}, mtu: 1500, during: 4 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		time.Sleep(300 * time.Millisecond)
		w.switchAll()
	}()
	m.run()
	<-done
	if after := w.offloads("host-a0"); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("before %v, after %v", before, after)
	}
	if err := w.Kill("host-b0"); err != nil {
		t.Fatal(err)
	}
	if err := w.StartHost(t.Context(), "host-b0", "--no-gso", "--no-csum"); err != nil {
		t.Fatal(err)
	}
	text := w.vnet("host-b0", "status")
	for _, want := range []string{"gso off: switched off", "gro on", "csum off: switched off", "tso4 off: it needs csum"} {
		if !strings.Contains(text, want) {
			t.Errorf("status does not say %q:\n%s", want, text)
		}
	}
	w.eventually(5*time.Second, "frames flow after the restart", answers)
}
