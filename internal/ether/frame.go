package ether

import "encoding/binary"

// Frame is a view over one Ethernet frame, from the destination address on, without the frame check sequence.
// The accessors below need a Valid frame.
type Frame []byte

const (
	// HeaderLen is the length of an untagged Ethernet header in bytes.
	HeaderLen = 14
	// TagLen is what one 802.1Q or 802.1ad tag adds to it.
	TagLen = 4
	// maxTags is how many stacked tags are looked through: Linux's VLAN_MAX_DEPTH. It bounds the work a hostile
	// frame can cause.
	maxTags = 8
)

// EtherTypes this package looks behind (IEEE 802 numbers).
const (
	TypeIPv4   uint16 = 0x0800
	TypeARP    uint16 = 0x0806
	TypeRARP   uint16 = 0x8035
	TypeVLAN   uint16 = 0x8100 // 802.1Q
	TypeIPv6   uint16 = 0x86dd
	TypeQinQ   uint16 = 0x88a8 // 802.1ad
	protoTCP   uint8  = 6
	protoUDP   uint8  = 17
	portServer uint16 = 67 // DHCP server
	portClient uint16 = 68 // DHCP client
)

// Valid reports whether the frame is long enough to have an Ethernet header.
func (f Frame) Valid() bool { return len(f) >= HeaderLen }

// Dst returns the destination address.
func (f Frame) Dst() MAC { return MAC(f[0:6]) }

// Src returns the source address.
func (f Frame) Src() MAC { return MAC(f[6:12]) }

// EtherType returns the type of the payload, behind any tags.
func (f Frame) EtherType() uint16 { return binary.BigEndian.Uint16(f[f.L3()-2:]) }

// L3 returns the offset of the payload, behind any tags.
func (f Frame) L3() int {
	at := HeaderLen
	for range maxTags {
		kind := binary.BigEndian.Uint16(f[at-2:])
		if (kind != TypeVLAN && kind != TypeQinQ) || len(f) < at+TagLen {
			break
		}
		at += TagLen
	}
	return at
}

// Bare reports whether the frame is a TCP segment without payload: an acknowledgement, which says nothing about
// who sends data to whom.
func (f Frame) Bare() bool {
	h, ok := f.headers()
	return ok && h.proto == protoTCP && f.ipEnd(h) <= h.payload
}

// DHCP reports whether the frame is UDP from or to port 67 or 68. Old DHCP clients read such frames raw and
// refuse an unfinished checksum, so a port completes it at delivery.
func (f Frame) DHCP() bool {
	h, ok := f.headers()
	if !ok || h.proto != protoUDP {
		return false
	}
	src, dst := binary.BigEndian.Uint16(f[h.l4:]), binary.BigEndian.Uint16(f[h.l4+2:])
	return src == portServer || src == portClient || dst == portServer || dst == portClient
}

// headers says where the headers of a TCP segment or a UDP datagram lie: offsets into the frame, in bytes.
type headers struct {
	l3, l4, payload int
	v6              bool
	proto           uint8 // protoTCP or protoUDP
}

// headers finds the headers of a whole (unfragmented) TCP segment or UDP datagram; false for anything else.
func (f Frame) headers() (headers, bool) {
	if !f.Valid() {
		return headers{}, false
	}
	h := headers{l3: f.L3()}
	ok := false
	switch binary.BigEndian.Uint16(f[h.l3-2:]) {
	case TypeIPv4:
		h.l4, h.proto, ok = f.behindIPv4(h.l3)
	case TypeIPv6:
		h.v6 = true
		h.l4, h.proto, ok = f.behindIPv6(h.l3)
	}
	if !ok {
		return headers{}, false
	}
	switch h.proto {
	case protoUDP:
		h.payload = h.l4 + udpHeaderLen
	case protoTCP:
		if len(f) < h.l4+tcpHeaderLen {
			return headers{}, false
		}
		size := int(f[h.l4+12]>>4) * 4
		if size < tcpHeaderLen {
			return headers{}, false
		}
		h.payload = h.l4 + size
	default:
		return headers{}, false
	}
	return h, h.payload <= len(f)
}

const (
	ipv4HeaderLen = 20 // without options
	ipv6HeaderLen = 40 // without extension headers
	tcpHeaderLen  = 20 // without options
	udpHeaderLen  = 8
	// maxExtensions is how many IPv6 extension headers are walked: each may appear once, destination options
	// twice (RFC 8200 §4.1), which bounds the work a hostile frame can cause.
	maxExtensions = 8
)

func (f Frame) behindIPv4(at int) (l4 int, proto uint8, ok bool) {
	if len(f) < at+ipv4HeaderLen || f[at]>>4 != 4 {
		return 0, 0, false
	}
	size := int(f[at]&15) * 4
	fragment := binary.BigEndian.Uint16(f[at+6:]) & 0x3fff // more-fragments bit and offset
	if size < ipv4HeaderLen || len(f) < at+size || fragment != 0 {
		return 0, 0, false
	}
	return at + size, f[at+9], true
}

func (f Frame) behindIPv6(at int) (l4 int, proto uint8, ok bool) {
	if len(f) < at+ipv6HeaderLen || f[at]>>4 != 6 {
		return 0, 0, false
	}
	next, l4 := f[at+6], at+ipv6HeaderLen
	for range maxExtensions {
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination options
		default:
			return l4, next, true
		}
		if len(f) < l4+8 {
			return 0, 0, false
		}
		next, l4 = f[l4], l4+8+8*int(f[l4+1])
	}
	return 0, 0, false
}

// ipLength returns the length field of the IP header: of the packet in IPv4, behind the first header in IPv6.
func (f Frame) ipLength(h headers) int {
	if h.v6 {
		return int(binary.BigEndian.Uint16(f[h.l3+4:]))
	}
	return int(binary.BigEndian.Uint16(f[h.l3+2:]))
}

// ipEnd returns where the IP packet says it ends; Ethernet may have padded the frame behind it.
func (f Frame) ipEnd(h headers) int {
	if h.v6 {
		return h.l3 + ipv6HeaderLen + f.ipLength(h)
	}
	return h.l3 + f.ipLength(h)
}

// checksumOffset returns where the transport header has its checksum, bytes from its start.
func (h headers) checksumOffset() int {
	if h.proto == protoTCP {
		return 16
	}
	return 6
}
