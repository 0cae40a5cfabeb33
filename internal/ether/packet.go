package ether

import (
	"encoding/binary"
	"fmt"
)

// OffloadLen is the length of the legacy virtio_net_hdr in bytes (without num_buffers).
const OffloadLen = 10

// Flags and types of Offload (VIRTIO 1.2 §5.1.6).
const (
	NeedsChecksum uint8 = 1 // CsumStart and CsumOffset say where a checksum is still to be finished
	DataValid     uint8 = 2 // the sender has verified the checksum

	GSONone  uint8 = 0
	GSOTCPv4 uint8 = 1
	GSOTCPv6 uint8 = 4
	GSOUDP   uint8 = 5    // UDP_L4: every piece is a datagram of its own
	gsoECN   uint8 = 0x80 // the TCP segment carries CWR
)

// Offload is what the sender of a frame left undone, as virtio_net_hdr has it (VIRTIO 1.2 §5.1.6).
// The zero value: nothing.
type Offload struct {
	Flags      uint8
	GSOType    uint8
	HdrLen     uint16 // bytes of all headers; a hint which only Check makes true
	GSOSize    uint16 // bytes of payload in each piece
	CsumStart  uint16 // from where the checksum is summed, bytes from the start of the frame
	CsumOffset uint16 // where it goes, bytes from CsumStart
}

// ParseOffload reads the header from the front of b.
func ParseOffload(b []byte) (Offload, error) {
	if len(b) < OffloadLen {
		return Offload{}, fmt.Errorf("cannot read offload marks: %d bytes, want %d", len(b), OffloadLen)
	}
	return Offload{
		Flags:      b[0],
		GSOType:    b[1],
		HdrLen:     binary.LittleEndian.Uint16(b[2:]),
		GSOSize:    binary.LittleEndian.Uint16(b[4:]),
		CsumStart:  binary.LittleEndian.Uint16(b[6:]),
		CsumOffset: binary.LittleEndian.Uint16(b[8:]),
	}, nil
}

// Put writes the header to the front of b, which must hold OffloadLen bytes.
func (o Offload) Put(b []byte) {
	_ = b[OffloadLen-1]
	b[0], b[1] = o.Flags, o.GSOType
	binary.LittleEndian.PutUint16(b[2:], o.HdrLen)
	binary.LittleEndian.PutUint16(b[4:], o.GSOSize)
	binary.LittleEndian.PutUint16(b[6:], o.CsumStart)
	binary.LittleEndian.PutUint16(b[8:], o.CsumOffset)
}

// Segmented reports whether the frame is a super-frame, to be cut before it meets a wire.
func (o Offload) Segmented() bool { return o.Type() != GSONone }

// Type returns GSONone, or which GSO type the super-frame has.
func (o Offload) Type() uint8 { return o.GSOType &^ gsoECN }

// Partial reports whether a checksum is still to be finished.
func (o Offload) Partial() bool { return o.Flags&NeedsChecksum != 0 }

// Packet is a frame, or a super-frame which stands for several, as it crosses a node. Its bytes belong to whoever
// read it, and are valid until that reader reads again.
type Packet struct {
	Frame   Frame
	Offload Offload
	Hops    uint8 // overlay links crossed so far
}

// Frames returns how many Ethernet frames the packet stands for, cut at its own GSOSize: 1 or more.
func (p *Packet) Frames() int {
	n, _ := p.cut()
	return n
}

// WireBytes returns how many bytes these frames have together, each with its own headers.
func (p *Packet) WireBytes() int {
	n, header := p.cut()
	return len(p.Frame) + (n-1)*header
}

// PieceLen returns how many bytes the longest of these frames has.
func (p *Packet) PieceLen() int {
	n, header := p.cut()
	if n == 1 {
		return len(p.Frame)
	}
	return header + int(p.Offload.GSOSize)
}

// cut returns the number of pieces and the bytes of headers in each. A packet whose marks lie counts as one.
func (p *Packet) cut() (pieces, header int) {
	if !p.Offload.Segmented() || p.Offload.GSOSize == 0 {
		return 1, 0
	}
	h, ok := p.Frame.headers()
	if !ok {
		return 1, 0
	}
	size, payload := int(p.Offload.GSOSize), len(p.Frame)-h.payload
	return max(1, (payload+size-1)/size), h.payload
}
