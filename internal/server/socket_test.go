package server

import (
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

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
			s, err := listen(Config{Socket: tt.path, User: os.Geteuid(), Log: slog.New(slog.DiscardHandler)})
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
	first, err := listen(Config{Socket: path, User: os.Geteuid(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	second, err := listen(Config{Socket: path, User: os.Geteuid(), Log: log})
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
	s, err := listen(Config{Socket: path, User: os.Geteuid(), Log: slog.New(slog.DiscardHandler)})
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
	if uid, groups, err := peerIDs(conn.(*net.UnixConn)); err != nil || int(uid) != os.Geteuid() || !slices.Contains(groups, uint32(os.Getegid())) {
		t.Errorf("the peer is user %d, of groups %v, %v", uid, groups, err)
	}
}

// A group named in the configuration may use the socket, its members and nobody else.
func TestASocketForAGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be other users")
	}
	dir, err := os.MkdirTemp("", "vnet-group-") // others can pass through /tmp
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const member, stranger, group = 4001, 4002, 4003
	path := filepath.Join(dir, "run", "vnet.sock")
	os.Chmod(dir, 0o755)
	s, err := listen(Config{Socket: path, Group: group, Grouped: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.remove()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 || info.Sys().(*syscall.Stat_t).Gid != group {
		t.Errorf("the socket: %v, %v", info, err)
	}
	go func() {
		for {
			conn, err := s.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("yes"))
			conn.Close()
		}
	}()
	connect := func(uid, gid int, groups ...int) bool {
		answer := make(chan bool)
		go func() { // credentials are a thread's; this one ends with the goroutine, since it is never unlocked
			runtime.LockOSThread()
			answer <- become(t, uid, gid, groups) && heard(path)
		}()
		return <-answer
	}
	for _, row := range []struct {
		name string
		got  bool
		want bool
	}{
		{"a member by main group", connect(member, group), true},
		{"a member by further group", connect(member, 5, 6, group, 7), true},
		{"a stranger", connect(stranger, 5, 6), false},
	} {
		if row.got != row.want {
			t.Errorf("%s gets in: %v", row.name, row.got)
		}
	}
	os.Chmod(path, 0o666) // somebody opened it: the daemon looks who comes
	os.Chmod(filepath.Dir(path), 0o755)
	if connect(stranger, 5, 6) {
		t.Error("a stranger gets in at a socket whose mode was changed")
	}
}

// become makes the calling thread another user's.
func become(t *testing.T, uid, gid int, groups []int) bool {
	list := append([]int{gid}, groups...)
	ids := make([]uint32, len(list))
	for i, g := range list {
		ids[i] = uint32(g)
	}
	for _, call := range [][4]uintptr{
		{syscall.SYS_SETGROUPS, uintptr(len(ids)), uintptr(unsafe.Pointer(&ids[0]))},
		{syscall.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
		{syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
	} {
		if _, _, errno := syscall.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
			t.Errorf("cannot be user %d: %v", uid, errno)
			return false
		}
	}
	return true
}

// heard connects on the calling thread, and says whether the daemon answers.
func heard(path string) bool {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return false
	}
	defer syscall.Close(fd)
	if syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}) != nil {
		return false
	}
	b := make([]byte, 3)
	n, err := syscall.Read(fd, b)
	return err == nil && string(b[:n]) == "yes"
}
