package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// spoken is what a daemon has printed so far.
type spoken struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *spoken) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *spoken) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// proxyAtHome starts a Proxy on a clean machine as its user would, and returns the token in the command that it prints.
func (w *world) proxyAtHome(host string, args ...string) (token string) {
	w.Helper()
	said := &spoken{}
	w.spawn(host, lab.CmdOptions{Name: "vnet", Stdout: said, Stderr: os.Stderr}, append([]string{program, "proxy"}, args...)...)
	command := regexp.MustCompile(`vnet join (vnet1\.\S+)`)
	w.eventually(15*time.Second, "the Proxy prints the next command", func() bool { return command.MatchString(said.String()) })
	return command.FindStringSubmatch(said.String())[1]
}

// A lab's overlay may have a name, by which its daemons would have another port than the lab's tokens say.
func TestALabNamesItsOverlay(t *testing.T) {
	patient(t)
	w := startLab(t, `
name: named
sites: [{name: here}]
hosts: [{name: host1, site: here}, {name: proxy, site: here}]
vms: [{name: vm1, host: host1}]
overlay: {name: office, proxy: proxy}
`)
	if err := w.Daemons.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out := w.run("host1", program, "status", "--overlay", "office"); !regexp.MustCompile(`overlay +office`).MatchString(out) {
		t.Errorf("%s", out)
	}
}

// Two commands make an overlay: the one at home prints the one to type elsewhere, after which the other machine is on the LAN.
func TestTwoCommands(t *testing.T) {
	patient(t)
	needs(t, "ip", "ping")
	w := startLab(t, twoMachines)
	began := time.Now()
	token := w.proxyAtHome("home", "--lan", "eth0")
	w.spawn("cloud", lab.CmdOptions{Name: "vnet"}, program, "join", token)
	w.answers("cloud")
	t.Logf("from nothing to two linked nodes: %v", time.Since(began).Round(10*time.Millisecond))
	w.run("cloud", "ip", "address", "add", "192.168.1.77/32", "dev", "vnet0")
	w.run("cloud", "ip", "route", "add", "192.168.1.20/32", "dev", "vnet0") // and not to the Proxy, or the overlay would run over itself
	w.run("cloud", "ping", "-c", "1", "-w", "10", "192.168.1.20")
	t.Logf("and to an answer of the printer at home: %v", time.Since(began).Round(10*time.Millisecond))

	for file, mode := range map[string]string{"": "700", "ca.pem": "600", "identity.pem": "600", "state.db": "600"} {
		if got := strings.TrimSpace(w.run("home", "stat", "-c", "%a", filepath.Join("/var/lib/vnet/vnet", file))); got != mode {
			t.Errorf("mode of %q in the state directory is %s, want %s", file, got, mode)
		}
	}
	w.run("home", program, "client", "create", "alice", "--role", "read", "--file", "/tmp/alice.pem")
	afar := []string{"--remote", "192.168.1.10:4747", "--identity", "/tmp/alice.pem"}
	if out := w.run("home", append([]string{program, "nodes"}, afar...)...); !strings.Contains(out, "cloud") {
		t.Errorf("asked over the network the Proxy says:\n%s", out)
	}
	if _, err := w.Output(w.Context(), "home", append([]string{program, "token", "create"}, afar...)...); err == nil || !strings.Contains(err.Error(), "alice has the role read, and CreateToken needs admin") {
		t.Errorf("a client that may only look asked for a token: %v", err)
	}
	w.run("home", program, "nodes", "revoke", "client/alice")
	if _, err := w.Output(w.Context(), "home", append([]string{program, "nodes"}, afar...)...); err == nil {
		t.Error("a client that was revoked is served")
	}
	if out := w.run("cloud", program, "join", token); !strings.Contains(out, "already\nits daemon is running") {
		t.Errorf("the same command again says %q", out)
	}
	if out := w.run("cloud", program, "leave"); !strings.Contains(out, "this machine has left overlay vnet") {
		t.Errorf("leaving says %q", out)
	}
	w.run("cloud", "test", "!", "-e", "/var/lib/vnet/vnet")
	w.eventually(5*time.Second, "the Proxy has put out who has left", func() bool {
		return !strings.Contains(w.run("home", program, "nodes"), "cloud") &&
			regexp.MustCompile(`cloud +revoked`).MatchString(w.run("home", program, "nodes", "fingerprint"))
	})
}

// systemctl is a stand-in that keeps no more of systemd than a unit needs: it starts ExecStart and stops it.
const systemctl = `#!/bin/sh
echo "$@" >>/tmp/systemctl.log
case "$1" in
enable) setsid $(sed -n 's/^ExecStart=//p' /tmp/units/$3) >/tmp/unit.log 2>&1 & echo $! >/tmp/unit.pid ;;
disable) kill $(cat /tmp/unit.pid) 2>/dev/null; true ;;
esac
`

// read is a file of this machine.
func (w *world) read(path string) []byte {
	w.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		w.Fatal(err)
	}
	return content
}

// put makes a program in the lab.
func (w *world) put(in, path string, content []byte) {
	w.Helper()
	cmd, err := w.Command(in, []string{"sh", "-c", "cat >" + path + " && chmod 755 " + path}, lab.CmdOptions{Stdin: bytes.NewReader(content)})
	if err != nil {
		w.Fatal(err)
	}
	if exit, err := cmd.Wait(); err != nil || !exit.Success() {
		w.Fatalf("cannot put %s: %v, %v", path, exit, err)
	}
}

// TestService sees a node installed as a unit, through a reboot, and away again.
func TestService(t *testing.T) {
	patient(t)
	needs(t, "ip", "setsid", "sed")
	w := startLab(t, twoMachines)
	token := w.proxyAtHome("home")
	w.run("cloud", "mkdir", "/tmp/units", "/tmp/bin")
	w.put("cloud", "/tmp/bin/vnet", w.read(program)) // its /tmp is its own
	w.put("cloud", "/tmp/bin/systemctl", []byte(systemctl))
	sh := func(line string) string { return w.run("cloud", "sh", "-c", "PATH=/tmp/bin:$PATH; "+line) }

	out := sh("vnet join " + token + " --tap vm1 --service --unit-dir /tmp/units")
	if !strings.Contains(out, "it runs as vnet-vnet.service, now and after every boot") {
		t.Errorf("joining says %q", out)
	}
	w.answers("cloud")
	unit := w.run("cloud", "cat", "/tmp/units/vnet-vnet.service")
	for _, want := range []string{"ExecStart=/tmp/bin/vnet host --state /var/lib/vnet/vnet --tap vm1 --overlay vnet\n", "NoNewPrivileges=yes", "WantedBy=multi-user.target"} {
		if !strings.Contains(unit, want) {
			t.Errorf("the unit lacks %q:\n%s", want, unit)
		}
	}
	sh("systemctl disable; while vnet status >/dev/null 2>&1; do sleep 0.1; done; systemctl enable --now vnet-vnet.service") // a reboot
	w.answers("cloud")
	if out = sh("vnet leave --unit-dir /tmp/units"); !strings.Contains(out, "removed vnet-vnet.service") || !strings.Contains(out, "has left overlay") {
		t.Errorf("leaving says %q", out)
	}
	w.run("cloud", "sh", "-c", "! test -e /tmp/units/vnet-vnet.service && ! test -e /var/lib/vnet/vnet")
	if log := w.run("cloud", "cat", "/tmp/systemctl.log"); !strings.HasSuffix(log, "disable --now vnet-vnet.service\ndaemon-reload\n") {
		t.Errorf("systemd was told:\n%s", log)
	}
}

// A machine waits until it is approved, by whoever compares its key, and goes on by itself then.
func TestApproval(t *testing.T) {
	patient(t)
	needs(t, "ip")
	w := startLab(t, twoMachines)
	w.proxyAtHome("home")
	token := strings.TrimSpace(w.run("home", program, "token", "create", "--approve"))
	said := &spoken{}
	w.spawn("cloud", lab.CmdOptions{Name: "vnet", Stderr: said}, program, "join", token)
	command := regexp.MustCompile(`vnet nodes approve (\S+) --key (\S+)`)
	w.eventually(15*time.Second, "the machine says that it waits", func() bool { return command.MatchString(said.String()) })
	if out := w.run("home", program, "nodes", "fingerprint"); !strings.Contains(out, "waiting") {
		t.Errorf("the Proxy does not list who waits:\n%s", out)
	}
	m := command.FindStringSubmatch(said.String())
	w.run("home", program, "nodes", "approve", m[1], "--key", m[2])
	w.answers("cloud")
}
