package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

const lossySpec = `
sites:
  - name: cloud
  - name: home
hosts:
  - {name: proxy, site: home}
  - {name: host-a0, site: cloud}
  - {name: host-b0, site: home}
  - {name: host-a1, site: cloud}
  - {name: host-b1, site: home}
vms:
  - {name: a0, host: host-a0, mac: "52:54:00:00:00:00"}
  - {name: b0, host: host-b0, mac: "52:54:00:00:00:01"}
  - {name: a1, host: host-a1, mtu: 9000, mac: "52:54:00:00:01:00"}
  - {name: b1, host: host-b1, mtu: 9000, mac: "52:54:00:00:01:01"}
paths: [{between: [cloud, home], delay: 3ms, jitter: 2ms, loss: 1%, reorder: true}]
overlay: {proxy: proxy}
`

// TestALossyPath: over a path that loses 1 % and reorders, what comes is what the path delivered, and never a damaged frame, also
// where each frame is cut into pieces.
func TestALossyPath(t *testing.T) {
	needs(t, "iperf3")
	program := buildMixer(t)
	w := start(t, lossySpec)
	during := 2 * time.Second
	if os.Getenv("E2E_LONG") != "" {
		during = 60 * time.Second
	}
	w.run("a0", "ping", "-c", "2", "-W", "2", w.Address("b0").String())
	before := w.pathDrops()
	s := w.stream("a0", "b0", 500, "--bytes", "1300") // one in a datagram: what is lost can be compared
	time.Sleep(during)
	sent, r := s.stop()
	dropped := w.pathDrops() - before
	t.Logf("of %d packets %d came, %d of them late; the path lost %d, ours and others", sent, r.Received, r.Reordered, dropped)
	if lost := sent - r.Received; lost > dropped || r.Duplicates > 0 || r.Reordered == 0 || lost == 0 {
		t.Errorf("the path lost %d packets; of ours are missing %d; %d came twice and %d late", dropped, lost, r.Duplicates, r.Reordered)
	}
	for i, mtu := range []int{1500, 9000} {
		t.Run(fmt.Sprintf("guests of %d", mtu), func(t *testing.T) {
			m := mixing{
				world: &world{T: t, Lab: w.Lab, Daemons: w.Daemons}, program: program,
				vms: [2]string{fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)}, mtu: mtu, during: during,
			}
			m.run()
		})
	}
}

// pathDrops is how many packets the paths have lost so far.
func (w *world) pathDrops() int {
	w.Helper()
	paths, err := w.Paths()
	if err != nil {
		w.Fatal(err)
	}
	n := 0
	for _, p := range paths.Paths {
		for _, d := range p.Drops {
			n += int(d)
		}
	}
	return n
}

const loadedSpec = `
sites:
  - name: cloud
hosts:
  - {name: proxy, site: cloud}
  - {name: host-a0, site: cloud}
  - {name: host-b0, site: cloud}
vms:
  - {name: a0, host: host-a0, mac: "52:54:00:00:00:00"}
  - {name: b0, host: host-b0, mac: "52:54:00:00:00:01"}
overlay: {proxy: proxy}
`

// account is what `vnet counters --all` says of the whole overlay.
type account struct {
	Total struct {
		EdgeIn, Copies, Cuts, EdgeOut, WireLost, Duplicates string
		Drops                                               []struct{ Reason, Frames string }
	}
}

// TestRekeysUnderFullLoad: 20 rekeys, at both ends by turns, while TCP sends as fast as it can both ways: every frame is accounted
// for, and none is lost for a reason that a full queue does not have.
func TestRekeysUnderFullLoad(t *testing.T) {
	needs(t, "iperf3")
	w := start(t, loadedSpec)
	m := mixing{world: w, vms: [2]string{"a0", "b0"}}
	m.direct()
	w.run("a0", "ping", "-c", "1", "-W", "2", w.Address("b0").String())
	overflows := w.overflows()
	server := w.spawn("b0", lab.CmdOptions{}, "iperf3", "-s", "-1")
	time.Sleep(200 * time.Millisecond) // until it listens
	var said output
	client := w.spawn("a0", lab.CmdOptions{Stdout: &said}, "iperf3", "-c", w.Address("b0").String(), "-t", "60", "-i", "0.1", "--bidir", "--forceflush")
	time.Sleep(500 * time.Millisecond)
	fresh := 0
	for i := range 20 {
		ends := [2]string{"host-a0", "host-b0"}
		before := w.sessionFrames()
		w.vnet(ends[i%2], "link", "rekey", ends[1-i%2])
		if w.sessionFrames() < before { // a new session counts from nothing
			fresh++
		}
		time.Sleep(200 * time.Millisecond)
	}
	if fresh < 15 { // on a busy machine the new session may have carried more already before it is asked
		t.Errorf("after %d rekeys of 20 only the link had carried less than before", fresh)
	}
	client.Signal(syscall.SIGTERM)
	client.Stop(time.Second)
	server.Stop(time.Second)
	if still := stillIntervals(said.String()); len(still) > 0 {
		t.Errorf("TCP stood still: %s", strings.Join(still, "; "))
	}
	w.conserved(w.overflows() - overflows)
}

// sessionFrames is how many frames the direct link has carried with the keys it has now.
func (w *world) sessionFrames() (n int) {
	w.Helper()
	for _, l := range ask[struct {
		Links []struct{ Name, FramesSent, FramesReceived string }
	}](w, "host-a0", "links").Links {
		if l.Name == "host-b0" {
			for _, text := range []string{l.FramesSent, l.FramesReceived} {
				count, _ := strconv.Atoi(text)
				n += count
			}
			return n
		}
	}
	w.Fatal("host-a0 has no link to host-b0")
	return 0
}

// overflows is how many datagrams the kernels of the hosts threw away for want of room in a socket.
func (w *world) overflows() (n int) {
	w.Helper()
	for _, host := range []string{"proxy", "host-a0", "host-b0"} {
		for _, file := range []string{"/proc/net/snmp", "/proc/net/snmp6"} {
			lines := strings.Split(w.run(host, "cat", file), "\n")
			n += udpErrors(lines)
		}
	}
	return n
}

// udpErrors finds RcvbufErrors and SndbufErrors: in snmp by the column, in snmp6 by the line.
func udpErrors(lines []string) (n int) {
	for i, line := range lines {
		words := strings.Fields(line)
		if len(words) == 2 && (words[0] == "Udp6RcvbufErrors" || words[0] == "Udp6SndbufErrors") {
			count, _ := strconv.Atoi(words[1])
			n += count
		}
		if len(words) > 2 && words[0] == "Udp:" && i > 0 {
			for _, name := range []string{"RcvbufErrors", "SndbufErrors"} {
				if at := slices.Index(strings.Fields(lines[i-1]), name); at > 0 {
					count, _ := strconv.Atoi(words[at])
					n += count
				}
			}
		}
	}
	return n
}

// stillIntervals are the tenths of a second, five in a row, in which iperf3 carried nothing one way.
func stillIntervals(text string) (still []string) {
	rows := map[string]int{}
	for _, line := range strings.Split(text, "\n") {
		if !strings.Contains(line, "sec") || !strings.Contains(line, "bits/sec") || !strings.Contains(line, "[TX-C]") && !strings.Contains(line, "[RX-C]") {
			continue
		}
		way := "[TX-C]"
		if strings.Contains(line, "[RX-C]") {
			way = "[RX-C]"
		}
		if !strings.Contains(line, " 0.00 bits/sec") {
			rows[way] = 0
			continue
		}
		if rows[way]++; rows[way] == 5 {
			still = append(still, strings.TrimSpace(line))
		}
	}
	return still
}

// conserved waits until nothing is under way, and fails when a frame is lost that no full queue explains.
func (w *world) conserved(overflows int) {
	w.Helper()
	var a account
	left := 0
	n := func(s string) int { v, _ := strconv.Atoi(s); return v }
	for range 50 { // nodes tell the wire's losses with their heartbeats
		a = ask[account](w, "proxy", "counters", "--all")
		left = n(a.Total.EdgeIn) + n(a.Total.Copies) + n(a.Total.Cuts) - n(a.Total.EdgeOut) - n(a.Total.WireLost)
		for _, d := range a.Total.Drops {
			left -= n(d.Frames)
		}
		if left == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.Logf("%s frames in, %s out, %s lost on the wire (kernels' sockets overflowed %d times), %s came twice, dropped %v, not accounted for %d",
		a.Total.EdgeIn, a.Total.EdgeOut, a.Total.WireLost, overflows, a.Total.Duplicates, a.Total.Drops, left)
	if left != 0 || n(a.Total.WireLost) > 0 && overflows == 0 || n(a.Total.Duplicates) > 0 {
		w.Errorf("%d frames are not accounted for, %s were lost on the wire while sockets overflowed %d times, %s came twice",
			left, a.Total.WireLost, overflows, a.Total.Duplicates)
	}
	for _, d := range a.Total.Drops {
		if !slices.Contains([]string{"full", "port full", "nowhere to flood"}, d.Reason) && d.Frames != "0" {
			w.Errorf("%s frames were dropped: %s", d.Frames, d.Reason)
		}
	}
}
