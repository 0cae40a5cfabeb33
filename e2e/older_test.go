package e2e

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// older is the last commit before nodes renewed their certificates and knew of revocation: what 0.1.0 was.
const older = "09ebe806d4bafd38426770c855c0e13d1e345f04"

// buildOlder builds the program as it was, from the history of this repository.
func buildOlder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if exec.Command("git", "cat-file", "-e", older+"^{commit}").Run() != nil {
		t.Skip("the history of this repository does not reach back to the version before")
	}
	pack := exec.Command("git", "archive", older)
	pack.Dir = ".."
	files, err := pack.Output()
	if err != nil {
		t.Fatal(err)
	}
	unpack := exec.Command("tar", "x", "-C", dir)
	unpack.Stdin = bytes.NewReader(files)
	if err := unpack.Run(); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "vnet-older")
	build := exec.Command("go", "build", "-o", binary, "./cmd/vnet")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the version before: %v\n%s", err, out)
	}
	return binary
}

// Everybody runs the version before. The Proxy is upgraded, then one host: the others stay, new ones join with the old program, and
// old and new have direct links. What an old node cannot do is said.
func TestAVersionOlder(t *testing.T) {
	needs(t, "git", "tar", "ping")
	if os.Getenv("E2E_LONG") == "" {
		t.Skip("the version before is built in the long form only (E2E_LONG)")
	}
	w := startLab(t, fourAtASite)
	was := w.Lab.Daemons(buildOlder(t)) // the daemons of before
	old := &world{T: t, Lab: w.Lab, Daemons: was}
	if err := was.StartProxy(t.Context()); err != nil {
		t.Fatal(err)
	}
	join := func(host, proxy, program string) {
		t.Helper()
		token := w.run("proxy", proxy, "token", "create", "--name", host, "--address", w.Address("proxy").String()+":4747")
		var complaint bytes.Buffer
		p, err := w.Command(host, []string{program, "join", "-", "--name", host}, lab.CmdOptions{Name: "vnet", Stdin: strings.NewReader(token), Stdout: io.Discard, Stderr: &complaint})
		if err != nil {
			t.Fatal(err)
		}
		if exit, err := p.Wait(); err != nil || !exit.Success() {
			t.Fatalf("%s cannot join: %v, %v, %s", host, exit, err, complaint.String())
		}
	}
	beforeProgram := was.Program()
	for _, h := range []string{"host1", "host2"} {
		join(h, beforeProgram, beforeProgram)
		if err := was.StartHost(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	w.run("vm1", "ping", "-c", "2", "-i", "0.2", "-W", "2", w.Address("vm2").String())

	if err := was.Kill("proxy"); err != nil {
		t.Fatal(err)
	}
	if err := w.StartProxy(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.eventually(backAgain, "the old hosts are at the new Proxy", func() bool { return len(w.nodesUp()) == 3 })
	s := old.stream("vm1", "vm2", 200)
	time.Sleep(2 * time.Second)
	if sent, r := s.stop(); r.LostCount > 0 || r.Duplicates > 0 {
		t.Errorf("between old hosts, by the new Proxy: of %d packets %d are lost, %d came twice", sent, r.LostCount, r.Duplicates)
	}

	join("host3", program, beforeProgram)
	if err := was.StartHost(t.Context(), "host3"); err != nil {
		t.Fatal(err)
	}
	if err := was.Kill("host2"); err != nil {
		t.Fatal(err)
	}
	if err := w.StartHost(t.Context(), "host2"); err != nil {
		t.Fatal(err)
	}
	w.eventually(backAgain, "all are there", func() bool { return len(w.nodesUp()) == 4 })
	w.run("vm1", "ping", "-c", "1", "-w", "5", w.Address("vm2").String())
	w.run("vm3", "ping", "-c", "1", "-w", "5", w.Address("vm2").String())
	w.vnet("proxy", "adapt", "observe")
	for _, ends := range [][2]string{{"1", "2"}, {"2", "3"}, {"1", "3"}} {
		w.vnet("proxy", "link", "add", "host"+ends[1], "--node", "host"+ends[0])
		for _, way := range [][2]string{ends, {ends[1], ends[0]}} {
			match := []string{"--src", w.mac("vm" + way[0]), "--dst", w.mac("vm" + way[1])}
			rule := func(at, from, to string) {
				w.vnet("proxy", append([]string{"rule", "add", "--node", at, "--from", from, "--to", to}, match...)...)
			}
			rule("host"+way[1], "link:host"+way[0], "port:vm"+way[1])
			rule("host"+way[0], "port:vm"+way[0], "link:host"+way[1])
		}
		s := w.stream("vm"+ends[0], "vm"+ends[1], 500)
		time.Sleep(2 * time.Second)
		sent, r := s.stop()
		t.Logf("host%s to host%s directly: %d of %d packets lost", ends[0], ends[1], r.LostCount, sent)
		if r.LostCount > 0 || r.Duplicates > 0 {
			t.Errorf("between host%s and host%s: of %d packets %d are lost, %d came twice", ends[0], ends[1], sent, r.LostCount, r.Duplicates)
		}
	}
	if up := w.linksUp("host2"); !slices.Equal(up, []string{"host1", "host3", "proxy"}) {
		t.Errorf("the new host has links to %v", up)
	}
	out := w.vnet("proxy", "nodes", "revoke", "host3")
	for _, want := range []string{"stored by 1: host2", "not by host1: it runs a version that knows of no revocation; upgrade it"} {
		if !strings.Contains(out, want) {
			t.Errorf("putting host3 out says\n%swant %q", out, want)
		}
	}
	w.eventually(5*time.Second, "host3 is out", func() bool { return len(w.nodesUp()) == 3 })
}
