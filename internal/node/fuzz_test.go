package node

import (
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/forward"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// FuzzGuest has a guest send anything, at a port with every limit, and a peer deliver it over a link: each frame is accounted for.
func FuzzGuest(f *testing.F) {
	f.Add([]byte(arp(arpReply, mac(1), "10.0.0.1", "10.0.0.2")), uint8(0))
	f.Add([]byte(arp(arpRequest, mac(1), "10.0.0.1", "10.0.0.2", 0x81, 0, 0, 7, 0x88, 0xa8, 0, 8)), uint8(1))
	f.Add([]byte(solicit(mac(1), "fe80::1", "fe80::2")), uint8(2))
	f.Add([]byte(frame(mac(1), everybody()).Frame), uint8(255))
	f.Add([]byte{1, 2, 3}, uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, marks uint8) {
		b := newBench(t)
		b.limited([]overlay.PortLimit{{Port: "vm1", DropSpoof: true, Storm: 10}, {Port: "vm2", MACs: []ether.MAC{mac(1)}}})
		b.publish()
		p := ether.Packet{Frame: ether.Frame(data)}
		if marks&1 != 0 {
			p.Offload = ether.Offload{Flags: ether.NeedsChecksum, CsumStart: uint16(marks), CsumOffset: uint16(marks >> 2)}
		}
		if marks&2 != 0 {
			p.Offload.GSOType, p.Offload.GSOSize, p.Offload.HdrLen = ether.GSOTCPv4, uint16(marks)<<3, uint16(marks)
		}
		if err := p.Check(); err != nil { // a port checks what its kernel or guest says before it hands it over
			p.Offload = ether.Offload{}
		}
		for i := range b.n.ports {
			b.from(i, p)
			b.drain()
		}
		b.w.run(forward.LinkSide(1), []ether.Packet{{Frame: ether.Frame(data), Offload: ether.Offload{Flags: marks, HdrLen: uint16(marks), GSOSize: 1}}})
		b.age(time.Now())
		b.got(t)
		if r := b.n.Totals().Remainder(); r != 0 {
			t.Fatalf("%d frames are not accounted for: %+v", r, b.n.Totals())
		}
	})
}

// FuzzCache has a node start from a cache that somebody wrote: it starts, with what makes sense of it.
func FuzzCache(f *testing.F) {
	f.Add("rules", `[{"id":3,"rule":"from any src any dst none to link:h2","origin":"user"}]`)
	f.Add("links", `[{"Peer":"h2","PeerAddrs":["10.0.0.3:1"],"Dial":true}]`)
	f.Add("places", `[{"MAC":[2,0,0,0,0,1],"Node":"h2","Port":"p","IPs":["10.0.0.1"]}]`)
	f.Add("limits", `[{"port":"vm1","macs":["02:00:00:00:00:01"],"storm":3}]`)
	f.Add("proxy", `{"name":"proxy","generation":3,"probe_key":"AAAA"}`)
	f.Add("ciphers", `{"h2":"trusted"}`)
	f.Add("extra ports", `{"h2":3,"h3":-1}`)
	f.Fuzz(func(t *testing.T, key, value string) {
		b := newBench(t)
		if err := b.n.cfg.Store.Put(cacheBucket, key, []byte(value)); err != nil {
			return
		}
		if err := newState(b.n).restore(); err != nil {
			t.Fatalf("it does not start: %v", err)
		}
	})
}
