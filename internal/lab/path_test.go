package lab_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// flood sends floodPackets as fast as they go, and returns how long that took.
func flood(t *testing.T, l *lab.Lab, from, to string) time.Duration {
	t.Helper()
	server, err := l.Command(to, []string{lab.Self}, lab.CmdOptions{Name: "sink"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop(0)
	var out bytes.Buffer
	client, err := l.Command(from, []string{lab.Self}, lab.CmdOptions{
		Name: "source", Stdout: &out, Env: []string{"PROBE=flood", "TO=" + l.Address(to).String()}})
	if err != nil {
		t.Fatal(err)
	}
	if end, err := client.Wait(); err != nil || !end.Success() {
		t.Fatal(end, err)
	}
	took, err := time.ParseDuration(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	return took
}

func path(t *testing.T, l *lab.Lab, from, to string) lab.PathCounters {
	t.Helper()
	c, err := l.Paths()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Paths {
		if p.From == from && p.To == to {
			return p
		}
	}
	t.Fatalf("no path from %s to %s", from, to)
	return lab.PathCounters{}
}

func TestRatesAreHonoured(t *testing.T) {
	l := start(t, twoSites)
	if err := l.SetPathOneWay("campus", "home", wan.Path{Delay: time.Millisecond, Rate: 10_000_000}); err != nil {
		t.Fatal(err)
	}
	took := flood(t, l, "h1", "far")
	q, err := l.Queues("h1")
	if err != nil {
		t.Fatal(err)
	}
	p := path(t, l, "campus", "home")
	t.Logf("in %v: host queue %+v; path: %d bytes, drops %v", took, q.Up, p.Bytes, p.Drops)
	// 8,000 packets are 0.92 s of 100 Mbit/s, of which a socket buffer of some 100 packets need not be waited
	// for. The machine may be too slow for the rate, but nothing may be faster.
	if took < 700*time.Millisecond || q.Up.Bytes < 1400*(floodPackets-200) {
		t.Errorf("the host sent %d bytes in %v", q.Up.Bytes, took)
	}
	// 50 ms of queue, and as much again until the counters were read, are why half a second is added.
	if most := uint64((took + 500*time.Millisecond).Seconds() * 10e6 / 8); p.Bytes > most {
		t.Errorf("the path carried %d bytes in %v, at most %d fit its rate", p.Bytes, took, most)
	}
	if p.Drops["queue full"] == 0 {
		t.Errorf("drops %v, want the path's queue to be full", p.Drops)
	}
}

func TestCutAndHeal(t *testing.T) {
	l := start(t, twoSites)
	for _, pair := range [][2]string{{"h1", "h2"}, {"campus", "home"}} {
		a, b := pair[0], pair[1]
		from, to := "h1", map[string]string{"h2": "h2", "home": "far"}[b]
		reach := func() bool {
			_, err := l.Output(t.Context(), from, "ping", "-c", "1", "-W", "1", l.Address(to).String())
			return err == nil
		}
		if !reach() {
			t.Skip("no ping program")
		}
		for _, step := range []struct {
			what string
			do   func() error
			want bool
		}{
			{"cut", func() error { return l.Cut(a, b) }, false},
			{"heal", func() error { return l.Heal(a, b) }, true},
			{"cut one way", func() error { return l.CutOneWay(b, a) }, false},
			{"heal again", func() error { return l.Heal(a, b) }, true},
			{"heal twice", func() error { return l.Heal(a, b) }, true},
		} {
			if err := step.do(); err != nil {
				t.Fatalf("%s %v: %v", step.what, pair, err)
			}
			if got := reach(); got != step.want {
				t.Errorf("after %s of %v: reachable %v", step.what, pair, got)
			}
		}
	}
	if p := path(t, l, "campus", "home"); p.Drops["cut"] == 0 {
		t.Errorf("drops %v, want some counted as cut", p.Drops)
	}
}

// watched is the same queue through Go's poller, so that closing it ends who reads; the test closes it.
func watched(t *testing.T, q *os.File) *os.File {
	t.Helper()
	raw, err := q.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	if err := raw.Control(func(own uintptr) { fd, err = syscall.Dup(int(own)) }); err != nil || fd < 0 {
		t.Fatal(err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	again := os.NewFile(uintptr(fd), q.Name())
	t.Cleanup(func() { again.Close() })
	return again
}

// The far side of a VM's interface is the descriptors: what the VM sends can be read there, and the reverse.
func TestTAPQueues(t *testing.T) {
	l := start(t, twoSites+"applications:\n  - {in: vm1, run: [\"true\"]}\n")
	queues := l.TAPFiles("vm1")
	if len(queues) != 2 {
		t.Fatalf("%d queues, want 2", len(queues))
	}
	hello, err := l.Command("vm1", []string{"ping", "-b", "-c", "3", "-i", "0.2", "-W", "1", "10.80.255.255"}, lab.CmdOptions{})
	if err != nil {
		t.Skip(err)
	}
	defer hello.Stop(0)
	// 10 bytes of virtio_net_hdr, then a frame whose source is the VM.
	vm, _ := l.Spec().VM("vm1")
	got := make(chan []byte, 1)
	for _, q := range queues {
		q := watched(t, q)
		go func() {
			buf := make([]byte, 2048)
			for {
				n, err := q.Read(buf)
				if err != nil {
					return // closed at the end
				}
				if n > 44 && binary.BigEndian.Uint16(buf[22:]) == 0x0800 && bytes.Equal(buf[16:22], vm.MAC[:]) {
					select {
					case got <- bytes.Clone(buf[:n]):
					default:
					}
				}
			}
		}()
	}
	select {
	case frame := <-got:
		if src := netip.AddrFrom4([4]byte(frame[36:40])); src != vm.Address.Addr() {
			t.Errorf("frame from %v, want %v", src, vm.Address)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no frame of the VM arrived at its queues")
	}
	apps, err := l.StartApplications(lab.CmdOptions{})
	if err != nil || len(apps) != 1 {
		t.Fatal(apps, err)
	}
	if end, err := apps[0].Wait(); err != nil || !end.Success() {
		t.Error(end, err)
	}
}

// A daemon gets the queues as inherited descriptors, and the interface outlives it.
func TestQueuesAreInherited(t *testing.T) {
	l := start(t, twoSites)
	var out bytes.Buffer
	p, err := l.Command("h1", []string{"sh", "-c", "readlink /proc/self/fd/3 /proc/self/fd/4"}, lab.CmdOptions{
		Stdout: &out, Files: l.TAPFiles("vm1")})
	if err != nil {
		t.Fatal(err)
	}
	if end, err := p.Wait(); err != nil || !end.Success() || strings.Count(out.String(), "/dev/net/tun") != 2 {
		t.Errorf("%v, %v: %q", end, err, out.String())
	}
	if got, err := l.Output(t.Context(), "vm1", "cat", "/sys/class/net/eth0/carrier"); err == nil && got != "1\n" {
		t.Errorf("carrier of the VM's interface is %q after its daemon ended", got)
	}
}

const lan = `
name: lan
sites: [{name: office, subnet: 192.168.7.0/24}, {name: isp}]
hosts:
  - {name: proxy, site: isp, lan: office, bridge: br0}
  - {name: same, site: office, bridge: br0}
  - {name: twice, site: office, lan: office}
  - {name: printer, site: office}
  - {name: blank, site: office, address: none}
paths: [{between: [office, isp], delay: 1ms}]
`

func TestLANs(t *testing.T) {
	l := start(t, lan)
	for _, at := range []struct{ in, sh, want string }{
		{"proxy", "ls /sys/class/net/br0/brif", "eth1\n"},
		{"same", "ls /sys/class/net/br0/brif", "eth0\n"},
		{"twice", "ls -d /sys/class/net/eth*", "/sys/class/net/eth0\n/sys/class/net/eth1\n"},
	} {
		if got, err := l.Output(t.Context(), at.in, "sh", "-c", at.sh); err != nil || got != at.want {
			t.Errorf("%s: %q, %v; want %q", at.in, got, err, at.want)
		}
	}
	for _, from := range []string{"proxy", "same", "twice"} {
		if d := rtt(t, l, from, "printer"); d > time.Second {
			t.Errorf("%s to printer: %v", from, d)
		}
	}
}

func TestAProgramHiddenInTmpRuns(t *testing.T) {
	l := start(t, twoSites)
	at := t.TempDir() + "/hidden"
	from, err := os.Open("/bin/true")
	if err != nil {
		t.Skip(err)
	}
	defer from.Close()
	to, err := os.OpenFile(at, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	to.Close()
	if _, err := l.Output(t.Context(), "h1", at); err != nil {
		t.Error(err)
	}
}
