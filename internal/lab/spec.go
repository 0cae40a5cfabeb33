package lab

import (
	"net/netip"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// Spec is a lab as its file describes it; docs/lab.md is its reference. [Parse] fills in the defaults.
type Spec struct {
	Name    string // of the lab; `vnet lab exec` finds it by this name
	Sites   []Site
	Hosts   []Host
	VMs     []VM
	Paths   []WAN
	Apps    []App
	Overlay Overlay
}

// Site is a LAN: a switch, and a router towards the other sites. A site without paths is a LAN on its own.
type Site struct {
	Name   string
	Subnet netip.Prefix // the router has the first address; default 10.64.N.0/24
}

// Host is a machine at a site: one that will run a daemon, or any other machine of that LAN.
type Host struct {
	Name    string
	Site    string
	Address netip.Prefix // of eth0; the zero value leaves it unconfigured
	MAC     ether.MAC    // of eth0
	Up      int64        // bit/s out of eth0; 0 = not limited
	Down    int64        // bit/s into eth0; 0 = not limited
	Queue   time.Duration
	LAN     string       // site that a second interface, eth1, is attached to; may be the host's own
	LANAddr netip.Prefix // of eth1; default the next free one of LAN, none where LAN is the host's own site
	Bridge  string       // name of a bridge inside the host that holds eth1, or else eth0 and its address
	MTU     int
}

// VM is a guest: a namespace whose only interface is the netdev side of a TAP. The other side is the queues
// that [Lab.TAPFiles] returns.
type VM struct {
	Name    string
	Host    string // where its port is meant to be; the lab itself only remembers it
	Address netip.Prefix
	MAC     ether.MAC
	MTU     int
	Queues  int
}

// WAN is the path between two sites.
type WAN struct {
	A, B  string
	There wan.Path // from A to B
	Back  wan.Path // from B to A
}

// App is a program to run in a host or VM once the overlay stands.
type App struct {
	In  string
	Run []string
}

// Overlay says who plays which part; the lab itself does not read it.
type Overlay struct {
	Name  string
	Proxy string   // host that runs the Proxy; "" = no overlay is started
	Hosts []string // hosts that run a host daemon; empty = every host that has VMs
}

// VMsOn lists the guests whose port belongs to a host, in the order of the file.
func (s *Spec) VMsOn(host string) []VM {
	var on []VM
	for _, vm := range s.VMs {
		if vm.Host == host {
			on = append(on, vm)
		}
	}
	return on
}

// VM returns the guest of that name.
func (s *Spec) VM(name string) (VM, bool) {
	for _, vm := range s.VMs {
		if vm.Name == name {
			return vm, true
		}
	}
	return VM{}, false
}

// Host returns the machine of that name.
func (s *Spec) Host(name string) (Host, bool) {
	for _, h := range s.Hosts {
		if h.Name == name {
			return h, true
		}
	}
	return Host{}, false
}

// Site returns the site of that name.
func (s *Spec) Site(name string) (Site, bool) {
	for _, site := range s.Sites {
		if site.Name == name {
			return site, true
		}
	}
	return Site{}, false
}
