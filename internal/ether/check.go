package ether

import (
	"errors"
	"fmt"
)

// maxHeader is the most bytes of headers a super-frame may have: Ethernet with two tags, IPv6 with some
// extension headers, TCP with all options, and room to spare. It bounds the scratch of a Segmenter.
const maxHeader = 256

// maxIP is the largest IP packet whose length field can say so, in bytes.
const maxIP = 65535

var (
	errNotFrame = errors.New("it is shorter than an Ethernet header")
	errLength   = errors.New("its IP length is not the length of the frame")
	errNotIP    = errors.New("it is marked as a super-frame, and is no whole TCP segment or UDP datagram")
	errGSOSize  = errors.New("it is marked as a super-frame without the size of its pieces")
	errGSOCsum  = errors.New("it is a super-frame whose checksum is not marked as partial at its transport header")
	errHeader   = fmt.Errorf("it is a super-frame with more than %d bytes of headers", maxHeader)
)

// Check says whether the marks of the packet agree with its bytes, which come from somebody else. It also makes
// the marks canonical: HdrLen is recomputed, and whatever this package does not use is cleared, DataValid
// included, because nobody may vouch for a checksum to others. After an error the packet must not be passed on
// with these marks.
func (p *Packet) Check() error {
	if !p.Frame.Valid() {
		return errNotFrame
	}
	if !p.Offload.Segmented() {
		return p.checkPlain()
	}
	h, err := p.superFrame()
	if err != nil {
		return err
	}
	p.Offload.Flags = NeedsChecksum
	p.Offload.HdrLen = uint16(h.payload)
	return nil
}

func (p *Packet) checkPlain() error {
	if !p.Offload.Partial() {
		p.Offload = Offload{}
		return nil
	}
	if err := p.checkPartial(); err != nil {
		return err
	}
	start, offset := p.Offload.CsumStart, p.Offload.CsumOffset
	p.Offload = Offload{Flags: NeedsChecksum, CsumStart: start, CsumOffset: offset}
	if h, ok := p.Frame.headers(); ok && h.l4 == int(start) {
		p.Offload.HdrLen = uint16(h.payload)
	} else {
		p.Offload.HdrLen = start + offset + 2
	}
	return nil
}

// superFrame finds the headers of a super-frame and says whether its marks are true. A checksum that is not
// marked as partial is refused: each piece would get a fresh one, and so vouch for bytes nobody verified.
func (p *Packet) superFrame() (headers, error) {
	h, ok := p.Frame.headers()
	if !ok {
		return h, errNotIP
	}
	switch kind := p.Offload.Type(); {
	case kind == GSOTCPv4 && h.proto == protoTCP && !h.v6:
	case kind == GSOTCPv6 && h.proto == protoTCP && h.v6:
	case kind == GSOUDP && h.proto == protoUDP:
	default:
		return h, errNotIP
	}
	if p.Offload.GSOSize == 0 {
		return h, errGSOSize
	}
	if h.payload > maxHeader {
		return h, errHeader
	}
	if !p.Offload.Partial() || int(p.Offload.CsumStart) != h.l4 || int(p.Offload.CsumOffset) != h.checksumOffset() {
		return h, errGSOCsum
	}
	if len(p.Frame)-h.l3 > maxIP {
		return h, errLength
	}
	// Some stacks leave the length of a super-frame zero, for whoever cuts it.
	if p.Frame.ipLength(h) != 0 && p.Frame.ipEnd(h) != len(p.Frame) {
		return h, errLength
	}
	return h, nil
}
