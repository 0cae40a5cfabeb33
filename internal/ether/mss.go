package ether

import "encoding/binary"

const (
	tcpSYN     = 0x02
	optionEnd  = 0 // kinds of TCP options (RFC 9293 §3.2)
	optionNone = 1
	optionMSS  = 2
	mssLen     = 4
)

// ClampMSS lowers the largest segment that a TCP SYN announces (RFC 9293 §3.7.1) to most, in bytes of payload, and says
// whether it did. Whoever hears it sends no longer segments. Nothing else is changed but the checksum, by the difference
// (RFC 1624), so that one that was wrong stays wrong; a partial one does not cover the option yet. A SYN whose options make
// no sense is left alone, and so is one that announces nothing: its hearer may send 536 bytes at most.
func (p *Packet) ClampMSS(most uint16) bool {
	f := p.Frame
	h, ok := f.headers()
	if !ok || h.proto != protoTCP || f[h.l4+13]&tcpSYN == 0 {
		return false
	}
	for at := h.l4 + tcpHeaderLen; at < h.payload; {
		switch f[at] {
		case optionEnd:
			return false
		case optionNone:
			at++
			continue
		}
		if at+1 >= h.payload {
			return false
		}
		length := int(f[at+1])
		if length < 2 || at+length > h.payload {
			return false
		}
		if f[at] == optionMSS && length == mssLen {
			return p.lowerMSS(h, at+2, most)
		}
		at += length
	}
	return false
}

// lowerMSS changes the value at an offset of the frame.
func (p *Packet) lowerMSS(h headers, at int, most uint16) bool {
	f := p.Frame
	was := binary.BigEndian.Uint16(f[at:])
	if was <= most {
		return false
	}
	binary.BigEndian.PutUint16(f[at:], most)
	if p.Offload.Partial() {
		return true
	}
	old, now := was, most
	if (at-h.l4)%2 != 0 { // the value lies across two words of the sum: their bytes change places
		old, now = old<<8|old>>8, now<<8|now>>8
	}
	sum := f[h.l4+16:]
	total := uint32(^binary.BigEndian.Uint16(sum)) + uint32(^old) + uint32(now)
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	binary.BigEndian.PutUint16(sum, ^uint16(total))
	return true
}
