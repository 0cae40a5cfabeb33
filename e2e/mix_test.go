package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// Frames of all kinds at once, at full speed, between guests and underlays of all sizes: mixer (e2e/mixer) sends them and
// checks every byte with hashes of its own, since kernels here believe checksums that nobody has verified.

// pairSizes are the MTUs of two VMs and of the hosts they are on.
type pairSizes struct{ guest, underlay int }

// mixShort is what continuous integration runs; an underlay below 1280 bytes has no udp.
func mixShort() map[string][]pairSizes {
	return map[string][]pairSizes{"some": {{1500, 1500}, {9000, 1280}, {576, 9000}, {1500, 1200}}}
}

// mixLong is every guest on every underlay.
func mixLong() map[string][]pairSizes {
	labs := map[string][]pairSizes{}
	for _, underlay := range []int{1200, 1280, 1400, 1500, 9000} {
		for _, guest := range []int{576, 1280, 1500, 4000, 9000} {
			name := fmt.Sprintf("underlay %d", underlay)
			labs[name] = append(labs[name], pairSizes{guest, underlay})
		}
	}
	return labs
}

// TestFramesOfAllKinds: nothing is corrupted, nothing comes twice, and every kind comes, whatever the MTUs are. E2E_LONG=1 takes
// 10 minutes (make soak-frames).
func TestFramesOfAllKinds(t *testing.T) {
	needs(t, "iperf3")
	labs, each := mixShort(), 3*time.Second
	if os.Getenv("E2E_LONG") != "" {
		labs, each = mixLong(), 24*time.Second
	}
	program := buildMixer(t)
	for name, pairs := range labs {
		t.Run(name, func(t *testing.T) {
			w := start(t, mixSpec(pairs))
			for i, p := range pairs {
				t.Run(fmt.Sprintf("guests %d on %d", p.guest, p.underlay), func(t *testing.T) {
					w := &world{T: t, Lab: w.Lab, Daemons: w.Daemons}
					m := mixing{world: w, program: program, vms: [2]string{fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)}, mtu: p.guest, during: each}
					if i%2 == 1 {
						m.direct()
					}
					m.carrier(p.underlay)
					m.run()
				})
			}
		})
	}
}

// mixSpec is a lab with a pair of VMs, each on a host of its own, for every pair of sizes.
func mixSpec(pairs []pairSizes) string {
	var hosts, vms strings.Builder
	for i, p := range pairs {
		for j, side := range []string{"a", "b"} {
			fmt.Fprintf(&hosts, "  - {name: host-%s%d, site: cloud, mtu: %d}\n", side, i, p.underlay)
			fmt.Fprintf(&vms, "  - {name: %s%d, host: host-%s%d, mtu: %d, mac: \"52:54:00:00:%02x:%02x\"}\n", side, i, side, i, p.guest, i, j)
		}
	}
	return "sites:\n  - name: cloud\nhosts:\n  - {name: proxy, site: cloud, mtu: 9000}\n" + hosts.String() + "vms:\n" + vms.String() + "overlay: {proxy: proxy}\n"
}

// buildMixer makes one static binary that runs in the lab and in guests.
func buildMixer(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "mixer")
	cmd := exec.Command("go", "build", "-o", program, "./mixer")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the mixer: %v\n%s", err, out)
	}
	return program
}

// mixing is one run between two VMs.
type mixing struct {
	*world
	program string
	vms     [2]string
	mtu     int
	during  time.Duration
}

// direct makes a link between the two hosts, and rules that take the VMs' frames over it.
func (m *mixing) direct() {
	m.Helper()
	mac := [2]string{m.mac(0), m.mac(1)}
	m.vnet("host-"+m.vms[0], "link", "add", "host-"+m.vms[1])
	for _, i := range []int{1, 0} {
		here, there := m.vms[i], m.vms[1-i]
		m.vnet("host-"+here, "rule", "add", fmt.Sprintf("from link:host-%s src %s dst %s to port:%s", there, mac[1-i], mac[i], here))
		m.vnet("host-"+here, "rule", "add", fmt.Sprintf("from port:%s src %s dst %s to link:host-%s", here, mac[i], mac[1-i], there))
	}
}

func (m *mixing) mac(i int) string {
	vm, _ := m.Spec().VM(m.vms[i])
	return vm.MAC.String()
}

// carrier checks that links over an underlay of this MTU use udp, or tcp and say why.
func (m *mixing) carrier(underlay int) {
	m.Helper()
	for _, vm := range m.vms {
		for _, l := range ask[linksReply](m.world, "host-"+vm, "links").Links {
			switch {
			case underlay >= 1280 && l.Carrier != "CARRIER_UDP":
				m.Errorf("the link of host-%s to %s uses %s (%s)", vm, l.Name, l.Carrier, l.CarrierWhy)
			case underlay < 1280 && (l.Carrier != "CARRIER_TCP" || l.CarrierWhy == ""):
				m.Errorf("the link of host-%s to %s over an underlay of %d uses %s, because %q", vm, l.Name, underlay, l.Carrier, l.CarrierWhy)
			}
		}
	}
}

type linksReply struct {
	Links []struct {
		Name, Carrier, CarrierWhy string
		MTUBytes                  int `json:"mtuBytes"`
	}
}

// mixReport is what a mixer prints.
type mixReport struct {
	Sent     map[string]int
	Received map[string]struct {
		Good, Wrong, Twice int
		Bytes              int64
	}
	Wrong   []string
	Trouble string
}

// run mixes, beside iperf3, and judges.
func (m *mixing) run() {
	m.Helper()
	server := m.spawn(m.vms[1], lab.CmdOptions{}, "iperf3", "-s", "-1")
	var said [2]output
	var procs [2]*lab.Proc
	for i := range 2 {
		procs[i] = m.spawn(m.vms[i], lab.CmdOptions{Stdout: &said[i], Stderr: &said[i]}, append([]string{m.program}, m.args(i)...)...)
	}
	client := m.spawn(m.vms[0], lab.CmdOptions{}, "iperf3", "-c", m.Address(m.vms[1]).String(), "-P", "2", "-t", fmt.Sprint(int(m.during.Seconds())), "--connect-timeout", "5000")
	var reports [2]mixReport
	for i := range 2 {
		if exit, err := procs[i].Wait(); err != nil || !exit.Success() {
			m.Fatalf("the mixer in %s: %v, %v, %s", m.vms[i], exit, err, said[i].String())
		}
		reports[i] = readMix(m.T, said[i].String())
	}
	client.Stop(time.Second)
	server.Stop(time.Second)
	judgeMix(m.T, m.vms, reports)
}

func (m *mixing) args(i int) []string {
	args := []string{
		"--mtu", fmt.Sprint(m.mtu), "--for", m.during.String(), "--peer-mac", m.mac(1 - i),
		"--peer4", m.Address(m.vms[1-i]).String(),
	}
	if m.mtu >= 1280 { // IPv6's least (RFC 8200 §5)
		args = append(args, "--own6", m.address6(i)+"/64", "--peer6", m.address6(1-i))
	}
	return args
}

// address6 is an IPv6 address that no other VM has.
func (m *mixing) address6(i int) string {
	b := m.Address(m.vms[i]).As4()
	return fmt.Sprintf("fd80::%d:%d", b[2], b[3])
}

// readMix finds the report in what a mixer said: its last line.
func readMix(t *testing.T, text string) (r mixReport) {
	t.Helper()
	for _, line := range slices.Backward(strings.Split(text, "\n")) {
		if strings.HasPrefix(line, `{"sent"`) {
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("the mixer said %q: %v", line, err)
			}
			return r
		}
	}
	t.Fatalf("the mixer made no report: %s", text)
	return r
}

// judgeMix says what came, and fails where something was damaged, came twice, or never came.
func judgeMix(t *testing.T, names [2]string, reports [2]mixReport) {
	t.Helper()
	for i, r := range reports {
		if r.Trouble != "" {
			t.Errorf("the mixer in %s had trouble: %s", names[i], r.Trouble)
		}
		for _, what := range r.Wrong {
			t.Errorf("%s got something damaged: %s", names[i], what)
		}
		var packets, bytes, sent int64
		for kind, n := range reports[1-i].Sent {
			a := r.Received[kind]
			if a.Wrong > 0 || a.Twice > 0 || n > 0 && a.Good == 0 {
				t.Errorf("%s got of %d %q %d whole, %d damaged, %d twice", names[i], n, kind, a.Good, a.Wrong, a.Twice)
			}
			if strings.HasPrefix(kind, "tcp") && !strings.Contains(kind, ",") {
				bytes += a.Bytes
			} else {
				packets, sent = packets+int64(a.Good), sent+int64(n)
			}
		}
		if kinds := len(reports[1-i].Sent); kinds < 20 {
			t.Errorf("%s sent %d kinds only", names[1-i], kinds)
		}
		t.Logf("%s got %d of %d packets of %d kinds and %.1f MB over TCP, all whole", names[i], packets, sent, len(reports[1-i].Sent), float64(bytes)/1e6)
	}
}
