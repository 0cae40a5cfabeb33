package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// natKinds are the routers that a host may live behind, as RFC 4787 tells them apart, and how nftables makes them. $IN is the
// host behind the router, eth0 is outside. What comes in unasked must not leave a mark in conntrack, hence the last chain.
func natKinds() map[string]string {
	const (
		nat = `table ip n {
	set seen { type ipv4_addr; flags dynamic,timeout; timeout 2m; }
	chain out { type nat hook postrouting priority srcnat; oifname eth0 %s; }
	chain in { type nat hook prerouting priority dstnat; %s; }
	chain pass { type filter hook forward priority filter; %s; }
	chain own { type filter hook input priority filter; iifname eth0 meta l4proto { tcp, udp } ct state new drop; }
}`
		inward = `udp dport 4747 dnat to $IN`
	)
	return map[string]string{
		"open":            "", // a public address
		"full cone":       fmt.Sprintf(nat, "masquerade", "iifname eth0 "+inward, ""),
		"restricted":      fmt.Sprintf(nat, "masquerade", "iifname eth0 ip saddr @seen "+inward, "oifname eth0 update @seen { ip daddr }"),
		"port-restricted": fmt.Sprintf(nat, "masquerade", "", ""),
		"symmetric":       fmt.Sprintf(nat, "masquerade fully-random", "", ""),
		"udp blocked":     fmt.Sprintf(nat, "masquerade", "", "meta l4proto udp drop"),
	}
}

// natHosts are the machines of the table: the name is that of the router's kind without spaces, and a second one where a
// kind meets itself. The two behind one carrier's translator (CGNAT) each have a router of their own in between.
func natHosts() []natHost {
	return []natHost{
		{"a", "open", ""}, {"b", "full cone", ""}, {"c", "restricted", ""}, {"d", "port-restricted", ""}, {"e", "port-restricted", ""},
		{"f", "symmetric", ""}, {"g", "symmetric", ""}, {"h", "udp blocked", ""}, {"i", "port-restricted", "carrier"}, {"j", "port-restricted", "carrier"},
	}
}

type natHost struct {
	name, kind string
	behind     string // site of the router's outside; empty: the Internet
}

func (h natHost) text() string {
	if h.behind != "" {
		return "CGNAT"
	}
	return h.kind
}

// natLab is the file of the lab: 203.0.113.0/24 is the Internet, 100.64.0.0/24 the inside of a carrier.
func natLab() string {
	var b strings.Builder
	b.WriteString("name: nat\nsites:\n  - {name: inet, subnet: 203.0.113.0/24}\n  - {name: carrier, subnet: 100.64.0.0/24}\n")
	hosts := "hosts:\n  - {name: hub, site: inet, address: 203.0.113.10/24}\n  - {name: rcarrier, site: inet, address: 203.0.113.11/24, lan: carrier, lan-address: 100.64.0.2/24}\n"
	vms := "vms:\n"
	for i, h := range natHosts() {
		outside, site := "203.0.113."+fmt.Sprint(20+i), "inet"
		if h.behind != "" {
			outside, site = "100.64.0."+fmt.Sprint(20+i), h.behind
		}
		if h.kind == "open" {
			hosts += fmt.Sprintf("  - {name: %s, site: inet, address: %s/24}\n", h.name, outside)
		} else {
			fmt.Fprintf(&b, "  - {name: s%s, subnet: 192.168.%d.0/24}\n", h.name, 10+i)
			hosts += fmt.Sprintf("  - {name: r%s, site: %s, address: %s/24, lan: s%s, lan-address: 192.168.%d.2/24}\n", h.name, site, outside, h.name, 10+i)
			hosts += fmt.Sprintf("  - {name: %s, site: s%s, address: 192.168.%d.10/24}\n", h.name, h.name, 10+i)
		}
		vms += fmt.Sprintf("  - {name: v%s, host: %s, address: 10.9.0.%d/24, mac: \"02:00:00:00:09:%02x\"}\n", h.name, h.name, 10+i, 10+i)
	}
	return b.String() + hosts + vms + "overlay: {proxy: hub}\n"
}

// translate makes the routers.
func (w *world) translate() {
	w.Helper()
	router := func(name, rules string) {
		w.run(name, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; cat >/tmp/nat <<'E'\n"+rules+"\nE\nnft -f /tmp/nat")
	}
	router("rcarrier", strings.ReplaceAll(natKinds()["port-restricted"], "$IN", "100.64.0.1"))
	for i, h := range natHosts() {
		if h.kind == "open" {
			continue
		}
		inside := fmt.Sprintf("192.168.%d.", 10+i)
		router("r"+h.name, strings.ReplaceAll(natKinds()[h.kind], "$IN", inside+"10"))
		w.run(h.name, "ip", "route", "replace", "default", "via", inside+"2")
		if h.behind != "" {
			w.run("r"+h.name, "ip", "route", "replace", "default", "via", "100.64.0.2")
		}
	}
}

// natRow is one pair of the table and how its frames are to go: over udp or tcp directly, or by the star.
type natRow struct{ a, b, want string }

func natRows() []natRow {
	return []natRow{
		{"a", "b", "udp"}, {"a", "d", "udp"}, {"a", "f", "udp"}, {"a", "h", "tcp"}, {"a", "i", "udp"},
		{"b", "f", "udp"}, {"c", "d", "udp"}, {"c", "f", "udp"}, {"d", "e", "udp"}, {"d", "f", "star"}, {"i", "j", "star"},
	}
}

// restOfNATRows are the pairs that make the table complete.
func restOfNATRows() []natRow {
	return []natRow{
		{"b", "h", "star"}, {"f", "g", "star"}, {"a", "c", "udp"}, {"b", "c", "udp"}, {"b", "d", "udp"}, {"b", "i", "udp"}, {"c", "i", "udp"}, {"d", "i", "udp"},
		{"c", "h", "star"}, {"d", "h", "star"}, {"f", "h", "star"}, {"f", "i", "star"}, {"h", "i", "star"},
	}
}

// Which pairs become direct through which routers: real packets through nftables, and where each pair's frames then went.
func TestPairsThroughTranslators(t *testing.T) {
	patient(t)
	needs(t, "ip", "nft", "ping")
	w := startLab(t, natLab())
	w.translate()
	if err := w.Daemons.Start(t.Context(), "--carrier", "auto"); err != nil {
		t.Fatal(err)
	}
	rows := natRows()
	if os.Getenv("E2E_LONG") != "" {
		rows = append(rows, restOfNATRows()...)
	}
	hosts := map[string]natHost{}
	for _, h := range natHosts() {
		hosts[h.name] = h
	}
	for _, r := range rows {
		got, took, why := w.pair(r.a, r.b)
		if known := w.unlinkable(r.a, r.b); (got == "star") != (known != "") {
			t.Errorf("frames between %s and %s go over %s, and the Proxy knows of the pair: %q", hosts[r.a].text(), hosts[r.b].text(), got, known)
		}
		t.Logf("%-16s %-16s %-4s %8v %s", hosts[r.a].text(), hosts[r.b].text(), got, took.Round(10*time.Millisecond), why)
		if known := w.unlinkable(r.a, r.b); known != "" && !strings.Contains(known, "no answer") {
			t.Errorf("why %s and %s cannot be linked is not told: %s", hosts[r.a].text(), hosts[r.b].text(), known)
		}
		if got != r.want {
			t.Errorf("frames between %s and %s go over %s, want %s; %s", hosts[r.a].text(), hosts[r.b].text(), got, r.want, why)
		}
	}
}

// unlinkable is what the Proxy knows of a pair that cannot be linked; empty if it knows of nothing.
func (w *world) unlinkable(a, b string) string {
	w.Helper()
	type pair struct{ A, B, Why, Since string }
	for _, u := range ask[struct{ Unlinkable []pair }](w, "hub", "nodes").Unlinkable {
		if u.A == a && u.B == b && u.Why != "" && u.Since != "" {
			return u.Since + ": " + u.Why
		}
	}
	return ""
}

// pair tries to link two hosts, sends frames between their VMs, and says how those went.
func (w *world) pair(a, b string) (way string, took time.Duration, why string) {
	w.Helper()
	macs := map[string]string{}
	addrs := map[string]string{}
	for i, h := range natHosts() {
		macs[h.name], addrs[h.name] = fmt.Sprintf("02:00:00:00:09:%02x", 10+i), fmt.Sprintf("10.9.0.%d", 10+i)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(w.Context(), 30*time.Second)
	defer cancel()
	_, err := w.Vnet(ctx, "hub", "link", "add", b, "--node", a)
	took = time.Since(began)
	if err == nil {
		for _, end := range [][2]string{{a, b}, {b, a}} {
			w.vnet("hub", "rule", "add", "--node", end[0], "--src", "any", "--dst", macs[end[1]], "--to", "link:"+end[1])
		}
	} else {
		why = strings.TrimSpace(err.Error())
		why = why[max(0, strings.LastIndex(why, "cannot link")):]
	}
	link := func(to string) (sent float64, carrier string) {
		type link struct {
			Name, Carrier string
			FramesSent    string
		}
		for _, l := range ask[struct{ Links []link }](w, "hub", "links", "--node", a).Links {
			if l.Name == to {
				fmt.Sscan(l.FramesSent, &sent)
				return sent, strings.ToLower(strings.TrimPrefix(l.Carrier, "CARRIER_"))
			}
		}
		return 0, ""
	}
	for range 5 { // a link that both ends dialled may swap sessions, which count anew
		direct, _ := link(b)
		star, _ := link("hub")
		w.run("v"+a, "ping", "-c", "5", "-i", "0.05", "-w", "10", addrs[b])
		directNow, carrier := link(b)
		starNow, _ := link("hub")
		switch {
		case directNow-direct >= 5 && starNow-star < 5:
			return carrier, took, why
		case starNow-star >= 5 && directNow == direct:
			return "star", took, why
		}
	}
	return "nowhere", took, why
}
