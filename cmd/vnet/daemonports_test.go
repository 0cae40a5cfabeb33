package main

import (
	"strings"
	"testing"
)

// What names a port can be written in a description, and what names an interface is a name, before the kernel is asked.
func TestNamesOfPorts(t *testing.T) {
	for text, want := range map[string][2]string{
		"vm1":             {"vm1", "vm1"},
		"office=eth1.100": {"office", "eth1.100"},
		"eth0@2":          {"eth0@2", "eth0@2"},
	} {
		if name, device, err := split(text); name != want[0] || device != want[1] || err != nil {
			t.Errorf("%q: port %q at %q, %v", text, name, device, err)
		}
	}
	for text, want := range map[string]string{
		"":       "it has 1 to 63 characters",
		"a b":    "it is made of letters, digits and - _ . @",
		"x%d":    "give NAME=INTERFACE",
		"vm1=":   `"" is no name of an interface`,
		"a=b=c":  `"b=c" is no name of an interface`,
		"a=b c":  "is no name of an interface",
		"a=vm%d": "is no name of an interface",
	} {
		if _, _, err := split(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestAnnounceSaysWhatToType(t *testing.T) {
	for _, tt := range []struct{ overlay, socket, want string }{
		{"vnet", socketPath("vnet"), "ask it with: vnet status\n"},
		{"lab", socketPath("lab"), "ask it with: vnet status --overlay lab\n"},
		{"lab", "/elsewhere.sock", "ask it with: vnet status --socket /elsewhere.sock\n"},
	} {
		var out strings.Builder
		if err := announce(&out, "host1", tt.overlay, tt.socket); err != nil || !strings.HasSuffix(out.String(), tt.want) {
			t.Errorf("overlay %s at %s: %q, %v", tt.overlay, tt.socket, out.String(), err)
		}
	}
}
