package ether

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// errChecksumRange is returned where the marks of a partial checksum point outside the frame.
var errChecksumRange = errors.New("the marks of its checksum point outside the frame")

// Complete finishes a partial checksum in place and clears its mark. A super-frame keeps its partial checksum:
// it has as many checksums as pieces, so segment it first.
func Complete(p *Packet) error {
	if !p.Offload.Partial() {
		return nil
	}
	if p.Offload.Segmented() {
		return errors.New("cannot complete the checksum of a super-frame: segment it first")
	}
	if err := p.checkPartial(); err != nil {
		return err
	}
	start := int(p.Offload.CsumStart)
	at := start + int(p.Offload.CsumOffset)
	sum := ^fold(sumBytes(0, p.Frame[start:]))
	if sum == 0 {
		sum = 0xffff // in UDP 0 means "no checksum" (RFC 768); in ones' complement both are zero
	}
	binary.BigEndian.PutUint16(p.Frame[at:], sum)
	p.Offload = Offload{}
	return nil
}

// checkPartial says whether the marks of a partial checksum lie inside the frame.
func (p *Packet) checkPartial() error {
	start, offset := int(p.Offload.CsumStart), int(p.Offload.CsumOffset)
	if start < HeaderLen || start+offset+2 > len(p.Frame) {
		return errChecksumRange
	}
	return nil
}

// sumBytes adds b to a ones' complement sum of 64-bit words. Big-endian words make the result folded to 16 bits
// the sum of RFC 1071; an odd last byte counts as the upper half of its word.
func sumBytes(sum uint64, b []byte) uint64 {
	var carry uint64
	for len(b) >= 32 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(last[:]), carry)
	}
	sum, carry = bits.Add64(sum, 0, carry)
	return sum + carry
}

// fold reduces a sum to 16 bits.
func fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum)
}

// replace16 returns the folded ones' complement sum with one of its words exchanged (RFC 1624, on the sum itself
// and not on its complement).
func replace16(sum, old, new uint16) uint16 {
	return fold(uint64(sum) + uint64(^old) + uint64(new))
}
