package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// program is the vnet binary that the tests run; TestMain builds it.
var program string

func TestMain(m *testing.M) {
	lab.MaybeChild()
	if role, ok := roles()[filepath.Base(os.Args[0])]; ok {
		os.Exit(role(os.Args[1:]))
	}
	os.Exit(build(m))
}

// roles are what this test binary does inside a lab, by the name it is started under.
func roles() map[string]func(args []string) int {
	return map[string]func([]string) int{
		"stream-send":    sendStream,
		"stream-receive": receiveStream,
		"talk":           talkTo,
		"talk-serve":     serveTalk,
		"guest":          beGuest,
		"frame-send":     sendFrames,
		"frame-see":      seeFrames,
		"web":            serveWeb,
		"fetch":          fetchWeb,
		"post":           post,
		"shout":          shout,
		"tcp-watch":      watchTCP,
		"everyone":       everyone,
		"qemu-tap":       onTAP,
		"pile-send":      sendPiles,
		"pile-see":       seePiles,
		"steady":         steady,
		"hacked-host":    hackedHost,
		"nuisance":       beNuisance,
	}
}

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "vnet-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "vnet")
	args := []string{"build", "-o", program}
	if os.Getenv("E2E_RACE") != "" { // daemons with the race detector: slower, so only for runs that measure nothing
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "../cmd/vnet")...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot build the program:", err)
		return 1
	}
	return m.Run()
}

// world is a lab with an overlay in it.
type world struct {
	*testing.T
	*lab.Lab
	*lab.Daemons
}

// start builds a lab from its file and starts its overlay; all of it ends with the test.
func start(t *testing.T, spec string, args ...string) *world {
	t.Helper()
	w := startLab(t, spec)
	if err := w.Daemons.Start(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
	return w
}

// startLab builds a lab from its file without starting any daemon.
func startLab(t *testing.T, spec string) *world {
	t.Helper()
	if err := lab.Preflight(); err != nil {
		t.Skipf("no lab on this machine: %v", err)
	}
	s, err := lab.Parse([]byte(spec), t.Name())
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Start(t.Context(), s, lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, Lab: l, Daemons: l.Daemons(program)}
	t.Cleanup(func() {
		if t.Failed() {
			for _, h := range s.Hosts {
				if log := w.Log(h.Name); log != "" {
					t.Logf("%s said:%s", h.Name, log)
				}
			}
		}
		l.Close()
	})
	return w
}

// vnet runs a client command at a host and returns what it printed.
func (w *world) vnet(host string, args ...string) string {
	w.Helper()
	out, err := w.Vnet(w.Context(), host, args...)
	if err != nil {
		w.Fatalf("vnet %s at %s: %v", strings.Join(args, " "), host, err)
	}
	return out
}

// ask runs a client command with -o json and reads the answer.
func ask[T any](w *world, host string, args ...string) T {
	w.Helper()
	var answer T
	text := w.vnet(host, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		w.Fatalf("vnet %s at %s printed what is no answer: %v\n%s", strings.Join(args, " "), host, err, text)
	}
	return answer
}

// run runs a program in the lab to its end.
func (w *world) run(in string, argv ...string) string {
	w.Helper()
	out, err := w.Output(w.Context(), in, argv...)
	if err != nil {
		w.Fatalf("%s in %s: %v", strings.Join(argv, " "), in, err)
	}
	return out
}

// spawn starts a program in the lab; it ends with the lab at the latest.
func (w *world) spawn(in string, o lab.CmdOptions, argv ...string) *lab.Proc {
	w.Helper()
	p, err := w.Command(in, argv, o)
	if err != nil {
		w.Fatalf("%s in %s: %v", strings.Join(argv, " "), in, err)
	}
	return p
}

// eventually waits until ok says so, and fails the test when it does not within the time.
func (w *world) eventually(within time.Duration, what string, ok func() bool) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), within)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			w.Fatalf("%s: not within %v", what, within)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// needs skips the test when a program that it talks to is not installed; `make test` lists what was not run.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// patient says of a test that it waits more than it works: it runs beside others of the kind, after all those that need the
// machine for themselves. Its lab is its own, down to the file system.
func patient(t *testing.T) { t.Parallel() }
