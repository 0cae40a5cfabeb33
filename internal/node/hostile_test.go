package node

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
)

// guestHeap in bytes is what one hostile guest is stated to add to a node's heap at the most (docs/hardening.md).
const guestHeap = 8 << 20

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// nuisance makes the frames of a hostile guest: each from another address, of all kinds.
type nuisance struct {
	n    uint32
	pkts []ether.Packet
}

func (g *nuisance) batch() []ether.Packet {
	if g.pkts == nil {
		for range 64 {
			g.pkts = append(g.pkts, ether.Packet{Frame: make(ether.Frame, 9018)})
		}
	}
	for i := range g.pkts {
		g.n++
		f := g.pkts[i].Frame[:cap(g.pkts[i].Frame)]
		clear(f[:80])
		copy(f, []byte{255, 255, 255, 255, 255, 255, 2, 0x66})
		binary.BigEndian.PutUint32(f[8:], g.n)
		switch g.n % 8 {
		case 0: // a runt
			f = f[:g.n%14]
		case 1: // a jumbo frame to an address that nobody has
			copy(f, []byte{2, 0x77, 1, 2, 3, 4})
		case 2: // tag in tag in tag, and then nothing
			for at := 12; at < 60; at += 4 {
				copy(f[at:], []byte{0x81, 0, 0, 7})
			}
			f = f[:60]
		case 3: // ARP in the name of whoever it is
			copy(f, arp(arpReply, ether.MAC(f[6:12]), "10.0.0.2", "10.0.0.9"))
			f = f[:60]
		case 4: // neighbour discovery likewise
			copy(f, solicit(ether.MAC(f[6:12]), "fe80::2", "fe80::3"))
			f = f[:86]
		case 5: // to another's address
			two := mac(2)
			copy(f, two[:])
			f = f[:60]
		default:
			f = f[:60]
		}
		g.pkts[i].Frame = f
	}
	return g.pkts
}

// A guest floods a million addresses, tags within tags, jumbo frames, runts and spoofed neighbours. The node's memory stays below
// what is stated, every frame of others arrives, and all are accounted for.
func TestAHostileGuest(t *testing.T) {
	b := newBench(t)
	b.from(1, frame(mac(2), everybody()), ether.Packet{Frame: arp(arpReply, mac(2), "10.0.0.2", "10.0.0.9")})
	b.from(2, frame(mac(3), everybody()))
	b.drain()
	b.got(t)
	batch := port.NewBatch(64)
	arrived := 0
	take := func() { // the guests' ends
		for i, far := range b.far {
			for left := int(b.n.ports[i].out.frames.Swap(0)); left > 0; {
				if err := far.Read(0, batch); err != nil {
					t.Fatal(err)
				}
				left -= len(batch.Packets)
				for _, p := range batch.Packets {
					if i == 2 && p.Frame.Src() == mac(2) {
						arrived++
					}
				}
			}
		}
	}
	before := heap()
	var g nuisance
	const frames = 1_000_000
	sent := 0
	began := time.Now()
	var spent time.Duration
	for g.n < frames {
		pkts := g.batch()
		at := time.Now()
		b.from(0, pkts...)
		spent += time.Since(at)
		if b.drain(); g.n%1024 < 64 {
			b.from(1, frame(mac(2), mac(3)))
			sent++
		}
		take()
	}
	grown := heap() - before
	t.Logf("%d frames in %v, %v each in the worker; the heap grew by %d KiB; learned %d, not learned %d times; drops %v", g.n, time.Since(began),
		spent/frames, grown>>10, len(b.local), b.n.ports[0].gate.strange.Load(), b.n.Totals().Drops)
	if grown > guestHeap {
		t.Errorf("the heap grew by %d bytes, at most %d are stated", grown, guestHeap)
	}
	if len(b.local) > maxPortMACs+2 || len(b.bound.of) > 2*maxPortMACs || len(b.announce) > maxPortMACs+2 {
		t.Errorf("%d residents, %d addresses held, %d to announce", len(b.local), len(b.bound.of), len(b.announce))
	}
	if b.n.Totals().Drops["storm"] == 0 {
		t.Error("the storm is not limited")
	}
	if r := b.n.Totals().Remainder(); r != 0 {
		t.Errorf("%d frames are not accounted for", r)
	}
	if arrived != sent || sent < 900 {
		t.Errorf("of %d frames of another guest %d arrived", sent, arrived)
	}
}
