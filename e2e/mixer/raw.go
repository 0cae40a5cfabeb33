package main

import (
	"encoding/binary"
	"net"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// Raw frames go from the addresses that are kept for benchmarks (RFC 2544, RFC 5180) or have an EtherType for experiments,
// so that nothing else is taken for them, and end in a tail: magic with the kind 8, number 8, where the transport's checksum is
// 2 (0: nowhere), its value 2, the value's complement 2, nothing 2, and a hash 8 of all before with the checksum and its copies
// zeroed. A number and its complement add nothing to a ones' complement sum, so the checksum may cover its own copy.
const (
	rawType  = 0x88b5           // the first EtherType for local experiments (IEEE 802)
	rawMagic = 0x766e6574726177 // "vnetraw", with the kind in the last byte
	rawTail  = 32               // bytes
)

// rawKinds are the odd frames, by what makes them.
func rawKinds() []rawKind {
	return []rawKind{
		{"ethertype", func(d *dice) []byte { return d.other(rawType) }},
		{"tcp, any flags", func(d *dice) []byte { return d.ip4(d.tcp(d.byte()), unix.IPPROTO_TCP, 0) }},
		{"tcp, any flags, IPv6", func(d *dice) []byte { return d.ip6(d.tcp(d.byte()), unix.IPPROTO_TCP) }},
		{"tcp, wrong checksum", func(d *dice) []byte { d.spoil = true; return d.ip4(d.tcp(0x10), unix.IPPROTO_TCP, 0) }},
		{"tcp, wrong checksum, IPv6", func(d *dice) []byte { d.spoil = true; return d.ip6(d.tcp(0x10), unix.IPPROTO_TCP) }},
		{"udp, wrong checksum", func(d *dice) []byte { d.spoil = true; return d.ip4(d.udp(), unix.IPPROTO_UDP, 0) }},
		{"udp, no checksum", func(d *dice) []byte { d.none = true; return d.ip4(d.udp(), unix.IPPROTO_UDP, 0) }},
		{"ip, wrong checksum", func(d *dice) []byte { d.spoilIP = true; return d.ip4(d.udp(), unix.IPPROTO_UDP, 0) }},
		{"ip, wrong length", func(d *dice) []byte { d.spoilLength = true; return d.ip4(d.tcp(0x10), unix.IPPROTO_TCP, 0) }},
		{"fragment, first", func(d *dice) []byte { return d.ip4(d.udp(), unix.IPPROTO_UDP, 0x2000) }},
		{"fragment, later", func(d *dice) []byte { return d.ip4(d.udp(), unix.IPPROTO_UDP, 0x2000|uint16(d.byte())) }},
		{"fragment, IPv6", func(d *dice) []byte { d.headers = []byte{44}; return d.ip6(d.udp(), unix.IPPROTO_UDP) }},
		{"extension headers", func(d *dice) []byte { d.headers = []byte{0, 60, 43}; return d.ip6(d.tcp(0x18), unix.IPPROTO_TCP) }},
		{"unknown protocol", func(d *dice) []byte { return d.ip4(d.udp(), 253, 0) }},
		{"tag, tcp", func(d *dice) []byte {
			d.tags = []uint16{ether.TypeVLAN}
			return d.ip4(d.tcp(d.byte()), unix.IPPROTO_TCP, 0)
		}},
		{"tag, udp, IPv6", func(d *dice) []byte { d.tags = []uint16{ether.TypeVLAN}; return d.ip6(d.udp(), unix.IPPROTO_UDP) }},
		{"tag, fragment", func(d *dice) []byte {
			d.tags = []uint16{ether.TypeVLAN}
			return d.ip4(d.udp(), unix.IPPROTO_UDP, 0x2004)
		}},
		{"two tags", func(d *dice) []byte {
			d.tags = []uint16{ether.TypeQinQ, ether.TypeVLAN}
			return d.ip4(d.tcp(0x18), unix.IPPROTO_TCP, 0)
		}},
		{"tag, ethertype", func(d *dice) []byte { d.tags = []uint16{ether.TypeVLAN}; return d.other(rawType) }},
	}
}

type rawKind struct {
	name string
	make func(d *dice) []byte
}

// dice make one frame, from a number, and say what is odd about it.
type dice struct {
	plan                              Plan
	own                               net.HardwareAddr
	l                                 letters
	state                             uint64
	kind                              int
	number                            uint64
	tags                              []uint16
	headers                           []byte // IPv6
	spoil, none, spoilIP, spoilLength bool
}

func (d *dice) byte() byte {
	d.state = d.state*6364136223846793005 + 1442695040888963407
	return byte(d.state >> 56)
}

// room is how long the payload of a frame with so many bytes of headers behind Ethernet's may be, tail included: the
// longest, the shortest and anything between.
func (d *dice) room(headers int) int {
	most, least := d.plan.MTU-headers-4*max(0, len(d.tags)-1), rawTail+26 // Linux counts all tags but one as payload
	switch d.byte() % 4 {
	case 0:
		return most
	case 1:
		return least
	}
	return least + (int(d.byte())<<8|int(d.byte()))%(most-least)
}

// start is the Ethernet header.
func (d *dice) start(kind uint16) []byte {
	f := append(append([]byte{}, d.plan.PeerMAC...), d.own...)
	for i, tag := range d.tags {
		f = binary.BigEndian.AppendUint16(f, tag)
		f = binary.BigEndian.AppendUint16(f, uint16(d.byte())<<8|uint16(10+i))
	}
	return binary.BigEndian.AppendUint16(f, kind)
}

// body is n bytes that are content but for the tail, whose hash is not known yet.
func (d *dice) body(n int) []byte {
	b := append([]byte{}, d.l.of(d.number, n-rawTail)...)
	b = binary.BigEndian.AppendUint64(b, rawMagic<<8|uint64(d.kind))
	b = binary.BigEndian.AppendUint64(b, d.number)
	return append(b, make([]byte, 16)...)
}
