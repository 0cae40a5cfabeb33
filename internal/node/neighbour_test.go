package node

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
)

// arp is an ARP frame of the IPv4-over-Ethernet form, with tags if any.
func arp(kind uint16, from ether.MAC, sender, target string, tags ...byte) ether.Frame {
	f := append(ether.Frame{255, 255, 255, 255, 255, 255}, from[:]...)
	f = append(append(f, tags...), 0x08, 0x06, 0, 1, 8, 0, 6, 4, byte(kind>>8), byte(kind))
	f = append(append(f, from[:]...), netip.MustParseAddr(sender).AsSlice()...)
	return append(append(f, make([]byte, 6)...), netip.MustParseAddr(target).AsSlice()...)
}

// solicit is a neighbour solicitation; advert makes it an advertisement.
func solicit(from ether.MAC, sender, target string) ether.Frame {
	to := netip.MustParseAddr("ff02::1").As16()
	f := append(ether.Frame{0x33, 0x33, 0, 0, 0, 1}, from[:]...)
	f = append(f, 0x86, 0xdd)
	b := make([]byte, 72)
	b[0], b[6], b[7], b[40] = 0x60, icmpv6, 255, neighbourSolicit
	binary.BigEndian.PutUint16(b[4:], 32)
	src, dst := netip.MustParseAddr(sender).As16(), netip.MustParseAddr(target).As16()
	copy(b[8:], src[:])
	copy(b[24:], to[:])
	copy(b[48:], dst[:])
	return append(f, b...)
}

func advert(f ether.Frame) ether.Frame {
	f[14+40] = neighbourAdvert
	return f
}

func TestParseNeighbour(t *testing.T) {
	none := netip.Addr{}
	ip := netip.MustParseAddr
	rarp := append(ether.Frame{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 0x80, 0x35}, make([]byte, 28)...)
	unicast := advert(solicit(mac(1), "fe80::1", "fe80::9"))
	unicast[14+24] = 0xfe
	for _, row := range []struct {
		name string
		f    ether.Frame
		want neighbour
		ok   bool
	}{
		{"who has", arp(arpRequest, mac(1), "10.0.0.1", "10.0.0.2"), neighbour{ip("10.0.0.1"), ip("10.0.0.2"), true, false}, true},
		{"in a VLAN", arp(arpRequest, mac(1), "10.0.0.1", "10.0.0.2", 0x81, 0, 0, 7), neighbour{ip("10.0.0.1"), ip("10.0.0.2"), true, false}, true},
		{"is at", arp(arpReply, mac(1), "10.0.0.1", "10.0.0.2"), neighbour{ip("10.0.0.1"), ip("10.0.0.2"), false, false}, true},
		{"here I am", arp(arpRequest, mac(1), "10.0.0.1", "10.0.0.1"), neighbour{ip("10.0.0.1"), ip("10.0.0.1"), true, true}, true},
		{"RARP", rarp, neighbour{none, none, false, true}, true},
		{"cut short", arp(arpRequest, mac(1), "10.0.0.1", "10.0.0.2")[:40], neighbour{}, false},
		{"solicitation", solicit(mac(1), "fe80::1", "fe80::2"), neighbour{ip("fe80::1"), ip("fe80::2"), true, false}, true},
		{"advertised to all", advert(solicit(mac(1), "fe80::1", "fe80::9")), neighbour{ip("fe80::9"), ip("fe80::9"), false, true}, true},
		{"advertised to one", unicast, neighbour{ip("fe80::9"), ip("fe80::9"), false, false}, true},
		{"IPv6 cut short", solicit(mac(1), "fe80::1", "fe80::2")[:70], neighbour{}, false},
		{"something else", frame(mac(1), mac(2)).Frame, neighbour{}, false},
	} {
		got, ok := parseNeighbour(row.f)
		if got != row.want || ok != row.ok {
			t.Errorf("%s: %+v, %v", row.name, got, ok)
		}
	}
}

func TestAnswerNeighbour(t *testing.T) {
	reply, ok := answerNeighbour(arp(arpRequest, mac(1), "10.0.0.1", "10.0.0.2", 0x81, 0, 0, 7), mac(2))
	talk, parsed := parseNeighbour(reply)
	if !ok || !parsed || talk.request || talk.sender.String() != "10.0.0.2" || talk.target.String() != "10.0.0.1" ||
		reply.Dst() != mac(1) || reply.Src() != mac(2) || !bytes.Equal(reply[18+8:18+14], reply[6:12]) || !bytes.Equal(reply[12:16], []byte{0x81, 0, 0, 7}) {
		t.Errorf("ARP: %x", reply)
	}
	reply, ok = answerNeighbour(solicit(mac(1), "fe80::1", "fe80::2"), mac(2))
	talk, parsed = parseNeighbour(reply)
	if !ok || !parsed || talk.request || talk.sender.String() != "fe80::2" || talk.gratuitous || reply.Dst() != mac(1) || reply.Src() != mac(2) {
		t.Errorf("ND: %x", reply)
	}
	b := reply[14:]
	sum := binary.BigEndian.Uint16(b[42:])
	b[42], b[43] = 0, 0
	if want := icmpChecksum(b[8:40], b[40:72]); sum != want || sum == 0 {
		t.Errorf("checksum %04x, want %04x", sum, want)
	}
	if _, ok := answerNeighbour(solicit(mac(1), "::", "fe80::2"), mac(2)); ok {
		t.Error("a probe for duplicates was answered")
	}
	if _, ok := answerNeighbour(frame(mac(1), mac(2)).Frame, mac(2)); ok {
		t.Error("something else was answered")
	}
}

// Whatever a guest sends, nothing panics, and what is answered is an answer.
func FuzzNeighbour(f *testing.F) {
	f.Add([]byte(arp(arpRequest, mac(1), "10.0.0.1", "10.0.0.2")))
	f.Add([]byte(arp(arpRequest, mac(1), "10.0.0.1", "10.0.0.2", 0x81, 0, 0, 7, 0x88, 0xa8, 0, 8)))
	f.Add([]byte(solicit(mac(1), "fe80::1", "fe80::2")))
	f.Fuzz(func(t *testing.T, data []byte) {
		frame := ether.Frame(data)
		if !frame.Valid() || !neighbourly(frame) {
			return
		}
		talk, ok := parseNeighbour(frame)
		if !ok || !talk.request {
			return
		}
		reply, ok := answerNeighbour(frame, mac(9))
		if !ok {
			return
		}
		back, ok := parseNeighbour(reply)
		if !ok || back.request || back.sender != talk.target || reply.Dst() != frame.Src() || reply.Src() != mac(9) {
			t.Fatalf("%x\nis answered by\n%x", data, reply)
		}
	})
}

// With the star down a host answers for a VM it has a live path to, and for nobody else.
func TestAnswersFromTheDirectoryWhenTheStarIsDown(t *testing.T) {
	b := newBench(t)
	b.placed(control.Place{MAC: mac(9), Node: "h2", IPs: []netip.Addr{netip.MustParseAddr("10.0.0.9")}})
	b.rules(t, "from port:vm1 src "+mac(1).String()+" dst "+mac(9).String()+" to link:h2")
	question := arp(arpRequest, mac(1), "10.0.0.1", "10.0.0.9")
	b.from(0, ether.Packet{Frame: question})
	if len(b.n.asked) != 1 {
		t.Fatal("the question was not taken")
	}
	q := <-b.n.asked
	b.answer(q) // no live path: nobody answers
	b.byPeer["h2"].current.Store(&link.Link{})
	b.answer(q)
	b.byPeer["h2"].current.Store(nil)
	batch := port.NewBatch(8)
	if err := b.far[0].Read(0, batch); err != nil || len(batch.Packets) != 1 || batch.Packets[0].Frame.Src() != mac(9) {
		t.Errorf("%v, %d answers", err, len(batch.Packets))
	}
	b.starUp = true
	b.publish()
	b.from(0, ether.Packet{Frame: question})
	if len(b.n.asked) != 0 {
		t.Error("with the star up the question is not ours")
	}
}

func TestAddressesAreRememberedWithTheirMAC(t *testing.T) {
	b := newBench(t)
	for i := range maxIPs + 3 {
		b.from(0, ether.Packet{Frame: arp(arpRequest, mac(1), netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}).String(), "10.0.0.99")})
		b.learn(time.Now(), <-b.n.seen)
	}
	if ips := b.local[mac(1)].ips; len(ips) != maxIPs || ips[0].String() != "10.0.0.4" {
		t.Errorf("%v", ips)
	}
	b.from(0, ether.Packet{Frame: arp(arpRequest, mac(1), "10.0.0.1", "10.0.0.1")})
	b.drain()
	if !b.announce[mac(1)].Gratuitous {
		t.Error("that it said where it is was not passed on")
	}
}
