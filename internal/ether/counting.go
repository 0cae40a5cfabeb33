package ether

import "encoding/binary"

// counting is what counts up from one piece in the middle of a super-frame to the next. It is written in words of 8 bytes,
// which begin at steps of 8 bytes from the second word of the IP header: who reads the headers in the same steps needs not
// wait until the processor has put together what it has just written in parts.
type counting struct {
	ipAt  int    // of the word with the IPv4 identification and checksum; 0 in IPv6
	ip    uint64 // that word, these two zero
	ipSum uint64 // the header's sum without them
	seqAt int    // of the word with the TCP sequence number; 0 in UDP
	seq   uint64 // that word, it zero
	shift uint   // where in the word it goes
}

// countingOf reads it from the headers of a piece in the middle. ipFixed is the sum of the IPv4 header without length,
// identification and checksum.
func (h headers) countingOf(f Frame, ipFixed uint64) (c counting) {
	if !h.v6 {
		c.ipAt = h.l3 + 4
		c.ip = binary.BigEndian.Uint64(f[c.ipAt:]) & (0xffffffff << 16)
		c.ipSum = ipFixed + uint64(binary.BigEndian.Uint16(f[h.l3+2:]))
	}
	if h.proto == protoTCP {
		c.seqAt = h.l4
		if (h.l4-h.l3)%8 != 4 {
			c.seqAt, c.shift = h.l4+4, 32
		}
		c.seq = binary.BigEndian.Uint64(f[c.seqAt:]) &^ (0xffffffff << c.shift)
	}
	return c
}

// write puts into such headers what those of the piece with this identification and sequence number have.
func (c *counting) write(f []byte, id uint16, seq uint32) {
	if c.ipAt != 0 {
		sum := c.ipSum + uint64(id)
		sum = sum>>16 + sum&0xffff
		sum = sum>>16 + sum&0xffff
		binary.BigEndian.PutUint64(f[c.ipAt:], uint64(id)<<48|c.ip|uint64(^uint16(sum)))
	}
	if c.seqAt != 0 {
		binary.BigEndian.PutUint64(f[c.seqAt:], c.seq|uint64(seq)<<c.shift)
	}
}

// sameWords reports whether two headers with the IP header at l3 are the same, reading them in the steps in which counting
// writes them.
func sameWords(a, b []byte, l3 int) bool {
	first := (l3 + 4) % 8
	if len(a) != len(b) || len(a) < 8 {
		return false
	}
	differ := binary.NativeEndian.Uint64(a) ^ binary.NativeEndian.Uint64(b)
	at := first
	for ; at+8 <= len(a); at += 8 {
		differ |= binary.NativeEndian.Uint64(a[at:]) ^ binary.NativeEndian.Uint64(b[at:])
	}
	at = len(a) - 8
	differ |= binary.NativeEndian.Uint64(a[at:]) ^ binary.NativeEndian.Uint64(b[at:])
	return differ == 0
}
