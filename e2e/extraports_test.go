package e2e

import (
	"strings"
	"testing"
)

// portsLab has host1 behind a translator of addresses that lets in only who was called from the very port, and host2 outside.
const portsLab = `
name: ports
sites: [{name: inet, subnet: 203.0.113.0/24}, {name: home, subnet: 192.168.10.0/24}]
hosts:
  - {name: proxy, site: inet, address: 203.0.113.10/24}
  - {name: router, site: inet, address: 203.0.113.11/24, lan: home, lan-address: 192.168.10.2/24}
  - {name: host1, site: home, address: 192.168.10.10/24}
  - {name: host2, site: inet, address: 203.0.113.12/24}
vms: [{name: vm1, host: host1}, {name: vm2, host: host2}]
overlay: {proxy: proxy}
`

// A user has a link send from several ports while numbered packets cross it: from behind a translator they carry, towards it
// they do not and frames go by the first port. Their number changes without loss, is remembered over a restart, and ports that
// are shut on the way are given up.
func TestLinksSendFromSeveralPorts(t *testing.T) {
	patient(t)
	needs(t, "ip", "nft", "ping")
	w := startLab(t, portsLab)
	w.run("router", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; cat >/tmp/nat <<'E'\n"+natKinds()["port-restricted"]+"\nE\nnft -f /tmp/nat")
	w.run("host1", "ip", "route", "replace", "default", "via", "192.168.10.2")
	if err := w.Daemons.Start(t.Context(), "--sockets", "2"); err != nil {
		t.Fatal(err)
	}
	w.vnet("proxy", "adapt", "observe")
	carrying := func(at, peer string, up, not int) {
		t.Helper()
		w.eventually(10e9, "ports of "+at+" to "+peer, func() bool {
			n := map[bool]int{}
			for _, p := range w.link(at, peer).ExtraPorts {
				n[p.Up]++
			}
			return n[true] == up && n[false] == not
		})
	}
	ping := func() { w.run("vm1", "ping", "-c", "3", "-i", "0.2", "-W", "2", w.Address("vm2").String()) }
	ping()
	w.vnet("host1", "link", "add", "host2", "--extra-ports", "2")
	carrying("host1", "host2", 2, 0)
	carrying("host2", "host1", 0, 2)
	ping()
	there, back := w.stream("vm1", "vm2", 1000), w.stream("vm2", "vm1", 1000)
	w.vnet("host2", "link", "ports", "host1", "4")
	carrying("host1", "host2", 4, 0)
	w.vnet("proxy", "link", "ports", "host1", "1")
	carrying("proxy", "host1", 0, 1)
	carrying("host1", "proxy", 1, 0)
	w.vnet("host1", "link", "ports", "host2", "0")
	carrying("host1", "host2", 0, 0)
	w.apply("vnet 1\nlink host1 host2 extra-ports 3\n", "a link with extra ports")
	carrying("host1", "host2", 3, 0)
	for _, s := range []*stream{there, back} {
		if _, report := s.stop(); report.LostCount > 0 || report.Duplicates > 0 {
			t.Errorf("of the numbered packets %d were lost and %d came twice", report.LostCount, report.Duplicates)
		}
	}
	if err := w.Kill("host1"); err != nil {
		t.Fatal(err)
	}
	if err := w.StartHost(t.Context(), "host1"); err != nil {
		t.Fatal(err)
	}
	carrying("host1", "host2", 3, 0)
	carrying("host1", "proxy", 1, 0)
	w.run("router", "nft", "add table ip shut; add chain ip shut f { type filter hook forward priority 0; }; add rule ip shut f udp dport 4747 udp sport != 4747 drop")
	carrying("host1", "host2", 0, 3)
	ping()
	if text := strings.Join(w.warnings("host1"), "; "); !strings.Contains(text, "link to host2 does without extra port 3: ") {
		t.Errorf("status does not say which ports are shut:\n%s", text)
	}
}
