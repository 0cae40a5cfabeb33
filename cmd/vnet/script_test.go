package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/server"
	"github.com/virtuoso-vnet/virtuoso/internal/server/servertest"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"vnet": main})
}

// TestScripts runs testdata/*.txtar, each beside a fresh daemon made of memory at $VNET_SOCKET. To rewrite what they
// expect, set UPDATE_SCRIPTS=1.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			socket, err := serveDaemon(env)
			if err != nil {
				return err
			}
			env.Setenv("VNET_SOCKET", socket)
			env.Values[houseKey{}] = &houseOfTokens{}
			env.Setenv("TZ", "UTC")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // or each command of a -race build sleeps a second before it exits
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"token": makeToken},
	})
}

// serveDaemon starts host1, which reaches host2, until the script ends.
func serveDaemon(env *testscript.Env) (string, error) {
	dir, err := os.MkdirTemp("", "vnet") // a short path: sockets have no room for long ones
	if err != nil {
		return "", err
	}
	host1, host2 := servertest.New("host1"), servertest.New("host2")
	host1.Peers = map[string]func(context.Context, string, []byte) ([]byte, error){
		"host2": func(ctx context.Context, method string, body []byte) ([]byte, error) {
			return server.Dispatch(ctx, host2, method, body)
		},
		"proxy": func(ctx context.Context, method string, body []byte) ([]byte, error) {
			return server.Dispatch(ctx, servertest.New("proxy"), method, body)
		},
	}
	socket := filepath.Join(dir, "vnet.sock")
	ctx, cancel := context.WithCancel(context.Background())
	s := server.New(host1, server.Config{Socket: socket})
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	env.Defer(func() {
		cancel()
		<-done
		os.RemoveAll(dir)
	})
	select {
	case <-s.Ready():
		return socket, nil
	case err := <-done:
		return "", err
	}
}

// makeToken is the script command "token [--ttl D|--same|--dead|--dns|--strange] FILE": it starts a Proxy that lets machines join
// overlay lan, and writes a token for it to FILE. The token's first address refuses connections. With --same the Proxy is the
// one of the command before, with --dead all addresses refuse, and with --strange another overlay's Proxy answers.
func makeToken(ts *testscript.TestScript, neg bool, args []string) {
	usage := "usage: token [--ttl D|--same|--dead|--dns|--strange] FILE"
	if neg || len(args) == 0 {
		ts.Fatalf("%s", usage)
	}
	file := args[len(args)-1]
	terms, kind := pki.Terms{}, ""
	if len(args) > 1 {
		kind = args[0]
	}
	house, _ := ts.Value(houseKey{}).(*houseOfTokens)
	if kind == "--ttl" {
		ttl, err := time.ParseDuration(args[1])
		ts.Check(err)
		terms.TTL = ttl
	}
	if kind != "--same" || house.ca == nil {
		house.open(ts)
	}
	now, addrs := time.Now(), []string{house.closed, house.addr}
	if terms.TTL < 0 { // it was made when it was good
		now, terms.TTL = now.Add(2*terms.TTL), -terms.TTL
	}
	ca := house.ca
	switch kind {
	case "--dead":
		addrs = addrs[:1]
	case "--dns":
		addrs = []string{"nowhere.invalid:4747"}
	case "--strange":
		var err error
		ca, err = pki.NewCA("lan", time.Now())
		ts.Check(err)
	}
	token, err := house.ledger.Create(now, ca, addrs, terms)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(file), []byte(token.String()+"\n"), 0o600))
}

type houseKey struct{}

// houseOfTokens is a Proxy that does nothing but let machines join.
type houseOfTokens struct {
	ca           *pki.CA
	ledger       pki.Ledger
	addr, closed string
}

func (h *houseOfTokens) open(ts *testscript.TestScript) {
	ca, err := pki.NewCA("lan", time.Now())
	ts.Check(err)
	proxy, err := ca.Issue("proxy", pki.RoleProxy, time.Now(), pki.LeafLife)
	ts.Check(err)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Check(closed.Close())
	l, err := tls.Listen("tcp", "127.0.0.1:0", proxy.ServerTLS("vnet/1"))
	ts.Check(err)
	ledger := pki.Ledger{Shelf: store.Memory()}
	h.ca, h.ledger, h.addr, h.closed = ca, ledger, l.Addr().String(), closed.Addr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				pki.AnswerJoin(conn, pki.Gate{CA: ca, Check: func(a pki.Application) error { return ledger.Check(time.Now(), a) }, Admit: func(a pki.Application) (pki.Member, error) {
					m, _, err := ledger.Admit(time.Now(), a)
					return m, err
				}})
				conn.Close()
			}
		}
	}()
	ts.Defer(func() {
		l.Close()
		<-done
	})
}

func TestExitCodes(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.sock")
	tests := []struct {
		line string
		want int
		says string
	}{
		{"version", exitOK, ""},
		{"--help", exitOK, ""},
		{"nonsense", exitUsage, `unknown command "nonsense"`},
		{"stauts", exitUsage, "unknown command \"stauts\" for \"vnet\"\nhint: did you mean: vnet status\nhint: see: vnet --help"},
		{"link statsu", exitUsage, "give one of add, carrier"},
		{"generate ring a b c -o json", exitUsage, "cannot print as json: vnet generate prints a description"},
		{"status --remote 127.0.0.1:1", exitFailure, "name the file of a key with --identity"},
		{"status --nonsense", exitUsage, "unknown flag"},
		{"adapt mode --max-links x", exitUsage, "cannot use \"x\" for --max-links: give a whole number from 0\nhint: see: vnet adapt mode --help"},
		{"token create --ttl soon", exitUsage, "cannot use \"soon\" for --ttl: give a duration, such as 200ms"},
		{"status extra", exitUsage, "hint: see: vnet status --help"},
		{"status -o yaml", exitUsage, "give -o table or json"},
		{"status --overlay A/B", exitUsage, "cannot use --overlay"},
		{"link", exitUsage, "give one of add, carrier, cipher, delete, ports, rekey"},
		{"link nonsense", exitUsage, "give one of add, carrier, cipher, delete, ports, rekey"},
		{"link add", exitUsage, "cannot do this: the command is vnet link add PEER"},
		{"rule delete first", exitUsage, "give its number"},
		{"status --socket " + none, exitUnreachable, "cannot reach a daemon: no daemon answers on " + none + " (connect: no such file or directory)\nhint: start one"},
		{"events --socket " + none, exitUnreachable, "no daemon answers"},
	}
	for _, tt := range tests {
		var out, errOut strings.Builder
		got := run(t.Context(), strings.Fields(tt.line), strings.NewReader(""), &out, &errOut)
		if got != tt.want || !strings.Contains(errOut.String(), tt.says) {
			t.Errorf("vnet %s: exit %d, want %d; says %q, want %q", tt.line, got, tt.want, errOut.String(), tt.says)
		}
		if tt.want != exitOK && (!strings.HasPrefix(errOut.String(), "vnet: cannot ") || out.Len() > 0) {
			t.Errorf("vnet %s: says %q on standard error and %q on standard output", tt.line, errOut.String(), out.String())
		}
	}
}

func TestWhatTheSystemRefusedHasAWayOut(t *testing.T) {
	for text, err := range map[string]error{
		"--listen": fmt.Errorf("cannot listen: %w", &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}),
		"--state":  fmt.Errorf("cannot keep: %w", &os.PathError{Op: "write", Err: syscall.ENOSPC}),
	} {
		if hint := wayOut(err); !strings.Contains(hint, text) {
			t.Errorf("%v: hint %q, want %s", err, hint, text)
		}
	}
	if hint := wayOut(errors.New("cannot do this")); hint != "" {
		t.Errorf("an error of ours has hint %q", hint)
	}
}

func TestOtherOverlaysAreFound(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"office.sock", "vnet.sock", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := served("vnet", dir, filepath.Join(dir, "none"), dir); !slices.Equal(got, []string{"office"}) {
		t.Errorf("%q", got)
	}
	if got := (&cli{overlay: "vnet", socket: "/elsewhere"}).others(); got != "" {
		t.Errorf("with a socket named: %q", got)
	}
}

func TestTabOffersValues(t *testing.T) {
	for _, line := range []string{"link add host2 --carrier", "host --carrier"} {
		var out, errOut strings.Builder
		if run(t.Context(), append(append([]string{"__complete"}, strings.Fields(line)...), ""), strings.NewReader(""), &out, &errOut); !strings.HasPrefix(out.String(), "auto\nudp\ntcp\n") {
			t.Errorf("vnet %s: %q, %q", line, out.String(), errOut.String())
		}
	}
}

func TestInterruptedIsNoFailureOfTheProgram(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errOut strings.Builder
	none := filepath.Join(t.TempDir(), "none.sock")
	got := run(ctx, []string{"lab", "run", none}, strings.NewReader(""), &out, &errOut)
	if got != exitInterrupted || errOut.String() != "vnet: cannot go on: interrupted\n" {
		t.Errorf("exit %d, want %d; says %q", got, exitInterrupted, errOut.String())
	}
}
