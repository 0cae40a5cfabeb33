package server

import (
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/server/servertest"
)

func TestSocketIsPrivate(t *testing.T) {
	path := serve(t, servertest.New("host1"))
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm() != 0o700 {
		t.Errorf("mode of a directory made for it: %v, %v", dir.Mode(), err)
	}
}

func TestSocketInUse(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, "left.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: left, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as after kill -9
	l.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path, want string
	}{
		{"nothing there", filepath.Join(dir, "new.sock"), ""},
		{"left behind", left, ""},
		{"served", serve(t, servertest.New("host1")), "a daemon serves there already"},
		{"a file", file, "no socket"},
		{"too long", filepath.Join(dir, strings.Repeat("x", 120)), "choose a shorter one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := listen(tt.path, slog.New(slog.DiscardHandler))
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				s.remove()
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAReplacedSocketIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vnet.sock")
	log := slog.New(slog.DiscardHandler)
	first, err := listen(path, log)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	second, err := listen(path, log)
	if err != nil {
		t.Fatal(err)
	}
	first.remove()
	if info, err := os.Stat(path); err != nil || info.Mode().Type() != fs.ModeSocket {
		t.Errorf("the second daemon's socket is gone: %v", err)
	}
	second.remove()
}

func TestPeerIsThisUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vnet.sock")
	s, err := listen(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.remove()
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if uid, err := peerUID(conn.(*net.UnixConn)); err != nil || int(uid) != os.Geteuid() {
		t.Errorf("the peer is user %d, %v", uid, err)
	}
}
