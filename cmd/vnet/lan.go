package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/internal/port"
)

// bridgeTAP is what a port's TAP in a bridge is called: the kernel puts a number in, so that it is no name in use.
const bridgeTAP = "vnet%d"

// openLAN joins somebody's LAN: a bridge gets a TAP of ours as a further port, any other interface is listened on. Frames
// of the underlay are none of the LAN's, also where both are on one interface; the node says again where its links end as
// its addresses change.
func openLAN(name, device string, underlay uint16, open []port.Port) (port.Port, error) {
	i, err := lanInterface(device, open)
	if err != nil {
		return nil, err
	}
	if i.Kind == "bridge" {
		return port.OpenBridgeTAP(device, port.TAPConfig{Name: name, Interface: bridgeTAP})
	}
	ours := netip.AddrPortFrom(netip.IPv4Unspecified(), underlay)
	return port.OpenLAN(port.LANConfig{Name: name, Interface: device, Underlay: []netip.AddrPort{ours}})
}

// lanInterface finds an interface that may be a LAN port.
func lanInterface(device string, open []port.Port) (port.Interface, error) {
	list, err := port.Interfaces(open...)
	if err != nil {
		return port.Interface{}, err
	}
	var available []string
	for _, i := range list {
		switch {
		case i.Name != device && i.Use == port.UseAvailable:
			available = append(available, i.Name)
		case i.Name != device:
		case i.Use == port.UseAvailable:
			return i, nil
		case i.Use == port.UseRefused:
			return i, fmt.Errorf("cannot join the LAN of %s: %s", device, i.Why)
		default:
			return i, fmt.Errorf("cannot join the LAN of %s: it is %s already", device, i.Use)
		}
	}
	if len(available) == 0 {
		available = []string{"none"}
	}
	return port.Interface{}, fmt.Errorf("cannot join the LAN of %s: there is no such interface; available: %s", device, strings.Join(available, ", "))
}
