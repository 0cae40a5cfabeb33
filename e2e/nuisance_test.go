package e2e

import (
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// A nuisance is a guest that floods: a new source address with each frame, tags within tags, jumbo frames, runts, and ARP in the
// name of another.

// beNuisance: nuisance --spoof ADDRESS --frames N. It sends N frames as fast as eth0 takes them and prints how long that took.
func beNuisance(args []string) int {
	fs := flag.NewFlagSet("nuisance", flag.ContinueOnError)
	spoof := fs.String("spoof", "", "address that is another's")
	frames := fs.Int("frames", 1_000_000, "how many")
	if fs.Parse(args) != nil {
		return 2
	}
	eth0, err := net.InterfaceByName("eth0")
	if err != nil {
		return complain(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return complain(err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: eth0.Index, Halen: 6}
	began, sent := time.Now(), 0
	buf := make([]byte, 14+eth0.MTU)
	for i := range *frames {
		if unix.Sendto(fd, ugly(buf, i, net.ParseIP(*spoof).To4()), 0, to) == nil {
			sent++ // else the interface was full, or would not take so short a frame
		}
	}
	fmt.Printf("%d %d %d\n", *frames, sent, time.Since(began).Microseconds())
	return 0
}

// ugly is one frame of a nuisance.
func ugly(buf []byte, i int, spoof net.IP) []byte {
	clear(buf[:80])
	copy(buf, []byte{255, 255, 255, 255, 255, 255, 2, 0x66})
	binary.BigEndian.PutUint32(buf[8:], uint32(i))
	switch i % 6 {
	case 0: // to an address that nobody has, as long as may be
		copy(buf, []byte{2, 0x77, 1, 2, 3, 4})
		return buf
	case 1: // tags within tags
		for at := 12; at < 60; at += 4 {
			copy(buf[at:], []byte{0x81, 0, 0, 7})
		}
	case 2: // ARP: the spoofed address is at a new MAC
		copy(buf[12:], []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 2})
		copy(buf[22:], buf[6:12])
		copy(buf[28:], spoof)
	case 3: // hardly a frame
		return buf[:14+i%7]
	}
	return buf[:60]
}

const badNeighbour = `
name: neighbours
sites: [{name: cloud}, {name: home}]
hosts:
  - {name: host1, site: cloud}
  - {name: host2, site: cloud}
  - {name: proxy, site: home}
vms:
  - {name: bad, host: host1, mac: "52:54:00:00:00:01"}
  - {name: good, host: host1, mac: "52:54:00:00:00:02"}
  - {name: far, host: host2, mac: "52:54:00:00:00:03"}
paths: [{between: [cloud, home], delay: 2.5ms}]
overlay: {proxy: proxy}
`

const (
	// nodeMemory and proxyMemory are what daemons are stated to stay below, resident (docs/hardening.md).
	nodeMemory, proxyMemory = 128 << 20, 512 << 20
	// nuisanceShare is the share of others' packets that must arrive beside the flood, on a machine of which it takes a core.
	nuisanceShare = 0.9
)

// A guest floods a million frames, each from another address. The traffic of another guest of the same host goes on, and the
// daemons' memory stays below what is stated. Spoofed ARP is noticed, and dropped where that is asked for; a port that is limited
// to its guest's address lets nothing of the flood in.
func TestANuisance(t *testing.T) {
	w := start(t, badNeighbour)
	w.vnet("proxy", "adapt", "observe")
	far := w.Address("far").String()
	flood := func(frames, spoof string) func() {
		return func() {
			out := &output{}
			<-w.spawn("bad", lab.CmdOptions{Name: "nuisance", Stdout: out}, lab.Self, "--frames", frames, "--spoof", spoof).Done()
			t.Logf("frames made, frames taken by the interface, µs: %s", strings.TrimSpace(out.String()))
		}
	}
	quiet := w.beside(func() { time.Sleep(2 * time.Second) })
	for _, round := range []struct {
		what, frames, spoof string
		limit               []string
		refused             string
	}{
		{"with the defaults", "1000000", "10.99.99.99", nil, "storm"},
		{"spoofed ARP is dropped", "200000", far, []string{"port", "spoof", "bad", "drop"}, "spoofed address"},
		{"limited to its own address", "200000", far, []string{"port", "macs", "bad", "52:54:00:00:00:01"}, "address not let in"},
	} {
		if round.limit != nil {
			w.vnet("proxy", append(round.limit, "--node", "host1")...)
		}
		ratio := w.beside(flood(round.frames, round.spoof)) / quiet
		t.Logf("%s: beside the flood %.4f of another guest's packets arrive, of what arrives without", round.what, ratio)
		if ratio < nuisanceShare {
			t.Errorf("%s: beside the flood %.4f of another guest's packets arrive", round.what, ratio)
		}
		if out := w.vnet("host1", "ports"); !strings.Contains(out, round.refused) {
			t.Errorf("%s: nothing is refused for %q:\n%s", round.what, round.refused, out)
		}
	}
	for host, limit := range map[string]int{"host1": nodeMemory, "host2": nodeMemory, "proxy": proxyMemory} {
		peak := w.peak(host)
		if t.Logf("the daemon of %s took %d MiB at the most", host, peak>>20); peak > limit {
			t.Errorf("the daemon of %s took %d MiB, at most %d are stated", host, peak>>20, limit>>20)
		}
	}
	if out := w.vnet("host1", "status"); !strings.Contains(out, "more than 1024 MACs send there") || !strings.Contains(out, "says that "+far+" is its address") {
		t.Errorf("status does not speak of it:\n%s", out)
	}
}

// beside has a guest send to another host's while something happens, and returns the share that arrived.
func (w *world) beside(happens func()) float64 {
	w.Helper()
	s := w.stream("good", "far", 4000, "--bytes", "1000")
	happens()
	sent, r := s.stop()
	if sent == 0 {
		w.Fatal("nothing was sent")
	}
	return float64(r.Received) / float64(sent)
}

// peak is the most memory that a host's daemon has taken, in bytes.
func (w *world) peak(host string) int {
	w.Helper()
	status := w.run(host, "cat", fmt.Sprintf("/proc/%d/status", w.Proc(host).PID))
	for line := range strings.Lines(status) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "VmHWM:" {
			kB, _ := strconv.Atoi(words[1])
			return kB << 10
		}
	}
	w.Fatalf("the daemon of %s has no memory:\n%s", host, status)
	return 0
}
