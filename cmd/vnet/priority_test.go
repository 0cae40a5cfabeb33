package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// shareKey is the environment variable that has TestTheSessionGoesWithItsDaemon be the daemon, and says what --nice is.
const shareKey = "VNET_TEST_NICE"

// TestTheSessionGoesWithItsDaemon: a daemon that leads a session of its own, as a service does, has it at its niceness, whether
// it was asked for or given. One that somebody has started in theirs leaves that alone.
func TestTheSessionGoesWithItsDaemon(t *testing.T) {
	if nice, ok := os.LookupEnv(shareKey); ok {
		d := &daemon{log: slog.New(slog.DiscardHandler)}
		if err := d.prioritize(nice); err != nil {
			t.Fatal(err)
		}
		share, err := os.ReadFile(sessionShare)
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.Write(share)
		return
	}
	if _, err := os.Stat(sessionShare); errors.Is(err, fs.ErrNotExist) {
		t.Skip("this kernel has no groups of sessions")
	}
	for _, c := range []struct {
		what string
		argv []string
		nice string // --nice
		want string
	}{
		{"asked for, in a session of its own", nil, "19", "nice 19"},
		{"given, in a session of its own", []string{"nice", "-n", "39"}, "", "nice 19"},
		{"asked for, in somebody's session", []string{"sh", "-c", `"$@"; true`, "sh"}, "19", "nice 0"},
	} {
		argv := append(c.argv, os.Args[0], "-test.run=^TestTheSessionGoesWithItsDaemon$")
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), shareKey+"="+c.nice)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want+"\n") {
			t.Errorf("%s: %v, %s", c.what, err, out)
		}
	}
}

func TestNiceness(t *testing.T) {
	for text, want := range map[string]struct {
		nice  int
		asked bool
	}{"": {defaultNice, false}, "0": {0, true}, "-20": {-20, true}, "19": {19, true}} {
		if nice, asked, err := niceness(text); nice != want.nice || asked != want.asked || err != nil {
			t.Errorf("%q: %d, asked for: %v, error %v", text, nice, asked, err)
		}
	}
	for _, text := range []string{"20", "-21", "high", "1.5", " "} {
		if _, _, err := niceness(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
