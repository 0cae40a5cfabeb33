package ether

import (
	"testing"

	"pgregory.net/rapid"
)

func TestParseMAC(t *testing.T) {
	good := map[string]MAC{
		"02:00:00:00:00:0a": {2, 0, 0, 0, 0, 10},
		"AA-BB-CC-dd-ee-ff": {0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff},
	}
	for text, want := range good {
		if got, err := ParseMAC(text); err != nil || got != want {
			t.Errorf("ParseMAC(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "02:00:00:00:00", "02:00:00:00:00:0g", "02:00-00:00:00:01", "020000000001", "02 00 00 00 00 01", "02:00:00:00:00:001"} {
		if _, err := ParseMAC(text); err == nil {
			t.Errorf("ParseMAC(%q) gives no error", text)
		}
	}
}

func FuzzParseMAC(f *testing.F) {
	f.Add("02:00:00:00:00:01")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMAC(text)
		if err != nil {
			return
		}
		if back, err := ParseMAC(m.String()); err != nil || back != m {
			t.Fatalf("%q: %v becomes %v, %v", text, m, back, err)
		}
	})
}

func TestMACText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac"))
		text, err := m.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back MAC
		if err := back.UnmarshalText(text); err != nil || back != m {
			t.Fatalf("%s becomes %v, %v", text, back, err)
		}
	})
}

func TestMACKinds(t *testing.T) {
	rows := []struct {
		text                   string
		group, linkLocal, zero bool
	}{
		{"00:00:00:00:00:00", false, false, true},
		{"02:00:00:00:00:01", false, false, false},
		{"ff:ff:ff:ff:ff:ff", true, false, false},
		{"01:80:c2:00:00:00", true, true, false},
		{"01:80:c2:00:00:0f", true, true, false},
		{"01:80:c2:00:00:10", true, false, false},
	}
	for _, row := range rows {
		m, err := ParseMAC(row.text)
		if err != nil {
			t.Fatal(err)
		}
		if m.IsGroup() != row.group || m.IsLinkLocal() != row.linkLocal || m.IsZero() != row.zero {
			t.Errorf("%s: group %v, link-local %v, zero %v", m, m.IsGroup(), m.IsLinkLocal(), m.IsZero())
		}
	}
}

func TestFrameViews(t *testing.T) {
	rows := []struct {
		name       string
		p          Packet
		kind       uint16
		l3         int
		bare, dhcp bool
	}{
		{"tcp", shape{payload: []byte{1}}.build([]byte{1}, 0, 0, 0), TypeIPv4, 14, false, false},
		{"tcp acknowledgement", shape{}.build(nil, 0, 0, 0x10), TypeIPv4, 14, true, false},
		{"tcp acknowledgement, tagged twice, padded", pad(shape{tags: []uint16{TypeQinQ, TypeVLAN}}.build(nil, 0, 0, 0x10)), TypeIPv4, 22, true, false},
		{"tcp6 acknowledgement with options", shape{v6: true, options: 8}.build(nil, 0, 0, 0x10), TypeIPv6, 14, true, false},
		{"udp", shape{udp: true}.build([]byte{1}, 0, 0, 0), TypeIPv4, 14, false, false},
		{"dhcp", toPort(shape{udp: true}.build([]byte{1}, 0, 0, 0), 67), TypeIPv4, 14, false, true},
		{"empty udp", shape{udp: true}.build(nil, 0, 0, 0), TypeIPv4, 14, false, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			f := row.p.Frame
			if f.Dst() != (MAC{2, 0, 0, 0, 0, 1}) || f.Src() != (MAC{2, 0, 0, 0, 0, 2}) {
				t.Errorf("from %v to %v", f.Src(), f.Dst())
			}
			if f.EtherType() != row.kind || f.L3() != row.l3 {
				t.Errorf("type %#x at %d, want %#x at %d", f.EtherType(), f.L3(), row.kind, row.l3)
			}
			if f.Bare() != row.bare || f.DHCP() != row.dhcp {
				t.Errorf("bare %v, dhcp %v", f.Bare(), f.DHCP())
			}
		})
	}
}

func pad(p Packet) Packet {
	p.Frame = append(p.Frame, 0, 0, 0, 0)
	return p
}

func toPort(p Packet, port byte) Packet {
	p.Frame[36], p.Frame[37] = 0, port
	return p
}
