package link

import "net/netip"

const (
	// sizeLargest is the UDP payload of a full Ethernet packet over IPv4. Larger underlays bring little: the cost is a
	// datagram's, and the kernel cuts them for us.
	sizeLargest  = 1500 - overIPv4
	sizeSmallest = 1200 // bytes; QUIC needs as much (RFC 9000 §14), so below it a path has no udp at all

	overIPv4 = 28 // bytes of IPv4 and UDP headers
	overIPv6 = 48 // bytes of IPv6 and UDP headers
	linkMTU  = 1500
)

// sizesTo lists the datagram sizes to try towards an address, largest first: what the route says, then what tunnels
// (1,400-byte paths), IPv6's least MTU and QUIC's least datagram leave.
func sizesTo(to netip.AddrPort, routeMTU int) []int {
	over := overIPv4
	if !to.Addr().Unmap().Is4() {
		over = overIPv6
	}
	mtu := linkMTU
	if routeMTU > 0 {
		mtu = min(mtu, routeMTU)
	}
	sizes := make([]int, 0, 4)
	if first := mtu - over; first >= sizeSmallest {
		sizes = append(sizes, first)
	}
	for _, s := range []int{1372, 1252, sizeSmallest} {
		if len(sizes) > 0 && s < sizes[len(sizes)-1] {
			sizes = append(sizes, s)
		}
	}
	return sizes
}
