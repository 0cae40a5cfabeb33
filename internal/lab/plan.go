package lab

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
)

const (
	siteBridge = "lan" // the switch inside a site's namespace; its address is the router's
	siteTunnel = "wan" // the tunnel device towards the relay
)

// plan says what every member's namespaces will hold: sites first, then hosts, then VMs.
func (s *Spec) plan() []*member {
	var members []*member
	for i, site := range s.Sites {
		members = append(members, &member{setup: s.siteSetup(i, site)})
	}
	hosts := s.hostsFile()
	for i, h := range s.Hosts {
		st := s.hostSetup(i, h)
		st.Hosts = hosts
		members = append(members, &member{setup: st})
	}
	guests := s.guestsFile()
	for _, vm := range s.VMs {
		members = append(members, &member{setup: setup{
			Name: vm.Name, Hosts: guests,
			TAP: &tapSetup{Name: "eth0", MAC: vm.MAC, MTU: vm.MTU, Addr: vm.Address, Queues: vm.Queues},
		}})
	}
	return members
}

func (s *Spec) siteSetup(i int, site Site) setup {
	st := setup{
		Name: site.Name, Hosts: s.hostsFile(), Router: true,
		Bridge: &bridgeSetup{Name: siteBridge, MAC: localMAC('r', i), Addr: netip.PrefixFrom(site.router(), site.Subnet.Bits())},
	}
	if s.hasPath(site.Name) {
		st.TUN = siteTunnel
	}
	for _, c := range s.cables() {
		if c.site == site.Name {
			st.Links = append(st.Links, linkSetup{Name: c.port, Master: siteBridge, MTU: c.host.MTU, Rate: c.host.Down, Queue: c.host.Queue})
		}
	}
	return st
}

func (s *Spec) hostSetup(i int, h Host) setup {
	site, _ := s.Site(h.Site)
	eth0 := linkSetup{Name: "eth0", MAC: h.MAC, MTU: h.MTU, Addr: h.Address, Rate: h.Up, Queue: h.Queue}
	st := setup{Name: h.Name, Addr: h.Address, Links: []linkSetup{eth0}}
	if h.Address != AddressNone() {
		st.Via = site.router()
	}
	if h.LAN != "" {
		st.Links = append(st.Links, linkSetup{Name: "eth1", MAC: localMAC('l', i), MTU: h.MTU, Addr: h.LANAddr, Rate: h.Up, Queue: h.Queue})
	}
	if h.Bridge != "" {
		in := &st.Links[len(st.Links)-1]
		st.Bridge = &bridgeSetup{Name: h.Bridge, MAC: in.MAC, Addr: in.Addr}
		in.Addr, in.Master = netip.Prefix{}, h.Bridge
	}
	return st
}

func (s *Spec) hasPath(site string) bool {
	for _, w := range s.Paths {
		if w.A == site || w.B == site {
			return true
		}
	}
	return false
}

func (s *Spec) hostsFile() string {
	var b strings.Builder
	for _, h := range s.Hosts {
		hostsLine(&b, h.Address, h.Name)
	}
	return b.String()
}

// guestsFile names only VMs: a guest knows nothing of what carries its frames.
func (s *Spec) guestsFile() string {
	var b strings.Builder
	for _, vm := range s.VMs {
		hostsLine(&b, vm.Address, vm.Name)
	}
	return b.String()
}

func hostsLine(b *strings.Builder, p netip.Prefix, name string) {
	if p != AddressNone() {
		fmt.Fprintf(b, "%s %s\n", p.Addr(), name)
	}
}

// cable joins an interface of a host to a port of a site's switch.
type cable struct {
	host Host
	end  string // in the host
	site string
	port string // in the site
}

// cables lists every cable; port names are short, for the kernel allows 15 characters.
func (s *Spec) cables() []cable {
	var all []cable
	for i, h := range s.Hosts {
		all = append(all, cable{host: h, end: "eth0", site: h.Site, port: fmt.Sprintf("h%d", i)})
		if h.LAN != "" {
			all = append(all, cable{host: h, end: "eth1", site: h.LAN, port: fmt.Sprintf("l%d", i)})
		}
	}
	return all
}

// firstPort makes a port's number different from that of its other end. Where they are equal the kernel takes
// neither for an urgent matter, and brings them up as late as a second after they were switched on.
const firstPort = 100

// wire lays the cables between the namespaces.
func wire(s *Spec, members []*member) error {
	pid := map[string]int{}
	for _, m := range members {
		pid[m.setup.Name] = m.pid
	}
	for i, c := range s.cables() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Namespace = c.port, netlink.NsPid(pid[c.site])
		attrs.Index = firstPort + i
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: c.end, PeerNamespace: netlink.NsPid(pid[c.host.Name])}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("cannot lay the cable from %s to site %s: %w", c.host.Name, c.site, err)
		}
	}
	return nil
}

// portOf is the switch port of a host's eth0.
func (s *Spec) portOf(host string) string {
	for _, c := range s.cables() {
		if c.host.Name == host && c.end == "eth0" {
			return c.port
		}
	}
	return ""
}
