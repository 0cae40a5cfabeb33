package lab

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// fault is something a spec says that cannot be, and the name of the thing that says it.
type fault struct{ where, what string }

// Validate returns everything that makes the spec impossible; call [Spec.Complete] before.
func (s *Spec) Validate() error {
	var errs []error
	for _, f := range s.faults() {
		errs = append(errs, errors.New(f.what))
	}
	return errors.Join(errs...)
}

const (
	minMTU = 576  // bytes: the least every IPv4 host takes (RFC 791)
	maxMTU = 9000 // bytes: jumbo frames
)

// names collects what is declared, so that a later mention can be judged.
type names struct {
	kind   map[string]string // name -> "site", "host", "VM"
	macs   map[ether.MAC]string
	faults []fault
}

func (s *Spec) faults() []fault {
	n := &names{kind: map[string]string{}, macs: map[ether.MAC]string{}}
	if len(s.Sites) == 0 {
		n.add("", "a lab needs at least one site")
	}
	for _, site := range s.Sites {
		n.declare("site", site.Name)
		if site.Subnet.Bits() > 28 || site.Subnet.Bits() < 8 {
			n.add(site.Name, "site %q: subnet %s: want a prefix length from /8 to /28", site.Name, site.Subnet)
		}
		for _, other := range s.Sites {
			if other.Name < site.Name && other.Subnet.Overlaps(site.Subnet) {
				n.add(site.Name, "sites %q and %q have overlapping subnets %s and %s", other.Name, site.Name, other.Subnet, site.Subnet)
			}
		}
	}
	for _, h := range s.Hosts {
		n.host(s, h)
	}
	for _, vm := range s.VMs {
		n.vm(vm)
	}
	n.paths(s)
	for _, a := range s.Apps {
		n.mention("application in "+a.In, a.In, "host", "VM")
		if len(a.Run) == 0 {
			n.add("application in "+a.In, "the application in %q has nothing to run", a.In)
		}
	}
	if s.Overlay.Proxy != "" {
		n.mention("overlay", s.Overlay.Proxy, "host")
	}
	for _, h := range s.Overlay.Hosts {
		n.mention("overlay", h, "host")
	}
	return n.faults
}

func (n *names) add(where, format string, args ...any) {
	n.faults = append(n.faults, fault{where, fmt.Sprintf(format, args...)})
}

// declare enters a name. 40 characters keep every name a valid host name and short in a prompt.
func (n *names) declare(kind, name string) {
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`).MatchString(name) {
		n.add(name, "%s name %q: want a to z, 0 to 9 and -, at most 40 characters", kind, name)
	}
	if other, ok := n.kind[name]; ok {
		n.add(name, "%s %q: there is already a %s of that name", kind, name, other)
		return
	}
	n.kind[name] = kind
}

// mention checks that a name was declared as one of the given kinds.
func (n *names) mention(where, name string, kinds ...string) {
	if !slices.Contains(kinds, n.kind[name]) {
		n.add(where, "%s: there is no %s %q", where, kinds[0], name)
	}
}

func (n *names) mac(where string, m ether.MAC) {
	if m.IsGroup() || m.IsZero() {
		n.add(where, "%s: %s is not the address of one machine", where, m)
	}
	if other, ok := n.macs[m]; ok {
		n.add(where, "%s: %s already belongs to %s", where, m, other)
	}
	n.macs[m] = where
}

func (n *names) mtu(where string, mtu int) {
	if mtu < minMTU || mtu > maxMTU {
		n.add(where, "%s: mtu %d: want %d to %d", where, mtu, minMTU, maxMTU)
	}
}

func (n *names) host(s *Spec, h Host) {
	n.declare("host", h.Name)
	n.mac(h.Name, h.MAC)
	n.mtu(h.Name, h.MTU)
	n.mention(h.Name, h.Site, "site")
	if h.LAN != "" {
		n.mention(h.Name, h.LAN, "site")
	}
	if site, ok := s.Site(h.Site); ok && h.Address != AddressNone() && !site.Subnet.Contains(h.Address.Addr()) {
		n.add(h.Name, "host %q: address %s is outside %s", h.Name, h.Address, site)
	}
	// 15 bytes: IFNAMSIZ less the final zero.
	if len(h.Bridge) > 15 || h.Bridge == "eth0" || h.Bridge == "eth1" {
		n.add(h.Name, "host %q: bridge %q: want a name of at most 15 characters that is not an interface of the host", h.Name, h.Bridge)
	}
}

func (n *names) vm(vm VM) {
	n.declare("VM", vm.Name)
	n.mac(vm.Name, vm.MAC)
	n.mtu(vm.Name, vm.MTU)
	if vm.Host != "" {
		n.mention(vm.Name, vm.Host, "host")
	}
	if vm.Queues > maxQueues {
		n.add(vm.Name, "VM %q: %d queues: at most %d", vm.Name, vm.Queues, maxQueues)
	}
}

func (n *names) paths(s *Spec) {
	seen := map[[2]string]bool{}
	for _, w := range s.Paths {
		where := pathName(w.A, w.B)
		n.mention(where, w.A, "site")
		n.mention(where, w.B, "site")
		pair := [2]string{min(w.A, w.B), max(w.A, w.B)}
		if w.A == w.B || seen[pair] {
			n.add(where, "%s: want one path between two different sites", where)
		}
		seen[pair] = true
		for _, p := range []error{w.There.Validate(), w.Back.Validate()} {
			if p != nil {
				n.add(where, "%s: %v", where, p)
			}
		}
	}
}
