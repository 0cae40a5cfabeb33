package lab_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

func TestMain(m *testing.M) {
	lab.MaybeChild()
	// The binary plays parts: an owner of a lab that will be killed, and programs that run inside one.
	switch os.Args[0] {
	case "owner":
		owner()
	case "sink":
		sink()
	case "source":
		source()
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, file string) *lab.Lab {
	t.Helper()
	if err := lab.Preflight(); err != nil {
		t.Skip(err)
	}
	spec, err := lab.Parse([]byte(file), "test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Start(t.Context(), spec, lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

const twoSites = `
name: two
sites:
  - {name: campus}
  - {name: home}
hosts:
  - {name: h1, site: campus, rate: 100Mbit}
  - {name: h2, site: campus, rate: 100Mbit}
  - {name: far, site: home}
vms:
  - {name: vm1, host: h1}
paths:
  - {between: [campus, home], delay: 10ms}
`

// ping measures the smallest round trip with our own probe, for no ping program is promised.
func rtt(t *testing.T, l *lab.Lab, from, to string) time.Duration {
	t.Helper()
	server, err := l.Command(to, []string{lab.Self}, lab.CmdOptions{Name: "sink"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop(0)
	var out bytes.Buffer
	client, err := l.Command(from, []string{lab.Self}, lab.CmdOptions{
		Name: "source", Stdout: &out, Env: []string{"PROBE=echo", "TO=" + l.Address(to).String()}})
	if err != nil {
		t.Fatal(err)
	}
	if end, err := client.Wait(); err != nil || !end.Success() {
		t.Fatal(end, err, out.String())
	}
	d, err := time.ParseDuration(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sink echoes datagrams.
func sink() {
	c, err := net.ListenPacket("udp", ":7000")
	if err != nil {
		panic(err)
	}
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			panic(err)
		}
		if n < 1000 {
			_, _ = c.WriteTo(buf[:n], from)
		}
	}
}

// floodPackets of 1,400 bytes take 0.92 s at 100 Mbit/s, with their headers.
const floodPackets = 8000

// source prints the least round trip of 20 datagrams, or how long it took to send many large ones.
func source() {
	c, err := net.Dial("udp", os.Getenv("TO")+":7000")
	if err != nil {
		panic(err)
	}
	if os.Getenv("PROBE") == "flood" {
		b, began := make([]byte, 1400), time.Now()
		for range floodPackets {
			_, _ = c.Write(b) // an error: the sink does not listen yet
		}
		fmt.Println(time.Since(began))
		os.Exit(0)
	}
	least := time.Hour
	buf := make([]byte, 64)
	for got := 0; got < 20; {
		began := time.Now()
		_, _ = c.Write([]byte{byte(got)})
		_ = c.SetReadDeadline(began.Add(time.Second))
		if n, err := c.Read(buf); err == nil && n == 1 {
			least = min(least, time.Since(began))
			got++
		}
	}
	fmt.Println(least)
	os.Exit(0)
}

func TestHostsReachEachOther(t *testing.T) {
	l := start(t, twoSites)
	near, far := rtt(t, l, "h1", "h2"), rtt(t, l, "h1", "far")
	t.Logf("round trip inside the site %v, between sites %v (path: 2 x 10 ms)", near, far)
	if near > 10*time.Millisecond {
		t.Errorf("inside a site: %v", near)
	}
	if far < 20*time.Millisecond || far > 100*time.Millisecond {
		t.Errorf("between sites: %v, want at least 20 ms", far)
	}
	c, err := l.Paths()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Paths {
		if p.Packets < 20 {
			t.Errorf("%s to %s: %d packets, want at least 20", p.From, p.To, p.Packets)
		}
	}
}

func TestExec(t *testing.T) {
	l := start(t, twoSites)
	var out bytes.Buffer
	p, err := l.Command("vm1", []string{"sh", "-c", "cat; hostname; echo $$; exit 7"}, lab.CmdOptions{
		Stdin: strings.NewReader("hello\n"), Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	if end, err := p.Wait(); err != nil || end.Code != 7 {
		t.Errorf("ended with %v, %v; want code 7", end, err)
	}
	if want := fmt.Sprintf("hello\nvm1\n%d\n", p.PID); out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	p, err = l.Command("vm1", []string{"sleep", "1000"}, lab.CmdOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if end, err := p.Wait(); err != nil || end.Signal != syscall.SIGKILL {
		t.Errorf("ended with %v, %v; want SIGKILL", end, err)
	}
	for _, wrong := range []struct {
		in   string
		argv []string
		want string
	}{
		{"nowhere", []string{"true"}, `no host, VM or site "nowhere"`},
		{"vm1", []string{"no-such-program"}, "no-such-program"},
	} {
		if _, err := l.Command(wrong.in, wrong.argv, lab.CmdOptions{}); err == nil || !strings.Contains(err.Error(), wrong.want) {
			t.Errorf("%v in %s: %v, want %q", wrong.argv, wrong.in, err, wrong.want)
		}
	}
	got, err := l.Output(t.Context(), "h1", "sh", "-c", "ls -A /tmp /var/lib/misc | grep -v :; grep far /etc/hosts; cat /etc/hostname")
	if err != nil || !strings.HasSuffix(got, "10.64.2.10 far\nh1\n") {
		t.Errorf("h1 says %q, %v", got, err)
	}
}

func TestServedLab(t *testing.T) {
	l := start(t, strings.Replace(twoSites, "name: two", "name: served", 1))
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx) }()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var end lab.Exit
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 500 { // until it listens
		<-tick.C
		if end, err = lab.Exec(t.Context(), "served", "vm1", []string{"sh", "-c", "echo from $(hostname); exit 3"}, [3]*os.File{r, w, w}, nil); err == nil {
			break
		}
	}
	w.Close()
	buf := make([]byte, 100)
	n, _ := r.Read(buf)
	r.Close()
	if end.Code != 3 || err != nil || string(buf[:n]) != "from vm1\n" {
		t.Errorf("printed %q and ended with %v, %v", buf[:n], end, err)
	}
	if all, err := lab.Running(); err != nil || !strings.Contains(strings.Join(all, " "), "served") {
		t.Errorf("running: %v, %v", all, err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
