package node

import (
	"net"
	"net/netip"
	"strings"
)

// overlayNames are how interfaces of overlays and of virtual switches begin.
// None of their addresses may carry a link: the overlay would run over itself,
// or over another tunnel.
func overlayNames() []string {
	return []string{"vnet", "wg", "tailscale", "zt", "docker", "cilium", "virbr", "flannel", "cni", "nebula", "tun", "tap", "veth-"}
}

// Candidates are the addresses where peers may try to reach this node.
func (n *Node) Candidates() []netip.AddrPort {
	at := n.endpoint.Addr()
	list := append([]netip.AddrPort(nil), n.cfg.Advertise...)
	if !at.Addr().IsUnspecified() {
		return append(list, at)
	}
	return append(list, localAddrs(at.Port(), n.ownInterfaces())...)
}

// ownInterfaces are the addresses of the interfaces behind this node's ports.
// Names would not do: a port's interface may live in a guest's namespace, under
// the name of one of ours.
func (n *Node) ownInterfaces() map[string]bool {
	own := map[string]bool{}
	for _, at := range n.ports {
		if info := at.port.Info(); !at.lan && !info.MAC.IsZero() {
			own[info.MAC.String()] = true
		}
	}
	return own
}

// localAddrs lists this machine's addresses that a peer could reach.
func localAddrs(number uint16, own map[string]bool) []netip.AddrPort {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var list []netip.AddrPort
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || own[i.HardwareAddr.String()] || foreign(i.Name) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			prefix, err := netip.ParsePrefix(a.String())
			if err != nil || prefix.Addr().IsLinkLocalUnicast() || prefix.Addr().IsMulticast() {
				continue
			}
			list = append(list, netip.AddrPortFrom(prefix.Addr().Unmap(), number))
		}
	}
	return list
}

func foreign(name string) bool {
	for _, prefix := range overlayNames() {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// machineAddrs are all addresses of this machine, with a port.
func machineAddrs(number uint16) []netip.AddrPort {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var list []netip.AddrPort
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && !prefix.Addr().IsLoopback() {
			list = append(list, netip.AddrPortFrom(prefix.Addr().Unmap(), number))
		}
	}
	return list
}
