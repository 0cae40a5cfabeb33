package ether

import (
	"bytes"
	"fmt"
)

// MAC is an Ethernet address in transmission order.
type MAC [6]byte

// macTextLen is the length of aa:bb:cc:dd:ee:ff.
const macTextLen = 17

// ParseMAC reads aa:bb:cc:dd:ee:ff, or the same with dashes, in either case.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	if len(s) != macTextLen || (s[2] != ':' && s[2] != '-') {
		return m, macError(s)
	}
	for i := range m {
		at := 3 * i
		if i > 0 && s[at-1] != s[2] {
			return MAC{}, macError(s)
		}
		high, low := hexDigit(s[at]), hexDigit(s[at+1])
		if high > 15 || low > 15 {
			return MAC{}, macError(s)
		}
		m[i] = high<<4 | low
	}
	return m, nil
}

func macError(s string) error {
	return fmt.Errorf("cannot read %q as a MAC address: write it like 02:00:00:00:00:01", s)
}

// hexDigit returns the value of c, or 255 where c is no hexadecimal digit.
func hexDigit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// String returns the address as aa:bb:cc:dd:ee:ff.
func (m MAC) String() string { return string(m.appendText(make([]byte, 0, macTextLen))) }

func (m MAC) appendText(b []byte) []byte {
	const digits = "0123456789abcdef"
	for i, v := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, digits[v>>4], digits[v&15])
	}
	return b
}

// MarshalText writes the address as String does, so that it can be a key in JSON and YAML.
func (m MAC) MarshalText() ([]byte, error) { return m.appendText(nil), nil }

// UnmarshalText reads what ParseMAC reads.
func (m *MAC) UnmarshalText(b []byte) error {
	parsed, err := ParseMAC(string(b))
	if err != nil {
		return err
	}
	*m = parsed
	return nil
}

// IsGroup reports whether the address names more than one station (multicast or broadcast).
func (m MAC) IsGroup() bool { return m[0]&1 != 0 }

// IsZero reports whether the address is 00:00:00:00:00:00, which no station may have.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsLinkLocal reports whether the address is one of 01:80:c2:00:00:00 to 0f, which no bridge may forward
// (IEEE 802.1Q-2018 table 8-1: spanning tree, LACP, LLDP).
func (m MAC) IsLinkLocal() bool {
	return m[0] == 0x01 && m[1] == 0x80 && m[2] == 0xc2 && m[3] == 0 && m[4] == 0 && m[5]&0xf0 == 0
}

// Compare orders addresses byte by byte: -1, 0 or +1.
func (m MAC) Compare(other MAC) int { return bytes.Compare(m[:], other[:]) }
