package lab_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

const whole = `
name: demo
sites:
  - name: cloud
  - {name: home, subnet: 192.168.7.0/24}
hosts:
  - {name: host1, site: cloud, rate: 100Mbit, queue: 20ms}
  - {name: host2, site: cloud, up: 1.5Gbit, down: 64kbit, mtu: 9000}
  - {name: proxy, site: home, lan: home, bridge: br0, address: 192.168.7.2/24}
vms:
  - {name: vm1, host: host1, mac: "52:54:00:00:00:01", address: none, queues: 4}
  - {name: vm2, host: host2}
paths:
  - between: [cloud, home]
    delay: 2.5ms
    loss: 0.5%
    back: {delay: 3ms, rate: 10Mbit, queue: 100ms, mtu: 1400, jitter: 1ms, reorder: true}
applications:
  - {in: vm1, run: [patterns, --pattern, ring]}
overlay: {name: o, proxy: proxy, hosts: [host1]}
`

func TestParse(t *testing.T) {
	s, err := lab.Parse([]byte(whole), "whole.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pre := netip.MustParsePrefix
	want := &lab.Spec{
		Name:  "demo",
		Sites: []lab.Site{{Name: "cloud", Subnet: pre("10.64.1.0/24")}, {Name: "home", Subnet: pre("192.168.7.0/24")}},
		Hosts: []lab.Host{
			{Name: "host1", Site: "cloud", Address: pre("10.64.1.10/24"), MAC: [6]byte{2, 'l', 'h', 0, 0, 1},
				Up: 100e6, Down: 100e6, Queue: 20 * time.Millisecond, MTU: 1500},
			{Name: "host2", Site: "cloud", Address: pre("10.64.1.11/24"), MAC: [6]byte{2, 'l', 'h', 0, 0, 2},
				Up: 1.5e9, Down: 64e3, Queue: 50 * time.Millisecond, MTU: 9000},
			{Name: "proxy", Site: "home", Address: pre("192.168.7.2/24"), MAC: [6]byte{2, 'l', 'h', 0, 0, 3},
				Queue: 50 * time.Millisecond, LAN: "home", LANAddr: lab.AddressNone(), Bridge: "br0", MTU: 1500},
		},
		VMs: []lab.VM{
			{Name: "vm1", Host: "host1", Address: lab.AddressNone(), MAC: [6]byte{0x52, 0x54, 0, 0, 0, 1}, MTU: 1500, Queues: 4},
			{Name: "vm2", Host: "host2", Address: pre("10.80.0.2/16"), MAC: [6]byte{2, 'l', 'v', 0, 0, 2}, MTU: 1500, Queues: 2},
		},
		Paths: []lab.WAN{{A: "cloud", B: "home", There: wan.Path{Delay: 2500 * time.Microsecond, Loss: 0.005},
			Back: wan.Path{Delay: 3 * time.Millisecond, Rate: 10e6, Queue: 100 * time.Millisecond, MTU: 1400, Jitter: time.Millisecond, Reorder: true}}},
		Apps:    []lab.App{{In: "vm1", Run: []string{"patterns", "--pattern", "ring"}}},
		Overlay: lab.Overlay{Name: "o", Proxy: "proxy", Hosts: []string{"host1"}},
	}
	if diff := cmp.Diff(want, s, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseSaysWhere(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown key", "queue: 20ms", "quee: 20ms", `f:7:47: unknown key "quee": allowed here are name, site,`},
		{"repeated key", "rate: 100Mbit", "name: x", `f:7:32: "name" is given twice`},
		{"bad rate", "100Mbit", "100 apples", `f:7:38: "100 apples" is not a rate such as`},
		{"negative rate", "100Mbit", "-1Mbit", `is not a rate`},
		{"bad duration", "2.5ms", "2.5", `f:15:12: "2.5" is not a duration`},
		{"bad share", "0.5%", "150%", `f:16:11: "150%" is not a share`},
		{"bad MAC", "52:54:00:00:00:01", "52:54", `f:11:35: `},
		{"unknown site", "site: cloud, rate", "site: moon, rate", `f:7:5: host1: there is no site "moon"`},
		{"unknown host", "host: host2", "host: host9", `f:12:5: vm2: there is no host "host9"`},
		{"unknown in path", "[cloud, home]", "[cloud, moon]", `f:14:5: path cloud - moon: there is no site "moon"`},
		{"path to itself", "[cloud, home]", "[cloud, cloud]", "two different sites"},
		{"half a path", "[cloud, home]", "[cloud]", "f:14:5: a path needs `between: [site, site]`"},
		{"name twice", "name: vm2", "name: host1", `VM "host1": there is already a host of that name`},
		{"odd name", "name: vm2", "name: Vm_2", `f:12:5: VM name "Vm_2": want a to z`},
		{"address outside", "192.168.7.2/24", "10.1.1.1/24", `f:9:5: host "proxy": address 10.1.1.1/24 is outside home`},
		{"overlap", "192.168.7.0/24", "10.64.0.0/16", "overlapping subnets"},
		{"unknown proxy", "proxy: proxy", "proxy: vm1", `there is no host "vm1"`},
		{"nothing to run", "run: [patterns, --pattern, ring]", "run: []", "nothing to run"},
		{"group MAC", "52:54:00", "53:54:00", "is not the address of one machine"},
		{"queues", "queues: 4", "queues: 400", "at most 64"},
		{"not a list", "sites:", "sites: 3\nx:", "f:3:8: want a list here"},
		{"broken YAML", "vms:", "vms: [", "f:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(whole, c.old, c.new, 1)
			if text == whole {
				t.Fatalf("%q is not in the file", c.old)
			}
			if _, err := lab.Parse([]byte(text), "f"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got\n%v\nwant %s", err, c.want)
			}
		})
	}
	if _, err := lab.Parse(nil, "f"); err == nil {
		t.Error("an empty file was taken")
	}
}

// The reference in docs/lab.md is a lab file; it must stay one.
func TestTheReferenceParses(t *testing.T) {
	doc, err := os.ReadFile("../../docs/lab.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```yaml\n")
	text, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("docs/lab.md has no yaml block")
	}
	if _, err := lab.Parse([]byte(text), "docs/lab.md"); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(twoSites))
	f.Add([]byte(lan))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := lab.Parse(data, "fuzz")
		if err != nil {
			return
		}
		if err := s.Validate(); err != nil {
			t.Errorf("parsed, but not valid: %v", err)
		}
	})
}
