package node

import "sync/atomic"

// Drop says why a frame ended inside this node, beyond the reasons that the
// forwarding table and the links give of their own.
type Drop uint8

// The reasons a node has for dropping a frame.
const (
	DropRunt       Drop = iota // shorter than an Ethernet header
	DropBadOffload             // its offload marks contradict its bytes
	DropPortFull               // the port took no more
	DropLinkDown               // the link lost its session between decision and send
	DropReflection             // a group frame of ours that the LAN sent back
	DropBlocked                // the port is blocked: a loop runs through the LAN
	DropOwnProbe               // a loop probe: consumed, never forwarded
	DropNoPorts                // flooded where nobody else listens
	DropTrace                  // a trace probe at the end of its way: no port gets it
	DropUnsealed               // in the clear, and must not be
	DropNoKey                  // it must be sealed, and there is no key yet
	DropUnopened               // sealed, but not with a key that is held here; or altered, or a copy
	DropForeign                // its sender is not among those that the user lets in at the port
	DropStorm                  // the port, or a host, floods more than it may
	DropSpoof                  // ARP or neighbour discovery in the name of another's address, where the user wants that dropped
	numDrops
)

func (d Drop) String() string {
	switch d {
	case DropRunt:
		return "runt"
	case DropBadOffload:
		return "bad offload marks"
	case DropPortFull:
		return "port full"
	case DropLinkDown:
		return "link down"
	case DropReflection:
		return "reflection"
	case DropBlocked:
		return "port blocked"
	case DropOwnProbe:
		return "loop probe"
	case DropNoPorts:
		return "nobody to flood to"
	case DropUnsealed:
		return "not sealed"
	case DropNoKey:
		return "no key to seal with"
	case DropUnopened:
		return "seal broken"
	case DropTrace:
		return "trace probe"
	case DropForeign:
		return "address not let in"
	case DropStorm:
		return "storm"
	case DropSpoof:
		return "spoofed address"
	}
	return "unknown"
}

// maxReasons bounds how many reasons a forwarding verdict can have.
const maxReasons = 32

// cell is a counter with one writer. Adding costs a plain load and store;
// readers see a value that was true a moment ago.
type cell struct{ v atomic.Uint64 }

func (c *cell) add(n uint64)  { c.v.Store(c.v.Load() + n) }
func (c *cell) value() uint64 { return c.v.Load() }

// counts are what one worker did, in frames (a super-frame counts as the
// frames it stands for). Only its worker writes; anybody reads.
type counts struct {
	edgeIn, edgeOut cell // frames from and to local ports
	linkIn, linkOut cell // frames from and to links
	copies          cell // extra frames made by flooding
	edgeInBytes     cell
	edgeOutBytes    cell
	reasons         [maxReasons]cell // drops decided by the table, by forward.Reason
	drops           [numDrops]cell   // drops of the node itself
	_               [64]byte         // keeps the next worker's counters off this cache line
}

// Totals is the node's account: what came in, what went out, what ended here.
// Conservation says EdgeIn + LinkIn + Copies =
// EdgeOut + LinkOut + the drops, in frames.
type Totals struct {
	EdgeIn, EdgeOut, LinkIn, LinkOut, Copies uint64
	EdgeInBytes, EdgeOutBytes                uint64
	Drops                                    map[string]uint64
}

// Remainder is the number of frames this node cannot account for. It is zero
// whenever no frame is on its way through the node.
func (t Totals) Remainder() int64 {
	in := t.EdgeIn + t.LinkIn + t.Copies
	out := t.EdgeOut + t.LinkOut
	for _, n := range t.Drops {
		out += n
	}
	return int64(in - out)
}

func (c *counts) addTo(t *Totals) {
	t.EdgeIn += c.edgeIn.value()
	t.EdgeOut += c.edgeOut.value()
	t.LinkIn += c.linkIn.value()
	t.LinkOut += c.linkOut.value()
	t.Copies += c.copies.value()
	t.EdgeInBytes += c.edgeInBytes.value()
	t.EdgeOutBytes += c.edgeOutBytes.value()
	for r := range c.reasons {
		if n := c.reasons[r].value(); n > 0 {
			t.Drops[reasonText(r)] += n
		}
	}
	for d := range c.drops {
		if n := c.drops[d].value(); n > 0 {
			t.Drops[Drop(d).String()] += n
		}
	}
}
