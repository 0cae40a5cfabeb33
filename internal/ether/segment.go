package ether

import (
	"encoding/binary"
	"errors"
)

// Segmenter cuts super-frames. It belongs to one worker; its zero value is ready.
//
// It moves no payload: each piece gets its headers written into the original bytes, right in front of its share
// of the payload, over the end of the share before. What was there is put back before the next piece, so the
// super-frame is whole again when Segment returns.
type Segmenter struct {
	// Headroom is how many bytes emit may write in front of a piece: at most 64.
	Headroom int
	// Groups has UDP super-frames cut into as few smaller ones as maxFrame allows, of as many datagrams each, instead of into
	// single datagrams. A datagram that is too long by itself is alone in its piece.
	Groups bool
	// Apart has pieces that maxFrame holds, but the first and tiny ones, handed out in two Parts: the Frame of such a packet is nil.
	Apart bool

	lead  [maxHeadroom + maxHeader]byte // behind maxHeadroom the headers of the super-frame; from the second piece on those of one in the middle
	count counting                      // in these
	parts Parts
	saved [maxHeadroom + maxHeader]byte // what the headers of the current piece, and its headroom, lie over
	piece Packet
	roomy []byte // the piece with its headroom; nil where it has none
}

// maxHeadroom bounds Headroom, in bytes.
const maxHeadroom = 64

// Roomy returns, while emit runs, the present piece with Headroom bytes in front of it; nil where there is nothing in front,
// as before the first. Emit may change those bytes.
func (s *Segmenter) Roomy() []byte { return s.roomy }

// Parts is a piece that lies in two places.
type Parts struct {
	Lead  []byte // its headers, with Headroom bytes in front
	Text  []byte // its payload, with as many bytes in front as Lead has, which belong to others
	Again bool   // the headroom is as emit left it, for a piece that was as long as this one and had the same marks
}

// Parts returns, while emit runs, those of the present piece if it is Apart, else none.
func (s *Segmenter) Parts() *Parts { return &s.parts }

const (
	tcpFIN, tcpPSH, tcpCWR = 0x01, 0x08, 0x80 // flags in the byte at offset 13 of the header (RFC 9293 §3.1)
	lastFlags              = tcpFIN | tcpPSH  // these may only be on the last piece
)

var errNoRoom = errors.New("cannot segment: the headers leave no room for payload in a frame of this size")

// segment is one super-frame being cut.
type segment struct {
	headers
	marks   Offload // of each piece
	size    int     // bytes of payload in each piece but the last
	frames  int     // how many frames each piece but the last stands for: more than 1 in groups of datagrams only
	total   int     // bytes of payload
	pseudo  uint16  // the pseudo-header's sum, for the length of the super-frame
	length  uint16  // that length: the transport header and the whole payload
	id      uint16  // IPv4 identification of the first piece
	seq     uint32  // TCP sequence number of the first piece
	flags   byte    // TCP flags of the super-frame
	ipFixed uint64  // the IPv4 header's sum without length, identification and checksum
}

// Segment cuts the packet into frames and hands each to emit. TCP is cut finer than the packet's GSOSize where
// maxFrame (bytes from the destination address on; 0 = no limit) asks for it. UDP is cut at GSOSize or, in Groups,
// multiples of it only, since its cuts are the sender's datagrams, and a packet that is no super-frame is handed on
// whole; either may therefore be larger than maxFrame.
//
// Every piece stands alone, with its checksum partial. A piece is a view into the packet's own bytes: it lives
// until emit returns, the bytes around it belong to its neighbours, and emit may change only the piece itself
// and only its headers, and its Headroom. No other goroutine may use the packet meanwhile.
func (s *Segmenter) Segment(p *Packet, maxFrame int, emit func(*Packet)) error {
	s.roomy, s.parts = nil, Parts{}
	if !p.Offload.Segmented() {
		s.piece = *p
		emit(&s.piece)
		return nil
	}
	h, err := p.superFrame()
	if err != nil {
		return err
	}
	c := segment{headers: h, size: int(p.Offload.GSOSize), frames: 1, total: len(p.Frame) - h.payload}
	switch {
	case maxFrame <= 0:
	case h.proto == protoTCP:
		c.size = min(c.size, maxFrame-h.payload)
		if c.size <= 0 {
			return errNoRoom
		}
	case s.Groups:
		c.frames = groups(c.total, c.size, maxFrame-h.payload)
		c.size *= c.frames
	}
	c.read(p.Frame)
	copy(s.lead[maxHeadroom:], p.Frame[:h.payload])
	c.marks = Offload{
		Flags:      NeedsChecksum,
		HdrLen:     uint16(h.payload),
		CsumStart:  uint16(h.l4),
		CsumOffset: uint16(h.checksumOffset()),
	}
	s.emit(p, &c, 0, 0, emit)
	apart := s.Apart && h.payload+c.size <= maxFrame && c.size >= s.Headroom
	for at, n := c.size, 1; at < c.total; at, n = at+c.size, n+1 {
		if apart {
			s.emitApart(p, &c, at, n, emit)
		} else {
			s.emit(p, &c, at, n, emit)
		}
	}
	s.parts = Parts{}
	return nil
}

// groups returns how many datagrams of size bytes to have in each piece, so that none has more than room bytes of payload and
// all have about as many: pieces that are equally long travel better.
func groups(total, size, room int) int {
	most := room / size
	if most < 2 {
		return 1
	}
	datagrams := (total + size - 1) / size
	pieces := (datagrams + most - 1) / most
	return max(1, (datagrams+pieces-1)/max(1, pieces))
}

// emit hands out piece n, whose payload starts at bytes into the payload.
func (s *Segmenter) emit(p *Packet, c *segment, at, n int, emit func(*Packet)) {
	size := min(c.size, c.total-at)
	end, room := at+c.payload+size, 0
	if n > 0 && at >= s.Headroom {
		room = s.Headroom
	}
	roomy := []byte(p.Frame[at-room : end : end])
	saved := s.saved[:copy(s.saved[:room+c.payload], roomy)]
	frame := Frame(roomy[room:])
	if room > 0 {
		s.roomy = roomy
	}
	header := s.lead[maxHeadroom:][:c.payload]
	if n == 0 {
		copy(frame, header)
		c.write(frame, at, n, size)
	} else {
		s.proceed(c, header, at, n, size)
		copy(frame, header)
	}
	s.piece.Frame, s.piece.Hops = frame, p.Hops
	s.piece.Offload = c.marksOf(p, size)
	emit(&s.piece)
	copy(roomy, saved)
	s.roomy = nil
}

// emitApart is emit for a piece behind the first, which stays where it is.
func (s *Segmenter) emitApart(p *Packet, c *segment, at, n int, emit func(*Packet)) {
	size := min(c.size, c.total-at)
	s.proceed(c, s.lead[maxHeadroom:][:c.payload], at, n, size)
	s.parts.Again = n > 1 && at+size < c.total
	if !s.parts.Again {
		s.parts.Lead = s.lead[maxHeadroom-s.Headroom : maxHeadroom+c.payload]
		s.piece = Packet{Hops: p.Hops, Offload: c.marksOf(p, size)}
	}
	s.parts.Text = p.Frame[at-s.Headroom : at+c.payload+size]
	emit(&s.piece)
}

// proceed makes the headers of the piece before, but the first, those of piece n.
func (s *Segmenter) proceed(c *segment, header []byte, at, n, size int) {
	if n > 1 && at+size < c.total {
		s.count.write(header, c.id+uint16(n*c.frames), c.seq+uint32(at))
		return
	}
	c.write(header, at, n, size)
	if n == 1 {
		s.count = c.countingOf(header, c.ipFixed)
	}
}

// marksOf returns the marks of a piece with size bytes of payload.
func (c *segment) marksOf(p *Packet, size int) Offload {
	marks := c.marks
	if c.frames > 1 && size > int(p.Offload.GSOSize) {
		marks.GSOType, marks.GSOSize = GSOUDP, p.Offload.GSOSize
	}
	return marks
}

// read takes from the headers of the super-frame what its pieces are computed from.
func (c *segment) read(f Frame) {
	c.pseudo = binary.BigEndian.Uint16(f[c.l4+c.checksumOffset():])
	c.length = uint16(len(f) - c.l4)
	if c.proto == protoTCP {
		c.seq = binary.BigEndian.Uint32(f[c.l4+4:])
		c.flags = f[c.l4+13]
	}
	if !c.v6 {
		c.id = binary.BigEndian.Uint16(f[c.l3+4:])
		sum := sumBytes(0, f[c.l3:c.l3+2])
		sum = sumBytes(sum, f[c.l3+6:c.l3+10])
		c.ipFixed = uint64(fold(sumBytes(sum, f[c.l3+12:c.l4])))
	}
}

// write makes the headers at the front of f those of piece n, with size bytes of payload from at on.
func (c *segment) write(f Frame, at, n, size int) {
	if c.v6 {
		binary.BigEndian.PutUint16(f[c.l3+4:], uint16(c.payload+size-c.l3-ipv6HeaderLen))
	} else {
		length, id := uint16(c.payload+size-c.l3), c.id+uint16(n*c.frames)
		binary.BigEndian.PutUint16(f[c.l3+2:], length)
		binary.BigEndian.PutUint16(f[c.l3+4:], id)
		binary.BigEndian.PutUint16(f[c.l3+10:], ^fold(c.ipFixed+uint64(length)+uint64(id)))
	}
	length := uint16(c.payload - c.l4 + size)
	if c.proto == protoUDP {
		binary.BigEndian.PutUint16(f[c.l4+4:], length)
	} else {
		binary.BigEndian.PutUint32(f[c.l4+4:], c.seq+uint32(at))
		flags := c.flags
		if at > 0 {
			flags &^= tcpCWR // once, or the receiver takes it for as many answers
		}
		if at+size < c.total {
			flags &^= lastFlags
		}
		f[c.l4+13] = flags
	}
	binary.BigEndian.PutUint16(f[c.l4+c.checksumOffset():], replace16(c.pseudo, c.length, length))
}
