package e2e

import (
	"strings"
	"testing"
	"time"
)

// routed is a host behind a router that translates nothing, and the Proxy on its other side.
const routed = `
name: underlay
sites: [{name: inet, subnet: 203.0.113.0/24}, {name: home, subnet: 192.168.10.0/24}]
hosts:
  - {name: hub, site: inet, address: 203.0.113.10/24}
  - {name: router, site: inet, address: 203.0.113.20/24, lan: home, lan-address: 192.168.10.2/24}
  - {name: a, site: home, address: 192.168.10.10/24}
vms: [{name: va, host: a}, {name: vh, host: hub}]
overlay: {proxy: hub}
`

// startRouted makes that lab.
func startRouted(t *testing.T) *world {
	needs(t, "ip", "nft", "ping")
	w := startLab(t, routed)
	w.run("router", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	w.run("a", "ip", "route", "replace", "default", "via", "192.168.10.2")
	w.run("hub", "ip", "route", "replace", "192.168.10.0/24", "via", "203.0.113.20")
	if err := w.Daemons.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.vnet("hub", "adapt", "observe")
	w.run("va", "ping", "-c", "1", "-W", "2", w.Address("vh").String())
	return w
}

// The path shrinks while frames cross it, and the router that could say so is silent. The link notices, proves a smaller size,
// and full frames cross again, in more datagrams.
func TestAPathThatShrinksInSilence(t *testing.T) {
	w := startRouted(t)
	if mtu := w.linkMTU("a", "hub"); mtu != 1472 {
		t.Errorf("the link takes datagrams of %d bytes", mtu)
	}
	full := func() bool { // a frame that fills one datagram
		_, err := w.Output(t.Context(), "va", "ping", "-c", "1", "-W", "1", "-s", "1380", "-M", "do", w.Address("vh").String())
		return err == nil
	}
	if !full() {
		t.Fatal("no full frame crosses before")
	}
	w.run("router", "nft", "add table ip hush; add chain ip hush out { type filter hook output priority 0; icmp type destination-unreachable drop; }")
	w.run("router", "ip", "link", "set", "eth0", "mtu", "1320")
	w.run("hub", "ip", "link", "set", "eth0", "mtu", "1320")
	began := time.Now()
	w.eventually(20*time.Second, "full frames cross the narrow path", full)
	t.Logf("full frames cross again after %v; datagrams of %d bytes", time.Since(began).Round(100*time.Millisecond), w.linkMTU("a", "hub"))
	if mtu := w.linkMTU("a", "hub"); mtu > 1320-28 || mtu < 1200 {
		t.Errorf("the link takes datagrams of %d bytes on a path of 1320", mtu)
	}
}

func (w *world) linkMTU(at, peer string) int {
	type link struct {
		Name     string
		MtuBytes int
	}
	for _, l := range ask[struct{ Links []link }](w, at, "links").Links {
		if l.Name == peer {
			return l.MtuBytes
		}
	}
	return 0
}

// A host gets another address, as a laptop does that changes networks. The link and its session stay.
func TestAHostChangesItsAddress(t *testing.T) {
	w := startRouted(t)
	since := w.linkSince("a", "hub")
	s, back := w.stream("va", "vh", 500), w.stream("vh", "va", 500)
	time.Sleep(time.Second)
	w.run("a", "sh", "-c", "ip addr flush dev eth0; ip addr add 192.168.10.77/24 dev eth0; ip route replace default via 192.168.10.2")
	time.Sleep(3 * time.Second)
	w.eventually(5*time.Second, "the Proxy answers to the new address", func() bool {
		return strings.Contains(w.vnet("hub", "links"), "192.168.10.77")
	})
	sent, report := s.stop()
	sentBack, reportBack := back.stop()
	t.Logf("out: %d of %d lost, longest gap %.0f ms; back: %d of %d lost, longest gap %.0f ms", report.LostCount, sent, report.LongestGap, reportBack.LostCount, sentBack, reportBack.LongestGap)
	if now := w.linkSince("a", "hub"); now != since {
		t.Errorf("the link of %s was replaced by one of %s", since, now)
	}
	if report.LostCount > sent/10 || reportBack.LostCount > sentBack/10 || report.Duplicates+reportBack.Duplicates > 0 {
		t.Errorf("%d and %d packets came twice", report.Duplicates, reportBack.Duplicates)
	}
	w.vnet("hub", "ports", "--node", "a") // the control stream goes on, too
}

func (w *world) linkSince(at, peer string) string {
	type link struct{ Name, Since string }
	for _, l := range ask[struct{ Links []link }](w, at, "links").Links {
		if l.Name == peer {
			return l.Since
		}
	}
	return ""
}

// An underlay without IPv4: joining, links and data.
func TestAnUnderlayOfIPv6Only(t *testing.T) {
	needs(t, "ip", "ping")
	w := startLab(t, `
name: six
sites: [{name: here}]
hosts: [{name: proxy, site: here}, {name: host1, site: here}, {name: host2, site: here}]
vms: [{name: vm1, host: host1}, {name: vm2, host: host2}]
overlay: {proxy: proxy}
`)
	for i, host := range []string{"proxy", "host1", "host2"} {
		w.run(host, "sh", "-c", "ip -6 addr add fd00:6::"+string(rune('1'+i))+"/64 dev eth0 nodad && ip -4 addr flush dev eth0")
	}
	if err := w.StartProxy(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"host1", "host2"} { // with the addresses that the Proxy itself believes to have
		token := strings.Fields(w.vnet("proxy", "token", "create", "--name", host))[0]
		w.run(host, program, "join", token, "--no-start", "--name", host)
		if err := w.StartHost(t.Context(), host); err != nil {
			t.Fatal(err)
		}
	}
	w.vnet("host1", "link", "add", "host2")
	w.run("vm1", "ping", "-c", "3", "-i", "0.1", "-W", "2", "-s", "1472", w.Address("vm2").String())
	for _, end := range [][2]string{{"host1", "proxy"}, {"host1", "host2"}} {
		if l := w.link(end[0], end[1]); !strings.Contains(l.Remote, "[f") || l.Carrier != "CARRIER_UDP" {
			t.Errorf("the link of %s and %s: %+v", end[0], end[1], l)
		}
	}
	if mtu := w.linkMTU("host1", "host2"); mtu != 1452 {
		t.Errorf("datagrams of %d bytes", mtu)
	}
}

// The Proxy is known by a host name, which is looked up again when it cannot be reached.
func TestANameIsLookedUpAgain(t *testing.T) {
	w := startRouted(t)
	w.run("a", "sh", "-c", "echo 203.0.113.10 hub.example >/tmp/hosts; cp /tmp/hosts /etc/hosts 2>/dev/null || mount --bind /tmp/hosts /etc/hosts")
	if err := w.Kill("a"); err != nil {
		t.Fatal(err)
	}
	if err := w.StartHost(t.Context(), "a", "--proxy", "hub.example:4747"); err != nil {
		t.Fatal(err)
	}
	w.run("hub", "sh", "-c", "ip addr flush dev eth0; ip addr add 203.0.113.99/24 dev eth0; ip route replace 192.168.10.0/24 via 203.0.113.20")
	time.Sleep(2 * time.Second)
	w.run("a", "sh", "-c", "echo 203.0.113.99 hub.example >/tmp/hosts; echo 203.0.113.99 hub.example >/etc/hosts")
	w.eventually(30*time.Second, "the Proxy is found at its new address", func() bool {
		return strings.Contains(w.vnet("a", "links"), "203.0.113.99")
	})
	w.run("va", "ping", "-c", "1", "-W", "5", w.Address("vh").String())
}
