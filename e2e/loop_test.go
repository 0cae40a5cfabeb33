package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// Where a node meets a LAN twice, or two nodes meet the same LAN, frames could circle through it.

// shownPort is a port as `vnet ports` has it.
type shownPort struct {
	Name, Kind, State, Why string
	LAN                    bool `json:"lan"`
	Macs                   []string
}

const (
	portUp      = "PORT_STATE_UP"
	portBlocked = "PORT_STATE_BLOCKED"
)

// ports are a node's ports by name.
func (w *world) ports(host string) map[string]shownPort {
	w.Helper()
	answer := ask[struct{ Ports []shownPort }](w, host, "ports")
	byName := map[string]shownPort{}
	for _, p := range answer.Ports {
		byName[p.Name] = p
	}
	return byName
}

// warnings are what `vnet status` warns of at a host.
func (w *world) warnings(host string) []string {
	w.Helper()
	answer := ask[struct{ Status struct{ Warnings []string } }](w, host, "status")
	return answer.Status.Warnings
}

// settled waits until ports are in the states wanted, and stay so.
func (w *world) settled(within time.Duration, what string, want map[string]string, at func() map[string]shownPort) {
	w.Helper()
	steady := 0
	var got map[string]shownPort
	defer func() {
		if w.Failed() {
			w.Logf("ports: %+v", got)
		}
	}()
	w.eventually(within, what, func() bool {
		got = at()
		for name, state := range want {
			if got[name].State != state {
				steady = 0
				return false
			}
		}
		steady++
		return steady > 20 // of 20 ms each, and the time of asking
	})
}

// flooded sends marked broadcasts from one machine of the LAN and says how often another saw each of them on average.
func (w *world) flooded(from, to, mark string, count int) float64 {
	w.Helper()
	l := w.look(to)
	w.role(from, "frame-send", "--mark", mark, "--count", fmt.Sprint(count), "--every", "5ms")
	return float64(l.report().Marked[mark]) / float64(count)
}

// twice: both interfaces of the Proxy are on the LAN.
const twice = `
name: twice
sites: [{name: home}]
hosts:
  - {name: proxy, site: home, lan: home}
  - {name: printer, site: home}
  - {name: laptop, site: home}
vms:
  - {name: vm1, host: proxy, address: 10.64.1.101/24}
overlay: {proxy: proxy}
`

// TestTwoPortsOnOneLAN: of two LAN ports of one node on one bridge the younger is blocked, and opens when the other one's cable
// is pulled.
func TestTwoPortsOnOneLAN(t *testing.T) {
	patient(t)
	needs(t, "ip", "ping")
	w := startLAN(t, twice, "--lan", "eth0", "--lan", "eth1")
	at := func() map[string]shownPort { return w.ports("proxy") }
	w.settled(10*time.Second, "one port is blocked", map[string]string{"eth0": portUp, "eth1": portBlocked}, at)
	blocked := at()["eth1"]
	warnings := strings.Join(w.warnings("proxy"), "\n")
	if !strings.Contains(blocked.Why, "already joined through port eth0 of proxy") || !strings.Contains(warnings, blocked.Why) {
		t.Errorf("`vnet ports` says %q, `vnet status` warns %q", blocked.Why, warnings)
	}
	if copies := w.flooded("printer", "laptop", "steady", 100); copies != 1 {
		t.Errorf("with a port blocked each broadcast was seen %.2f times", copies)
	}
	if copies := w.flooded("printer", "vm1", "steady", 100); copies != 1 {
		t.Errorf("with a port blocked each broadcast was seen %.2f times by the VM", copies)
	}
	w.run("printer", "ping", "-c", "2", "-i", "0.2", "-W", "2", "10.64.1.101")

	w.run("home", "ip", "link", "set", "h0", "nomaster") // the cable of the Proxy's eth0
	began := time.Now()
	w.settled(15*time.Second, "the other port opens", map[string]string{"eth1": portUp}, at)
	w.eventually(5*time.Second, "the VM is reached through the other port", func() bool {
		_, err := w.Output(t.Context(), "printer", "ping", "-c", "1", "-W", "1", "10.64.1.101")
		return err == nil
	})
	t.Logf("the other port opened and carried a ping %v after the cable was pulled", time.Since(began).Round(10*time.Millisecond))
	if left := w.warnings("proxy"); slices.ContainsFunc(left, func(s string) bool { return strings.Contains(s, "blocked") }) {
		t.Errorf("`vnet status` still warns %q", left)
	}

	w.run("home", "ip", "link", "set", "h0", "master", "lan")
	w.settled(10*time.Second, "one port is blocked again", map[string]string{"eth0": portUp, "eth1": portBlocked}, at)
	if copies := w.flooded("printer", "laptop", "again", 100); copies != 1 {
		t.Errorf("with a port blocked again each broadcast was seen %.2f times", copies)
	}
}

// shared: the Proxy and a host are on the same LAN.
const shared = `
name: shared
sites: [{name: home}, {name: uplink}]
hosts:
  - {name: proxy, site: uplink, lan: home, lan-address: none}
  - {name: host1, site: uplink, lan: home, lan-address: none}
  - {name: printer, site: home}
  - {name: laptop, site: home}
vms:
  - {name: vm1, host: host1, address: 10.64.1.101/24}
overlay: {proxy: proxy, hosts: [host1]}
`

// TestTwoNodesOnOneLAN: of the ports of two nodes on one LAN the younger is blocked, and opens when the older one's node ends.
func TestTwoNodesOnOneLAN(t *testing.T) {
	patient(t)
	needs(t, "ip", "ping")
	w := startLab(t, shared)
	if err := w.StartProxy(t.Context(), "--lan", "eth1"); err != nil {
		t.Fatal(err)
	}
	w.settled(10*time.Second, "the Proxy's port forwards", map[string]string{"eth1": portUp}, func() map[string]shownPort { return w.ports("proxy") })
	w.joinHost("host1", "--lan", "eth1")
	at := func() map[string]shownPort { return w.ports("host1") }
	w.settled(10*time.Second, "the host's port is blocked", map[string]string{"eth1": portBlocked}, at)
	w.eventually(5*time.Second, "the host's port says why, in `vnet ports` and as a warning", func() bool { // it listens first
		why := at()["eth1"].Why
		return strings.Contains(why, "already joined through port eth1 of proxy") && slices.Contains(w.warnings("host1"), why)
	})
	if p := w.ports("proxy")["eth1"]; p.State != portUp {
		t.Errorf("the Proxy's port is %+v", p)
	}
	for _, to := range []string{"laptop", "vm1"} {
		if copies := w.flooded("printer", to, "steady", 100); copies != 1 {
			t.Errorf("with a port blocked %s saw each broadcast %.2f times", to, copies)
		}
	}
	w.run("printer", "ping", "-c", "2", "-i", "0.2", "-W", "2", "10.64.1.101")

	w.run("home", "ip", "link", "set", "l0", "nomaster") // the cable of the Proxy's eth1
	began := time.Now()
	w.settled(15*time.Second, "the host's port opens", map[string]string{"eth1": portUp}, at)
	w.run("printer", "ip", "neigh", "flush", "dev", "eth0")
	w.eventually(5*time.Second, "the VM is reached through its host's port", func() bool {
		_, err := w.Output(t.Context(), "printer", "ping", "-c", "1", "-W", "1", "10.64.1.101")
		return err == nil
	})
	t.Logf("the host's port opened and carried a ping %v after the Proxy's cable was pulled", time.Since(began).Round(10*time.Millisecond))
}

// cabled: the Proxy joins two LANs, and a machine on both is about to.
const cabled = `
name: cabled
sites: [{name: home}, {name: office}]
hosts:
  - {name: proxy, site: home, lan: office, lan-address: none}
  - {name: switch, site: home, lan: office, lan-address: none}
  - {name: printer, site: home}
  - {name: laptop, site: office}
vms:
  - {name: vm1, host: proxy, address: 10.64.1.101/24}
overlay: {proxy: proxy}
`

// TestACableThatMakesALoop: somebody joins two LANs by a cable that the overlay joins already.
func TestACableThatMakesALoop(t *testing.T) {
	needs(t, "ip")
	w := startLAN(t, cabled, "--lan", "eth0", "--lan", "eth1")
	at := func() map[string]shownPort { return w.ports("proxy") }
	w.settled(10*time.Second, "both ports forward", map[string]string{"eth0": portUp, "eth1": portUp}, at)
	if copies := w.flooded("printer", "laptop", "before", 50); copies != 1 {
		t.Errorf("before the cable each broadcast was seen %.2f times on the other LAN", copies)
	}

	l, unknown := w.look("laptop"), w.look("vm1")
	w.run("switch", "sh", "-c", "ip link add br0 type bridge && ip link set br0 up && ip link set eth0 master br0 && ip link set eth1 master br0")
	began := time.Now()
	const sent = 400
	stranger := w.spawn("printer", lab.CmdOptions{Name: "frame-send"}, lab.Self, "--mark", "unknown", "--to", "02:00:00:00:77:77", "--count", fmt.Sprint(sent/2), "--every", "5ms")
	w.role("printer", "frame-send", "--mark", "broadcast", "--count", fmt.Sprint(sent/2), "--every", "5ms")
	<-stranger.Done()
	w.settled(10*time.Second, "one port is blocked", map[string]string{"eth0": portUp, "eth1": portBlocked}, at)
	t.Logf("the loop was closed and a port blocked within %v", time.Since(began).Round(10*time.Millisecond))
	for where, s := range map[string]seen{"laptop": l.report(), "vm1": unknown.report()} {
		t.Logf("while the loop was found %s saw %v of %d frames each", where, s.Marked, sent/2)
		if s.Marked["broadcast"] > 3*sent/2 || s.Marked["unknown"] > 3*sent/2 || s.Late > 0 {
			t.Errorf("while the loop was found %s saw %v of %d frames each: a storm (%d not seen)", where, s.Marked, sent/2, s.Late)
		}
	}
	for _, to := range []string{"laptop", "vm1"} {
		if copies := w.flooded("printer", to, "during", 100); copies != 1 {
			t.Errorf("with a port blocked %s saw each broadcast %.2f times", to, copies)
		}
	}

	w.run("switch", "ip", "link", "set", "br0", "down")
	w.settled(15*time.Second, "both ports forward again", map[string]string{"eth0": portUp, "eth1": portUp}, at)
	if copies := w.flooded("printer", "laptop", "after", 50); copies != 1 {
		t.Errorf("after the cable each broadcast was seen %.2f times on the other LAN", copies)
	}
}
