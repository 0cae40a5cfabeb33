package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
)

// aProxysState is a state directory as a Proxy of overlay lan leaves it: with a token that is good and a member.
func aProxysState(t *testing.T) (dir string, ledger pki.Ledger, token pki.Token) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "state")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ca, err := pki.NewCA("lan", time.Now())
	must(err)
	must(ca.Save(dir))
	id, err := ca.Issue("home", pki.RoleProxy, time.Now(), pki.LeafLife)
	must(err)
	must(id.Save(dir))
	db, err := store.Open(filepath.Join(dir, stateFile))
	must(err)
	t.Cleanup(func() { db.Close() })
	ledger = pki.Ledger{Shelf: db}
	token, err = ledger.Create(time.Now(), ca, []string{"192.0.2.1:4747"}, pki.Terms{})
	must(err)
	must(ledger.Seen(time.Now(), "host1", id.Key(), time.Now().Add(time.Hour)))
	return dir, ledger, token
}

func vnetSays(t *testing.T, line ...string) (said string, code int) {
	t.Helper()
	var out bytes.Buffer
	code = run(t.Context(), line, strings.NewReader(""), &out, &out)
	return out.String(), code
}

// A backup is made while the daemon has its store open; restored elsewhere it is the same node, whose tokens are void.
func TestABackupIsTheNode(t *testing.T) {
	state, _, token := aProxysState(t)
	file, fresh := filepath.Join(t.TempDir(), "home.vnet"), filepath.Join(t.TempDir(), "new", "state")
	said, code := vnetSays(t, "backup", file, "--state", state)
	if code != 0 || said != file+" holds proxy home of overlay lan; whoever has it is that node\n" {
		t.Fatalf("exit %d: %s", code, said)
	}
	if said, code = vnetSays(t, "backup", file, "--state", state); code == 0 || !strings.Contains(said, "is there already: name another file") {
		t.Errorf("over a file: exit %d: %s", code, said)
	}
	said, code = vnetSays(t, "restore", file, "--state", fresh)
	if code != 0 || !strings.Contains(said, "is proxy home of overlay lan; start it with: vnet proxy --overlay lan") || !strings.Contains(said, "1 tokens that were good at the time of the backup are not any more") {
		t.Fatalf("exit %d: %s", code, said)
	}
	modes := map[string]os.FileMode{file: 0o600, fresh: 0o700}
	for _, name := range []string{"ca.pem", "identity.pem", "state.db"} {
		modes[filepath.Join(fresh, name)] = 0o600
	}
	for path, mode := range modes {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, %v; want %v", path, info.Mode().Perm(), err, mode)
		}
	}
	was, err := pki.LoadIdentity(state)
	is, err2 := pki.LoadIdentity(fresh)
	if err != nil || err2 != nil || was.Key() != is.Key() {
		t.Errorf("another key: %v, %v", err, err2)
	}
	db, err := store.Open(filepath.Join(fresh, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	l := pki.Ledger{Shelf: db}
	if m, known, err := l.Member("host1"); !known || m.Key != is.Key() || err != nil {
		t.Errorf("the member is %v, %v, %v", m, known, err)
	}
	_, _, err = l.Admit(time.Now(), pki.Application{TokenID: token.ID, Secret: token.Secret, Name: "host2", Key: is.Key()})
	if err == nil {
		t.Error("a token that may have been used since the backup lets somebody in")
	}
}

func TestWhatIsNoBackup(t *testing.T) {
	state, _, _ := aProxysState(t)
	dir := t.TempDir()
	good, half, other := filepath.Join(dir, "good"), filepath.Join(dir, "half"), filepath.Join(dir, "other")
	if said, code := vnetSays(t, "backup", good, "--state", state); code != 0 {
		t.Fatal(said)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(half, text[:len(text)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	var strange bytes.Buffer
	w := tar.NewWriter(&strange)
	w.WriteHeader(&tar.Header{Name: "../../etc/passwd", Mode: 0o600, Size: 1})
	w.Write([]byte("x"))
	w.Close()
	if err := os.WriteFile(other, strange.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		line []string
		says string
	}{
		{[]string{"restore", filepath.Join(dir, "none"), "--state", filepath.Join(dir, "a")}, "no such file"},
		{[]string{"restore", half, "--state", filepath.Join(dir, "b")}, "is no backup, or only a part of one"},
		{[]string{"restore", other, "--state", filepath.Join(dir, "c")}, `"../../etc/passwd" does not belong in one`},
		{[]string{"restore", good, "--state", state}, "holds a node already; stop its daemon and move what is in it away first"},
		{[]string{"restore", good, "--overlay", "wan", "--state", filepath.Join(dir, "d")}, "cannot restore overlay wan from this file: it is of lan"},
		{[]string{"backup", filepath.Join(dir, "e"), "--state", filepath.Join(dir, "f")}, "this machine is no node of overlay vnet"},
	} {
		if said, code := vnetSays(t, tt.line...); code == 0 || !strings.Contains(said, tt.says) {
			t.Errorf("vnet %s: exit %d: %s", strings.Join(tt.line, " "), code, said)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 3 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
