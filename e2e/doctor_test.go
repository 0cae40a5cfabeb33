package e2e

import (
	"regexp"
	"strings"
	"testing"
)

// planted is one fault that a lab can have: the commands that make it, as the host's root, and what the doctor must find.
// How it is with tokens, names, clocks and look-ups is in cmd/vnet's own tests.
type planted struct {
	name  string
	shell string // "$DOCTOR" stands for the command
	finds string
	says  string // what to do
}

func faults() []planted {
	return []planted{
		{"udp blocked", `nft add table inet f && nft add chain inet f o '{ type filter hook output priority 0; }' && nft add rule inet f o udp dport 4747 drop; $DOCTOR; nft delete table inet f`,
			`fault +udp +\S+ answers over tcp, not over udp`, `let udp through to the Proxy's port`},
		{"mtu black hole", `nft add table inet f && nft add chain inet f o '{ type filter hook output priority 0; }' && nft add rule inet f o udp dport 4747 meta length gt 1400 drop; $DOCTOR; nft delete table inet f`,
			`fault +mtu +datagrams of 13[67]\d bytes reach the Proxy, those of 1472 vanish`, `let ICMP "fragmentation needed"`},
		{"port in use", `nc -l -u -p 4747 >/dev/null </dev/null & sleep 0.3; $DOCTOR; kill $!`,
			`fault +port +udp port 4747 is taken`, `ss -lpn 'sport = :4747'`},
		{"no /dev/net/tun", `unshare -m sh -c "mount -t tmpfs none /dev/net && $DOCTOR"`,
			`fault +tun +there is no /dev/net/tun`, `modprobe tun`},
		{"no capability", `setpriv --bounding-set -net_admin,-net_raw $DOCTOR`,
			`fault +privileges +this process lacks CAP_NET_ADMIN \(for --tap\) and CAP_NET_RAW`, `run as root`},
		{"full disk", `mkdir -p /tmp/full && mount -t tmpfs -o size=64k none /tmp/full && head -c 60000 /dev/zero >/tmp/full/x; $DOCTOR --state /tmp/full/state; umount /tmp/full`,
			`fault +disk +/tmp/full has \d+ kB left`, `free some space there`},
		{"the Proxy unreachable", `ip route add blackhole 192.168.1.0/24; $DOCTOR; ip route del blackhole 192.168.1.0/24`,
			`fault +proxy +the Proxy cannot be reached at any of`, `see whether the Proxy runs`},
	}
}

// The doctor finds what was planted, and nothing where nothing was.
func TestDoctor(t *testing.T) {
	patient(t)
	needs(t, "ip", "nft", "nc", "setpriv", "unshare")
	w := startLab(t, twoMachines)
	token := w.proxyAtHome("home", "--name", "home")
	doctor := func(shell string) string {
		line := strings.ReplaceAll(shell, "$DOCTOR", "/tmp/vnet doctor "+token)
		return w.run("cloud", "sh", "-c", line+"; true")
	}
	binary := w.read(program)
	w.put("cloud", "/tmp/vnet", binary)
	if out := doctor("$DOCTOR"); strings.Contains(out, "fault") || !regexp.MustCompile(`ok +udp +\S+ answers over udp, also to datagrams of 1472 bytes`).MatchString(out) {
		t.Fatalf("without a fault the doctor says:\n%s", out)
	}
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			out := doctor(f.shell)
			if !regexp.MustCompile(f.finds).MatchString(out) || !strings.Contains(out, f.says) {
				t.Errorf("the doctor does not find it, or does not say what to do:\n%s", out)
			}
			if n := strings.Count(out, "fault"); n != 1 {
				t.Errorf("one fault was planted, %d found:\n%s", n, out)
			}
		})
	}
}
