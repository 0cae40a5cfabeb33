package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// machines are a laptop, the Proxy's machine and eight others, each with nothing on it but sshd.
func machines() string {
	var b strings.Builder
	b.WriteString("name: launch\nsites: [{name: cloud}]\nhosts:\n  - {name: laptop, site: cloud}\n  - {name: home, site: cloud}\n")
	for i := range 8 {
		fmt.Fprintf(&b, "  - {name: m%d, site: cloud}\n", i+1)
	}
	return b.String()
}

const (
	sshdConfig = `Port 22
HostKey /var/lib/ssh/host
AuthorizedKeysFile /var/lib/ssh/authorized
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
`
	sshConfig = `Host *
	IdentityFile /var/lib/ssh/id
	StrictHostKeyChecking no
	UserKnownHostsFile /dev/null
	LogLevel ERROR
`
)

// shell runs a script in the lab with something on its standard input.
func (w *world) shell(in, script, stdin string) string {
	w.Helper()
	var out output
	p, err := w.Command(in, []string{"sh", "-euc", script}, lab.CmdOptions{Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &out})
	if err != nil {
		w.Fatal(err)
	}
	if end, err := p.Wait(); err != nil || !end.Success() {
		w.Fatalf("%s in %s: %v %v: %s", script, in, end, err, out.String())
	}
	return out.String()
}

// sshd runs a real one on every machine, which lets the laptop in.
func (w *world) sshd(names []string) {
	w.Helper()
	w.shell("laptop", "mkdir -p /var/lib/ssh; ssh-keygen -q -t ed25519 -N '' -f /var/lib/ssh/id; cat > /var/lib/ssh/client", sshConfig)
	key := w.shell("laptop", "cat /var/lib/ssh/id.pub", "")
	for _, name := range names {
		w.shell(name, "mkdir -p /var/lib/ssh /run/sshd; ssh-keygen -q -t ed25519 -N '' -f /var/lib/ssh/host; cat > /var/lib/ssh/authorized", key)
		w.shell(name, "cat > /var/lib/ssh/config", sshdConfig)
		w.spawn(name, lab.CmdOptions{}, "/usr/sbin/sshd", "-D", "-f", "/var/lib/ssh/config")
	}
	for _, name := range names {
		w.eventually(10*time.Second, "sshd of "+name+" lets the laptop in", func() bool {
			_, err := w.Output(w.Context(), "laptop", "ssh", "-F", "/var/lib/ssh/client", name, "true")
			return err == nil
		})
	}
}

type launched struct {
	Machines []struct {
		Node, Error string
		OK          bool
		Did         []string
	}
}

// launch runs vnet launch at the laptop.
func (w *world) launch(file string, args ...string) (r launched, code int) {
	w.Helper()
	w.shell("laptop", "cat > /var/lib/overlay.vnet", file)
	var out, progress output
	argv := append([]string{program, "launch", "/var/lib/overlay.vnet", "--ssh", "ssh -F /var/lib/ssh/client -o ConnectTimeout=3", "-o", "json"}, args...)
	p, err := w.Command("laptop", argv, lab.CmdOptions{Name: "vnet", Stdout: &out, Stderr: &progress})
	if err != nil {
		w.Fatal(err)
	}
	end, err := p.Wait()
	if err != nil {
		w.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		w.Fatalf("launch says %q and %q: %v", out.String(), progress.String(), err)
	}
	w.Logf("launch %v: exit %d\n%s", args, end.Code, progress.String())
	return r, end.Code
}

// at asks the launched daemon of a machine.
func (w *world) at(name string, args ...string) string {
	w.Helper()
	return w.run("laptop", append([]string{"ssh", "-F", "/var/lib/ssh/client", name, "/var/lib/launched/vnet"}, args...)...)
}

// description names the machines and links them in a ring.
func description() string {
	var b strings.Builder
	b.WriteString("vnet 1\nnode home proxy root AT home\n")
	for i := range 8 {
		fmt.Fprintf(&b, "node m%d host root AT m%d tap vm%d\n", i+1, i+1, i+1)
	}
	for i := range 8 {
		fmt.Fprintf(&b, "link m%d m%d\n", i+1, (i+1)%8+1)
	}
	return b.String()
}

func TestLaunchOverRealSSH(t *testing.T) {
	patient(t)
	if os.Getuid() != 0 {
		t.Skip("a real sshd lets users in only when it runs as root")
	}
	needs(t, "/usr/sbin/sshd", "ssh", "ssh-keygen")
	w := startLab(t, machines())
	names := []string{"home"}
	for i := range 8 {
		names = append(names, fmt.Sprintf("m%d", i+1))
	}
	w.sshd(names)

	// One machine cannot be reached: the others run, and the exit code says so.
	w.run("m8", "ip", "link", "set", "eth0", "down")
	began := time.Now()
	launch := func(args ...string) (launched, int) {
		return w.launch(description(), append(args, "--remote-dir", "/var/lib/launched")...)
	}
	r, code := launch()
	t.Logf("seven of eight in %v", time.Since(began).Round(time.Millisecond))
	for _, m := range r.Machines {
		if m.OK != (m.Node != "m8") {
			t.Errorf("%+v", m)
		}
	}
	if code != 1 {
		t.Errorf("with a machine that cannot be reached, the exit code is %d", code)
	}

	// It comes back: only it is started.
	w.run("m8", "ip", "link", "set", "eth0", "up")
	w.eventually(10*time.Second, "m8 is back", func() bool {
		_, err := w.Output(w.Context(), "laptop", "ssh", "-F", "/var/lib/ssh/client", "m8", "true")
		return err == nil
	})
	if r, code = launch(); code != 0 {
		t.Errorf("exit %d", code)
	}
	for _, m := range r.Machines {
		if started := len(m.Did) > 0; !m.OK || started != (m.Node == "m8") {
			t.Errorf("the second run: %+v", m)
		}
	}
	// All is there: nothing is started.
	if r, code = launch(); code != 0 {
		t.Errorf("exit %d", code)
	}
	for _, m := range r.Machines {
		if !m.OK || len(m.Did) > 0 {
			t.Errorf("the third run: %+v", m)
		}
	}
	links := w.at("home", "show", "topology")
	for i := range 8 {
		a, b := fmt.Sprintf("m%d", i+1), fmt.Sprintf("m%d", (i+1)%8+1)
		if !strings.Contains(links, "\t"+min(a, b)+" "+max(a, b)+"\n") {
			t.Errorf("there is no link %s %s:\n%s", a, b, links)
		}
	}
	if args := w.run("m1", "sh", "-c", "cat /proc/*/cmdline | tr '\\0' ' '"); strings.Contains(args, "vnet1.") {
		t.Error("a token shows in the list of processes")
	}
	if r, code = launch("--stop"); code != 0 {
		t.Errorf("exit %d", code)
	}
	for _, m := range r.Machines {
		if !m.OK || strings.Join(m.Did, " ") != "stopped" {
			t.Errorf("stopping: %+v", m)
		}
	}
}
