package main

import (
	"net/netip"
	"os"
	"path/filepath"

	"github.com/virtuoso-vnet/virtuoso/internal/port"
)

// openLAN joins somebody's LAN: a bridge gets a TAP of ours as a further port, any other interface is listened on. Frames
// of the underlay are none of the LAN's, also where both are on one interface.
func openLAN(name, device string, underlay uint16) (port.Port, error) {
	if _, err := os.Stat(filepath.Join("/sys/class/net", device, "bridge")); err == nil {
		return port.OpenBridgeTAP(device, port.TAPConfig{Name: name})
	}
	ours := netip.AddrPortFrom(netip.IPv4Unspecified(), underlay)
	return port.OpenLAN(port.LANConfig{Name: name, Interface: device, Underlay: []netip.AddrPort{ours}})
}
