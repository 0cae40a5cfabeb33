package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// lanBehindProxy: the VMs' hosts are in the cloud, the Proxy stands at the user's home with a second interface on the LAN, and
// the printer is a machine of that LAN that knows nothing of the overlay.
const lanBehindProxy = `
name: lan
sites: [{name: cloud}, {name: uplink}, {name: home}]
hosts:
  - {name: host1, site: cloud}
  - {name: host2, site: cloud}
  - {name: proxy, site: uplink, lan: home, lan-address: none}
  - {name: printer, site: home}
vms:
  - {name: vm1, host: host1, address: none}
  - {name: vm2, host: host2, address: none}
paths: [{between: [cloud, uplink], delay: 2.5ms}]
overlay: {proxy: proxy}
`

// startLAN starts an overlay whose Proxy alone has the given further arguments.
func startLAN(t *testing.T, spec string, args ...string) *world {
	t.Helper()
	w := startLab(t, spec)
	if err := w.StartProxy(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
	for _, h := range w.Spec().Hosts {
		if h.Name != w.Spec().Overlay.Proxy && len(w.Spec().VMsOn(h.Name)) > 0 {
			w.joinHost(h.Name)
		}
	}
	return w
}

func (w *world) joinHost(host string, args ...string) {
	w.Helper()
	if err := w.Join(w.Context(), host); err != nil {
		w.Fatal(err)
	}
	if err := w.StartHost(w.Context(), host, args...); err != nil {
		w.Fatal(err)
	}
}

// leaseScript is what DHCP clients run when they have an address: udhcpc says "bound" and the address in $ip, dhclient has all
// in its environment.
const leaseScript = `cat >/tmp/lease <<'END'
#!/bin/sh
case "$1$reason" in
PREINIT) ip link set dev eth0 up ;;
bound | renew | BOUND | RENEW | REBOOT)
	ip address flush dev eth0
	ip address add "${ip:-$new_ip_address}/24" brd + dev eth0 ;;
esac
END
chmod 755 /tmp/lease`

// TestVMOnTheUsersLAN: a VM far away gets its address from the LAN's own DHCP server, and talks to the LAN's machines and they
// to it as if it stood there.
func TestVMOnTheUsersLAN(t *testing.T) {
	patient(t)
	needs(t, "dnsmasq", "ip", "ping")
	w := startLAN(t, lanBehindProxy, "--lan", "eth1")
	printer := w.Address("printer")
	var complaint output
	from, to := netip.AddrFrom4([4]byte{10, 64, 3, 100}), netip.AddrFrom4([4]byte{10, 64, 3, 150})
	w.spawn("printer", lab.CmdOptions{Stdout: &complaint, Stderr: &complaint}, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--group=root",
		"--port=0", "--interface=eth0", "--bind-interfaces", "--dhcp-authoritative", "--no-ping", "--dhcp-range="+from.String()+","+to.String()+",1h", "--dhcp-leasefile=/tmp/leases")
	w.web("printer")
	clients := [][]string{
		{"vm1", "udhcpc", "-i", "eth0", "-f", "-t", "20", "-T", "1", "-s", "/tmp/lease"},
		{"vm2", "dhclient", "-d", "-1", "-sf", "/tmp/lease", "-lf", "/tmp/leases", "-pf", "/tmp/pid", "eth0"},
	}
	for _, row := range clients {
		vm, client := row[0], row[1:]
		t.Run(client[0], func(t *testing.T) {
			needs(t, client[0])
			w := &world{T: t, Lab: w.Lab, Daemons: w.Daemons}
			w.run(vm, "sh", "-c", leaseScript)
			began := time.Now()
			w.spawn(vm, lab.CmdOptions{Stdout: &complaint, Stderr: &complaint}, client...)
			var leased netip.Addr
			w.eventually(20*time.Second, "a lease for "+vm+": "+complaint.String(), func() bool {
				leased = w.addressOf(vm)
				return leased.IsValid()
			})
			t.Logf("%s has %s after %v", vm, leased, time.Since(began).Round(10*time.Millisecond))
			if leased.Less(from) || to.Less(leased) {
				t.Fatalf("%s is none of dnsmasq's addresses", leased)
			}
			w.run(vm, "ping", "-c", "3", "-i", "0.2", "-W", "2", printer.String())
			t.Logf("fetched from the LAN at %s", w.role(vm, "fetch", printer.String()))
			w.run("printer", "ip", "neigh", "flush", "dev", "eth0")
			w.run("printer", "ping", "-c", "1", "-W", "5", leased.String())
			if neighbours := w.run("printer", "ip", "neigh", "show", leased.String()); !strings.Contains(neighbours, "lladdr "+mac(w, vm)) {
				t.Errorf("the printer found %s at %q, not at %s", leased, neighbours, mac(w, vm))
			}
			w.web(vm)
			t.Logf("fetched from the VM at %s", w.role("printer", "fetch", leased.String()))
			if _, err := exec.LookPath("arping"); err == nil {
				w.run("printer", "arping", "-c", "2", "-w", "5", "-I", "eth0", leased.String())
			}
		})
	}
}

// addressOf is the IPv4 address that a VM has given itself.
func (w *world) addressOf(vm string) netip.Addr {
	out, err := w.Output(w.Context(), vm, "ip", "-4", "-o", "address", "show", "dev", "eth0")
	if err != nil {
		return netip.Addr{}
	}
	_, text, _ := strings.Cut(out, "inet ")
	prefix, _ := netip.ParsePrefix(strings.Fields(text + " none")[0])
	return prefix.Addr()
}

func mac(w *world, vm string) string {
	guest, _ := w.Spec().VM(vm)
	return guest.MAC.String()
}

// oneInterface: the Proxy's only interface is on the LAN and carries the links too, at a rate that can be filled.
const oneInterface = `
name: oneif
sites: [{name: cloud}, {name: home}]
hosts:
  - {name: host1, site: cloud}
  - {name: host2, site: cloud}
  - {name: proxy, site: home, rate: 100Mbit}
  - {name: printer, site: home, rate: 100Mbit}
vms:
  - {name: vm1, host: host1, address: 10.64.2.101/24}
  - {name: vm2, host: host2, address: 10.64.2.102/24}
paths: [{between: [cloud, home], delay: 1ms}]
overlay: {proxy: proxy}
`

// TestLANAndUnderlayOnOneInterface fills the interface that carries both, and looks for the overlay's own datagrams inside the
// overlay.
func TestLANAndUnderlayOnOneInterface(t *testing.T) {
	needs(t, "iperf3")
	w := startLAN(t, oneInterface, "--lan", "eth0")
	w.run("vm1", "ping", "-c", "2", "-i", "0.2", "-W", "5", w.Address("printer").String())
	first, second := w.look("vm1"), w.look("vm2")
	lan := w.look("printer")
	for port, from := range map[string]string{"5201": "vm1", "5202": "vm2"} {
		w.spawn("printer", lab.CmdOptions{}, "iperf3", "-s", "-1", "-p", port)
		w.eventually(5*time.Second, "iperf3 listens for "+from, func() bool {
			out, _ := w.Output(w.Context(), "printer", "ss", "-Htln", "sport", "=", ":"+port)
			return out != ""
		})
	}
	rates := map[string]float64{}
	up, down := &output{}, &output{}
	client := func(vm string, out *output, args ...string) *lab.Proc {
		return w.spawn(vm, lab.CmdOptions{Stdout: out}, append([]string{"iperf3", "-J", "-t", "4", "-c", w.Address("printer").String()}, args...)...)
	}
	a, b := client("vm1", up, "-p", "5201"), client("vm2", down, "-p", "5202", "-R")
	<-a.Done()
	<-b.Done()
	for name, out := range map[string]*output{"to the LAN": up, "from the LAN": down} {
		var answer struct {
			End struct {
				Sum struct {
					Rate float64 `json:"bits_per_second"`
				} `json:"sum_received"`
			}
		}
		if err := json.Unmarshal([]byte(out.String()), &answer); err != nil {
			t.Fatalf("iperf3 said %q: %v", out.String(), err)
		}
		rates[name] = answer.End.Sum.Rate / 1e6
	}
	// Each direction of the wire carries one flow as the LAN's frames and the other in the overlay's datagrams.
	if sum := rates["to the LAN"] + rates["from the LAN"]; sum < 50 {
		t.Errorf("each way went %.1f Mbit/s of 100: the interface was not filled", sum)
	}
	t.Logf("Mbit/s on a wire of 100 each way: %v", rates)
	if s := lan.report(); s.Frames < 1000 {
		t.Errorf("on the LAN only %d frames were seen", s.Frames)
	}
	for vm, l := range map[string]*lookout{"vm1": first, "vm2": second} {
		s := l.report()
		t.Logf("%s: %d frames came, %d not seen", vm, s.Frames, s.Late)
		if s.Underlay != 0 || s.Strangers != 0 || s.Late != 0 {
			t.Errorf("%s: %d frames of the underlay and %d for others were flooded to it (%d not seen)", vm, s.Underlay, s.Strangers, s.Late)
		}
	}
}

// bridged: the Proxy's machine has a bridge, as machines that run VMs often do.
const bridged = `
name: bridged
sites: [{name: cloud}, {name: uplink}, {name: home}]
hosts:
  - {name: host1, site: cloud}
  - {name: proxy, site: uplink, lan: home, lan-address: 10.64.3.50/24, bridge: br0}
  - {name: printer, site: home}
vms:
  - {name: vm1, host: host1, address: 10.64.3.101/24}
paths: [{between: [cloud, uplink], delay: 1ms}]
overlay: {proxy: proxy}
`

// TestLANOnABridge: with --lan on a bridge VMs reach the Proxy's own machine too, both ways.
func TestLANOnABridge(t *testing.T) {
	patient(t)
	needs(t, "ip", "ping")
	w := startLAN(t, bridged, "--lan", "br0")
	const machine = "10.64.3.50"
	w.run("vm1", "ping", "-c", "2", "-i", "0.2", "-W", "5", machine)
	w.run("vm1", "ping", "-c", "2", "-i", "0.2", "-W", "2", w.Address("printer").String())
	w.run("proxy", "ping", "-c", "2", "-i", "0.2", "-W", "2", w.Address("vm1").String())
	w.web("proxy")
	t.Logf("fetched from the Proxy's machine at %s", w.role("vm1", "fetch", machine))
	ports := w.ports("proxy")
	if p := ports["br0"]; p.Kind != "bridge" || !p.LAN || p.State != portUp {
		t.Errorf("the bridge's port is shown as %+v", p)
	}
}

// TestTheLANsFilterFollowsTheAddress gives the Proxy's only interface another address while it runs, and has the hosts' links go
// there: frames of these links stay out of the LAN's port.
func TestTheLANsFilterFollowsTheAddress(t *testing.T) {
	patient(t)
	needs(t, "ip", "ping")
	w := startLAN(t, oneInterface, "--lan", "eth0")
	w.run("proxy", "ip", "address", "add", "10.64.2.200/24", "dev", "eth0")
	w.run("vm1", "ping", "-c", "2", "-i", "0.2", "-W", "5", w.Address("printer").String())
	time.Sleep(3 * time.Second) // the node looks every 2 s
	before := w.edgeIn("proxy")
	const sent = 500
	w.role("host1", "shout", "10.64.2.200:4747", "500")
	time.Sleep(200 * time.Millisecond)
	t.Logf("the LAN's port read %d frames, then %d", before, w.edgeIn("proxy")-before)
	if read := w.edgeIn("proxy") - before; read > sent/5 {
		t.Errorf("of %d datagrams to the overlay's port at the new address the LAN's port read %d frames", sent, read)
	}
}

// shout: shout ADDRESS COUNT. It sends UDP datagrams that mean nothing, 1 ms apart.
func shout(args []string) int {
	conn, err := net.Dial("udp", args[0])
	count, bad := strconv.Atoi(args[1])
	if err != nil || bad != nil {
		fmt.Fprintln(os.Stderr, err, bad)
		return 1
	}
	for range count {
		conn.Write([]byte("is anybody there?"))
		time.Sleep(time.Millisecond)
	}
	return 0
}

// edgeIn is how many frames a node has read from its ports.
func (w *world) edgeIn(host string) int {
	w.Helper()
	answer := ask[struct {
		Nodes []struct {
			Node     string
			Counters struct {
				EdgeIn string `json:"edgeIn"`
			}
		}
	}](w, host, "counters")
	for _, n := range answer.Nodes {
		if n.Node == host {
			count, _ := strconv.Atoi(n.Counters.EdgeIn)
			return count
		}
	}
	w.Fatalf("%s does not count: %+v", host, answer)
	return 0
}
