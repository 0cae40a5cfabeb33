package node

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// datagram is a UDP multicast frame; the source does not number its IP packets.
func datagram(payload string, checksum uint16) ether.Frame {
	f := append(ether.Frame{1, 0, 0x5e, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0}, make([]byte, 28)...)
	f = append(f, payload...)
	f[14], f[14+9] = 0x45, protoUDP
	binary.BigEndian.PutUint16(f[14+2:], uint16(28+len(payload)))
	binary.BigEndian.PutUint16(f[14+26:], checksum)
	return f
}

func padded(f ether.Frame) ether.Frame {
	return append(append(ether.Frame{}, f...), make([]byte, 60-len(f))...)
}

func TestEchoes(t *testing.T) {
	arp := append(ether.Frame{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6}, make([]byte, 28)...)
	strange := ether.Frame{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 0x12, 0x34, 7}
	ago, soon := time.Second, 100*time.Millisecond
	rows := []struct {
		what        string
		sent, heard ether.Frame
		after       time.Duration
		same        bool // heard at the port it was sent to
		echo        bool
	}{
		{"a datagram whose checksum was finished", datagram("x", 0xffff), datagram("x", 0x1234), ago, true, true},
		{"a datagram that was padded", datagram("x", 1), padded(datagram("x", 1)), ago, true, true},
		{"another datagram of the same length", datagram("x", 1), datagram("y", 1), ago, true, false},
		{"a padded ARP", arp, padded(arp), ago, true, true},
		{"padding of an unknown kind", strange, padded(strange), ago, true, true},
		{"after 2 s", arp, arp, 2 * time.Second, true, false},
		{"through another port at once", arp, arp, soon, false, true},
		{"a machine of another LAN asks again", arp, arp, ago, false, false},
		{"a runt", arp[:14], arp[:14], ago, true, true},
	}
	for _, row := range rows {
		t.Run(row.what, func(t *testing.T) {
			shared, now := sharedEchoes(), time.Unix(1_700_000_000, 0)
			at, other := shared.newEchoes(), shared.newEchoes()
			at.sent(now, row.sent)
			if !row.same {
				at = other
			}
			if got := at.heard(now.Add(row.after), row.heard); got != row.echo {
				t.Errorf("taken for an echo: %v, want %v", got, row.echo)
			}
		})
	}
}
