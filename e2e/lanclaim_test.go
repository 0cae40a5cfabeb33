package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// TestAMACOnTheLANAndAtAVM: a machine of the LAN that uses a VM's MAC is reported, and does not draw the VM's frames to itself.
func TestAMACOnTheLANAndAtAVM(t *testing.T) {
	patient(t)
	needs(t, "ping")
	w := startLAN(t, strings.ReplaceAll(lanBehindProxy, "address: none}\n  - {name: vm2", "address: 10.64.3.101/24}\n  - {name: vm2"), "--lan", "eth1")
	w.settled(10*time.Second, "the LAN's port forwards", map[string]string{"eth1": portUp}, func() map[string]shownPort { return w.ports("proxy") })
	w.run("vm2", "ip", "address", "add", "10.64.3.102/24", "dev", "eth0")
	w.run("vm2", "ping", "-c", "2", "-i", "0.2", "-W", "5", "10.64.3.101")
	guest := mac(w, "vm1")
	out := &output{}
	ping := w.spawn("vm2", lab.CmdOptions{Stdout: out}, "ping", "-q", "-i", "0.1", "-c", "40", "10.64.3.101")
	w.role("printer", "frame-send", "--src", guest, "--mark", "impostor", "--count", "100", "--every", "30ms")
	<-ping.Done()
	if !strings.Contains(out.String(), "40 packets transmitted, 40 received") {
		t.Errorf("while a machine of the LAN used its MAC, the VM answered: %s", out.String())
	}
	if w.place(guest) != "host1" {
		t.Errorf("the VM is taken to be at %q", w.place(guest))
	}
	if warned := w.warnings("proxy"); !slices.ContainsFunc(warned, func(s string) bool { return strings.Contains(s, guest) }) {
		t.Errorf("`vnet status` warns %q, and not of %s", warned, guest)
	}
}

// place is the node where a MAC lives, as the Proxy knows it.
func (w *world) place(mac string) string {
	w.Helper()
	answer := ask[struct {
		Nodes []struct {
			Name string
			Vms  []struct{ Mac string }
		}
	}](w, "proxy", "nodes")
	for _, n := range answer.Nodes {
		for _, vm := range n.Vms {
			if vm.Mac == mac {
				return n.Name
			}
		}
	}
	return ""
}
