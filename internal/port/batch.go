package port

import "github.com/virtuoso-vnet/virtuoso/internal/ether"

const (
	// maxFrame is the longest frame read in bytes: an IP packet of 65,535 behind an Ethernet header with tags.
	maxFrame = 65535 + ether.HeaderLen + 2*ether.TagLen
	// frameAt is where a frame starts in its space: room for the marks in front of it, and the IP header behind
	// an untagged Ethernet header is aligned to 16.
	frameAt = 18
	// spaceLen is what must be free to read one more packet.
	spaceLen = frameAt + maxFrame
	// alignment of spaces in bytes: a cache line.
	alignment = 64
	// superFrames is how many of the longest frames fit a batch. More does not pay: each is 40 datagrams, and
	// the batch should stay in a core's cache.
	superFrames = 4
)

// Batch is memory for packets to be read into, used again and again. It belongs to one worker.
type Batch struct {
	// Packets are what the last Read brought; they are views into the batch. The reader may change them and
	// their bytes.
	Packets []ether.Packet

	arena []byte
	used  int // bytes of arena taken
	max   int // packets
}

// NewBatch returns a batch for up to n packets, fewer where they are super-frames.
func NewBatch(n int) *Batch {
	n = max(n, 1)
	return &Batch{
		Packets: make([]ether.Packet, 0, n),
		arena:   make([]byte, superFrames*(spaceLen+alignment)),
		max:     n,
	}
}

func (b *Batch) reset() {
	b.Packets = b.Packets[:0]
	b.used = 0
}

// room reports whether one more packet of any size fits.
func (b *Batch) room() bool {
	return len(b.Packets) < b.max && len(b.arena)-b.used >= spaceLen
}

// space returns free memory for one packet: its frame belongs at frameAt, marks right in front of it.
func (b *Batch) space() []byte { return b.arena[b.used : b.used+spaceLen] }

// take adds a packet whose frame lies in the current space.
func (b *Batch) take(p ether.Packet, end int) {
	b.Packets = append(b.Packets, p)
	b.used = min((b.used+end+alignment-1)/alignment*alignment, len(b.arena))
}

// copyIn adds a copy of the packet.
func (b *Batch) copyIn(p *ether.Packet) {
	space := b.space()
	end := frameAt + copy(space[frameAt:], p.Frame)
	c := *p
	c.Frame = space[frameAt:end:end]
	b.take(c, end)
}
