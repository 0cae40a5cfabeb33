package node

import (
	"encoding/binary"
	"net/netip"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// EtherTypes and types that neighbour discovery uses (RFC 826, RFC 903, RFC 4861).
const (
	typeARP  = 0x0806
	typeRARP = 0x8035
	typeIPv4 = 0x0800
	typeIPv6 = 0x86dd

	icmpv6               = 58
	neighbourSolicit     = 135
	neighbourAdvert      = 136
	arpRequest, arpReply = 1, 2
)

// neighbour is what a frame of neighbour discovery says: who speaks, and whom
// it asks for.
type neighbour struct {
	sender     netip.Addr // unspecified in a probe for duplicates
	target     netip.Addr
	request    bool
	gratuitous bool // its sender announces itself
}

// neighbourly tells whether a frame belongs to ARP, RARP or IPv6 neighbour
// discovery. It is asked for every frame from a local port, so it only looks.
func neighbourly(f ether.Frame) bool {
	switch f.EtherType() {
	case typeARP, typeRARP:
		return true
	case typeIPv6:
		at := f.L3()
		return len(f) >= at+64 && f[at+6] == icmpv6 && (f[at+40] == neighbourSolicit || f[at+40] == neighbourAdvert)
	}
	return false
}

// parseNeighbour reads such a frame. ok is false when it is cut short or of a
// kind nobody needs.
func parseNeighbour(f ether.Frame) (n neighbour, ok bool) {
	at := f.L3()
	switch f.EtherType() {
	case typeRARP:
		return neighbour{gratuitous: true}, true
	case typeARP:
		return parseARP(f[at:])
	case typeIPv6:
		return parseND(f[at:])
	}
	return neighbour{}, false
}

// parseARP reads the IPv4-over-Ethernet form of RFC 826.
func parseARP(b []byte) (neighbour, bool) {
	if len(b) < 28 || binary.BigEndian.Uint16(b[2:]) != typeIPv4 || b[4] != 6 || b[5] != 4 {
		return neighbour{}, false
	}
	n := neighbour{
		sender:  netip.AddrFrom4([4]byte(b[14:18])),
		target:  netip.AddrFrom4([4]byte(b[24:28])),
		request: binary.BigEndian.Uint16(b[6:]) == arpRequest,
	}
	n.gratuitous = n.sender == n.target // RFC 5227 §3: an announcement
	return n, true
}

// parseND reads a solicitation or an advertisement (RFC 4861 §4.3, §4.4).
func parseND(b []byte) (neighbour, bool) {
	if len(b) < 64 {
		return neighbour{}, false
	}
	target := netip.AddrFrom16([16]byte(b[48:64]))
	n := neighbour{sender: netip.AddrFrom16([16]byte(b[8:24])), target: target, request: b[40] == neighbourSolicit}
	if !n.request {
		n.sender = target
		n.gratuitous = b[24] == 0xff // advertised to all nodes, unasked
	}
	return n, true
}

// answerNeighbour writes the reply that the owner of the asked address would
// give: an ARP reply or a neighbour advertisement, as a frame to the asker.
func answerNeighbour(question ether.Frame, owner ether.MAC) (ether.Frame, bool) {
	at := question.L3()
	switch question.EtherType() {
	case typeARP:
		reply := append(ether.Frame(nil), question[:at+28]...)
		b := reply[at:]
		asker := question.Src()
		copy(reply[0:6], asker[:])
		copy(reply[6:12], owner[:])
		binary.BigEndian.PutUint16(b[6:], arpReply)
		target := [4]byte(b[24:28])
		copy(b[18:24], b[8:14])
		copy(b[24:28], b[14:18])
		copy(b[8:14], owner[:])
		copy(b[14:18], target[:])
		return reply, true
	case typeIPv6:
		return answerND(question, owner)
	}
	return nil, false
}

// answerND builds a solicited neighbour advertisement with the target
// link-layer address option (RFC 4861 §4.4, §4.6.1).
func answerND(question ether.Frame, owner ether.MAC) (ether.Frame, bool) {
	at := question.L3()
	q := question[at:]
	asker, target := [16]byte(q[8:24]), [16]byte(q[48:64])
	if netip.AddrFrom16(asker).IsUnspecified() {
		return nil, false // a probe for duplicates wants silence or a conflict, not our guess
	}
	reply := make(ether.Frame, at+72)
	copy(reply, question[:at])
	src := question.Src()
	copy(reply[0:6], src[:])
	copy(reply[6:12], owner[:])
	b := reply[at:]
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], 32)
	b[6], b[7] = icmpv6, 255
	copy(b[8:24], target[:])
	copy(b[24:40], asker[:])
	b[40] = neighbourAdvert
	b[44] = 0x60 // solicited, override
	copy(b[48:64], target[:])
	b[64], b[65] = 2, 1
	copy(b[66:72], owner[:])
	binary.BigEndian.PutUint16(b[42:], icmpChecksum(b[8:40], b[40:72]))
	return reply, true
}

// icmpChecksum is the Internet checksum with the IPv6 pseudo-header (RFC 8200 §8.1).
func icmpChecksum(addresses, body []byte) uint16 {
	sum := uint32(len(body)) + icmpv6
	for _, part := range [][]byte{addresses, body} {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(part[i])<<8 | uint32(part[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
