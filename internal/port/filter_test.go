package port

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// The frames of recipe go from 10.9.0.1 port 999 to 10.9.0.2, or from fd00:0:…:1 to fd00:…:2.
func TestUnderlayFilter(t *testing.T) {
	from4, to4 := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")
	from6, to6 := netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
	other := netip.MustParseAddr("10.9.0.3")
	at := netip.AddrPortFrom
	udp := recipe{udp: true, dstPort: 7777, payload: 30}
	udp6 := recipe{udp: true, v6: true, dstPort: 7777, payload: 30}
	tagged, twice, tagged6 := udp, udp, udp6
	tagged.tags = []uint16{ether.TypeVLAN}
	twice.tags = []uint16{ether.TypeQinQ, ether.TypeVLAN}
	tagged6.tags = []uint16{ether.TypeVLAN}
	tcp := recipe{dstPort: 7777, payload: 30}
	rows := []struct {
		name    string
		ours    []netip.AddrPort
		frame   ether.Frame
		dropped bool
	}{
		{"none of ours", nil, udp.packet().Frame, false},
		{"to us", []netip.AddrPort{at(to4, 7777)}, udp.packet().Frame, true},
		{"to us, mapped", []netip.AddrPort{at(netip.AddrFrom16(to4.As16()), 7777)}, udp.packet().Frame, true},
		{"to us, tcp", []netip.AddrPort{at(to4, 7777)}, tcp.packet().Frame, true},
		{"from us", []netip.AddrPort{at(from4, 999)}, udp.packet().Frame, true},
		{"second of three", []netip.AddrPort{at(other, 7777), at(to4, 7777), at(other, 1)}, udp.packet().Frame, true},
		{"other port", []netip.AddrPort{at(to4, 7778), at(from4, 7777)}, udp.packet().Frame, false},
		{"other address", []netip.AddrPort{at(other, 7777), at(from4, 7777)}, udp.packet().Frame, false},
		{"tagged", []netip.AddrPort{at(to4, 7777)}, tagged.packet().Frame, true},
		{"tagged twice", []netip.AddrPort{at(to4, 7777)}, twice.packet().Frame, true},
		{"IPv6 to us", []netip.AddrPort{at(to6, 7777)}, udp6.packet().Frame, true},
		{"IPv6 from us, tagged", []netip.AddrPort{at(from6, 999)}, tagged6.packet().Frame, true},
		{"IPv6 other", []netip.AddrPort{at(from6, 7777), at(to4, 7777)}, udp6.packet().Frame, false},
		{"ICMP", []netip.AddrPort{at(to4, 7777)}, withProtocol(udp.packet().Frame, 1), false},
		{"later fragment", []netip.AddrPort{at(to4, 7777)}, laterFragment(udp.packet().Frame), false},
		{"ARP", []netip.AddrPort{at(to4, 7777)}, arp(), false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			program, err := underlayFilter(row.ours)
			if err != nil {
				t.Fatal(err)
			}
			vm, err := bpf.NewVM(program)
			if err != nil {
				t.Fatal(err)
			}
			kept, err := vm.Run(row.frame)
			if err != nil {
				t.Fatal(err)
			}
			if dropped := kept == 0; dropped != row.dropped {
				t.Fatalf("dropped: %v, want %v", dropped, row.dropped)
			}
		})
	}
}

func TestFilterOfTooManyEndpointsIsRefused(t *testing.T) {
	ours := make([]netip.AddrPort, 1000)
	for i := range ours {
		ours[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 7777)
	}
	if _, err := underlayFilter(ours); err == nil {
		t.Fatal("no error")
	}
}

func withProtocol(f ether.Frame, proto byte) ether.Frame {
	f[14+9] = proto
	return f
}

func laterFragment(f ether.Frame) ether.Frame {
	f[14+7] = 1
	return f
}

func arp() ether.Frame {
	f := make(ether.Frame, 60)
	binary.BigEndian.PutUint16(f[12:], ether.TypeARP)
	return f
}
