package lab_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// owner is a program that owns a lab with a program in it, says so, and waits to be killed.
func owner() {
	name := os.Getenv("LAB")
	spec, err := lab.Parse([]byte(strings.Replace(twoSites, "name: two", "name: "+name, 1)), "test.yaml")
	if err != nil {
		panic(err)
	}
	l, err := lab.Start(context.Background(), spec, lab.Options{})
	if err != nil {
		panic(err)
	}
	// A grandchild that ignores what can be ignored, and a file in a private directory.
	script := "trap '' HUP TERM INT; echo left > /tmp/" + name + "; setsid sleep 1000 & sleep 1000"
	if _, err := l.Command("vm1", []string{"sh", "-c", script, name}, lab.CmdOptions{Env: []string{"LAB=" + name}}); err != nil {
		panic(err)
	}
	if _, err := l.Output(context.Background(), "vm1", "sh", "-c", "until pidof sleep || pgrep sleep; do :; done"); err != nil {
		panic(err)
	}
	fmt.Println("standing")
	<-l.Done()
	os.Exit(0)
}

// marked lists the processes of this machine whose arguments or environment hold the mark.
func marked(mark string) []string {
	var found []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		args, _ := os.ReadFile(dir + "/cmdline")
		env, _ := os.ReadFile(dir + "/environ")
		if strings.Contains(string(args)+string(env), mark) {
			found = append(found, fmt.Sprintf("%s %q", filepath.Base(dir), args))
		}
	}
	return found
}

func interfaces(t *testing.T) string {
	t.Helper()
	all, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Skip(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestKillNineLeavesNothing(t *testing.T) {
	for _, victim := range []string{"owner", "leader"} {
		t.Run(victim, func(t *testing.T) { killNine(t, victim) })
	}
}

func killNine(t *testing.T, victim string) {
	if err := lab.Preflight(); err != nil {
		t.Skip(err)
	}
	mark := fmt.Sprintf("kill-%s-%d", victim, os.Getpid())
	before, tmp := interfaces(t), t.TempDir()
	if err := os.Chmod(tmp, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"owner"}
	cmd.Env = append(os.Environ(), "LAB="+mark, "TMPDIR="+tmp)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "standing\n" {
		_ = cmd.Process.Kill()
		t.Fatal(line, err, cmd.Wait())
	}
	// leader, five inits, the shell and two sleeps: at least.
	if n := len(marked(mark)); n < 9 {
		t.Errorf("found %d processes of a standing lab, want at least 9: %v", n, marked(mark))
	}
	pid := cmd.Process.Pid
	if victim == "leader" {
		pid = leaderOf(t, mark)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // an owner that was killed, or one that saw its lab end
	nothing(t, mark, before, tmp)
}

// leaderOf finds the leader of the lab with that name.
func leaderOf(t *testing.T, mark string) int {
	t.Helper()
	for _, p := range marked("vnet-lab-leader\x00" + mark) {
		number, _, _ := strings.Cut(p, " ")
		if pid, err := strconv.Atoi(number); err == nil {
			return pid
		}
	}
	t.Fatal("no leader found")
	return 0
}

// nothing fails unless, within ten seconds, no process, interface or file of the lab remains.
func nothing(t *testing.T, mark, interfacesBefore, tmp string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); len(marked(mark)) > 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("still there: %v", marked(mark))
		}
	}
	if after := interfaces(t); after != interfacesBefore {
		t.Errorf("interfaces were %q, are %q", interfacesBefore, after)
	}
	for _, pattern := range []string{tmp + "/*", "/tmp/" + mark + "*", os.Getenv("XDG_RUNTIME_DIR") + "/vnet-lab*"} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("files left: %v", left)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), "vnet-lab") {
		t.Errorf("mounts left: %s, %v", mounts, err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	mark := fmt.Sprintf("close-%d", os.Getpid())
	before, tmp := interfaces(t), t.TempDir()
	l := start(t, strings.Replace(twoSites, "name: two", "name: "+mark, 1))
	p, err := l.Command("h1", []string{"sleep", "1000"}, lab.CmdOptions{Env: []string{"LAB=" + mark}})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if end, err := p.Wait(); err == nil || end.Signal != syscall.SIGKILL {
		t.Errorf("the program ended with %v, %v; want to hear that the lab ended", end, err)
	}
	nothing(t, mark, before, tmp)
	if _, err := l.Command("h1", []string{"true"}, lab.CmdOptions{}); err == nil {
		t.Error("a closed lab ran a program")
	}
}
