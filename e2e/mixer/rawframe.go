package main

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// seal writes the hash, with the checksum at the given place and its copies zero.
func seal(f []byte, at int) {
	tail := f[len(f)-rawTail:]
	binary.BigEndian.PutUint16(tail[16:], uint16(at))
	binary.BigEndian.PutUint64(tail[24:], hash(f[:len(f)-8]))
}

// sealed returns kind and number of a raw frame that arrived as it was sent, or what is wrong with it.
func sealed(f []byte) (kind int, number uint64, err error) {
	if len(f) < ether.HeaderLen+rawTail {
		return 0, 0, fmt.Errorf("%d bytes: %x", len(f), f)
	}
	f = slices.Clone(f)
	tail := f[len(f)-rawTail:]
	magic := binary.BigEndian.Uint64(tail)
	kind, number = int(magic&0xff), binary.BigEndian.Uint64(tail[8:])
	at, check := int(binary.BigEndian.Uint16(tail[16:])), binary.BigEndian.Uint16(tail[18:])
	if magic>>8 != rawMagic || kind >= len(rawKinds()) || at > len(f)-rawTail {
		return 0, 0, fmt.Errorf("%d bytes without a tail: %x", len(f), f[:min(len(f), 120)])
	}
	if at != 0 {
		if got := binary.BigEndian.Uint16(f[at:]); got != check || binary.BigEndian.Uint16(tail[20:]) != ^check {
			return kind, number, fmt.Errorf("number %d of %d bytes: checksum %x, sent as %x", number, len(f), got, check)
		}
		clear(f[at : at+2])
		clear(tail[18:22])
	}
	if want, got := binary.BigEndian.Uint64(tail[24:]), hash(f[:len(f)-8]); want != got {
		return kind, number, fmt.Errorf("number %d of %d bytes: hash %x, sent as %x: %x", number, len(f), got, want, f[:min(len(f), 120)])
	}
	return kind, number, nil
}

func (d *dice) other(kind uint16) []byte {
	f := append(d.start(kind), d.body(d.room(0))...)
	seal(f, 0)
	return f
}

// tcp is a segment without its checksum.
func (d *dice) tcp(flags byte) []byte {
	h := make([]byte, 20+4*int(d.byte()%6))
	binary.BigEndian.PutUint16(h, uint16(d.byte())<<8|1)
	binary.BigEndian.PutUint16(h[2:], 9)
	binary.BigEndian.PutUint32(h[4:], uint32(d.number)*2654435761)
	h[12], h[13], h[14] = byte(len(h)/4)<<4, flags, d.byte()
	for i := 20; i < len(h); i++ {
		h[i] = 1 // no operation
	}
	return append(h, d.body(d.room(ipRoom+8*len(d.headers)+len(h)))...)
}

// udp is a datagram without its checksum.
func (d *dice) udp() []byte {
	body := d.body(d.room(ipRoom + 8*len(d.headers) + 8))
	h := make([]byte, 8, 8+len(body))
	binary.BigEndian.PutUint16(h, uint16(d.byte())<<8|1)
	binary.BigEndian.PutUint16(h[2:], 9)
	binary.BigEndian.PutUint16(h[4:], uint16(8+len(body)))
	return append(h, body...)
}

// ipRoom is the most bytes an IP header here has, without extension headers.
const ipRoom = 40

// finish writes the transport's checksum, right or wrong as the dice want it, and seals the frame.
func (d *dice) finish(f []byte, l4 int, pseudo uint32, proto byte) []byte {
	at := 0
	switch {
	case proto == unix.IPPROTO_TCP:
		at = l4 + 16
	case proto == unix.IPPROTO_UDP && !d.none:
		at = l4 + 6
	}
	seal(f, at)
	if at == 0 {
		return f
	}
	check := ^fold(pseudo + sum(f[l4:]))
	if d.spoil {
		check += 1 + uint16(d.byte())
	}
	tail := f[len(f)-rawTail:]
	binary.BigEndian.PutUint16(f[at:], check)
	binary.BigEndian.PutUint16(tail[18:], check)
	binary.BigEndian.PutUint16(tail[20:], ^check)
	return f
}

// ip4 is a frame with an IPv4 packet; fragment are its flags and offset.
func (d *dice) ip4(segment []byte, proto byte, fragment uint16) []byte {
	f := d.start(ether.TypeIPv4)
	ip := make([]byte, 20+4*int(d.byte()%3))
	ip[0], ip[1], ip[8], ip[9] = byte(0x40|len(ip)/4), d.byte(), 9, proto
	length := len(ip) + len(segment)
	if d.spoilLength {
		length -= 1 + int(d.byte()%20)
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(length))
	binary.BigEndian.PutUint16(ip[4:], uint16(d.number))
	binary.BigEndian.PutUint16(ip[6:], fragment)
	copy(ip[12:], []byte{198, 18, 0, 1, 198, 18, 0, 2})
	for i := 20; i < len(ip); i++ {
		ip[i] = 1 // no operation
	}
	check := ^fold(sum(ip))
	if d.spoilIP {
		check += 1 + uint16(d.byte())
	}
	binary.BigEndian.PutUint16(ip[10:], check)
	f = append(f, ip...)
	return d.finish(append(f, segment...), len(f), sum(ip[12:20])+uint32(proto)+uint32(len(segment)), proto)
}

// ip6 is a frame with an IPv6 packet and its extension headers.
func (d *dice) ip6(segment []byte, proto byte) []byte {
	f := d.start(ether.TypeIPv6)
	ip := make([]byte, 40)
	ip[0], ip[6], ip[7] = 0x60, proto, 9
	copy(ip[8:], []byte{0x20, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	copy(ip[24:], []byte{0x20, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2})
	next := 6
	for _, kind := range d.headers {
		ip[next] = kind
		next = len(ip)
		header := []byte{proto, 0, 1, 4, 0, 0, 0, 0} // six bytes of padding
		switch kind {
		case 43:
			header = []byte{proto, 0, 253, 0, 0, 0, 0, 0} // an experimental type, no segment left
		case 44:
			header = []byte{proto, 0, 0, 9, 0, 0, 0, d.byte()} // the second eight bytes, more to come
		}
		ip = append(ip, header...)
	}
	binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40+len(segment)))
	f = append(f, ip...)
	return d.finish(append(f, segment...), len(f), sum(ip[8:40])+uint32(proto)+uint32(len(segment)), proto)
}

// sum adds 16-bit words (RFC 1071).
func sum(b []byte) (s uint32) {
	for i, v := range b {
		s += uint32(v) << (8 * (1 - i%2))
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
