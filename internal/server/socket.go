package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxSocketPath is what fits sun_path with the suffix used while binding (unix(7): 108 bytes with the final zero).
	maxSocketPath = 107 - len(bindSuffix)
	bindSuffix    = ".new"
	// probeTime is how long a living daemon may take to accept a connection.
	probeTime = time.Second
)

// socket is a unix listener that only the daemon's user and root may connect to, and perhaps the members of a group.
type socket struct {
	*net.UnixListener
	cfg  Config
	path string
	self fs.FileInfo // the socket as we made it; another daemon may have replaced it since
}

// listen makes the socket at path. One left behind by a dead daemon is replaced, one that is served is not. It is bound
// under another name and moved into place, so that nobody sees it before its mode is set.
func listen(cfg Config) (*socket, error) {
	path := cfg.Socket
	if cfg.User == 0 {
		cfg.User = os.Geteuid()
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("cannot serve on %s: the path of a socket may have %d bytes; choose a shorter one with --socket", path, maxSocketPath)
	}
	if err := cfg.directory(); err != nil {
		return nil, fmt.Errorf("cannot serve on %s: %w", path, err)
	}
	if err := vacant(path); err != nil {
		return nil, err
	}
	temporary := path + bindSuffix
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot serve on %s: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot serve on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // it would remove the temporary name
	s := &socket{UnixListener: l, path: path, cfg: cfg}
	err = cfg.permit(temporary)
	if err == nil {
		s.self, err = os.Stat(temporary)
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		l.Close()
		os.Remove(temporary)
		return nil, fmt.Errorf("cannot serve on %s: %w", path, err)
	}
	return s, nil
}

// directory makes the socket's directory, which only its user may look into; members of the group may pass through.
func (c Config) directory() error {
	dir := filepath.Dir(c.Socket)
	_, err := os.Stat(dir)
	if err == nil && !c.Grouped {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(dir, 0o700); err == nil {
			err = os.Chown(dir, c.User, -1)
		}
	}
	if err != nil || !c.Grouped {
		return err
	}
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm()&0o011 == 0 { // nobody else can pass
		err = errors.Join(os.Chown(dir, -1, c.Group), os.Chmod(dir, info.Mode().Perm()|0o010))
	}
	return err
}

// permit sets whose the socket is before it gets its name.
func (c Config) permit(path string) error {
	mode, group := fs.FileMode(0o600), -1
	if c.Grouped {
		mode, group = 0o660, c.Group
	}
	return errors.Join(os.Chmod(path, mode), os.Chown(path, c.User, group))
}

// vacant says whether the path is free to be taken.
func vacant(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot serve on %s: %w", path, err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("cannot serve on %s: there is a file that is no socket; remove it or choose another path with --socket", path)
	}
	conn, err := net.DialTimeout("unix", path, probeTime)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("cannot serve on %s: a daemon serves there already; stop it, or run this one under another --overlay or --socket", path)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil // nobody listens: left behind
	}
	return fmt.Errorf("cannot serve on %s: cannot tell whether a daemon serves there: %w", path, err)
}

// Accept drops connections of other users. The mode of the socket refuses them already; this holds when somebody changed it.
func (s *socket) Accept() (net.Conn, error) {
	for {
		conn, err := s.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, groups, err := peerIDs(conn)
		if err == nil && (uid == 0 || int(uid) == s.cfg.User || s.cfg.Grouped && slices.Contains(groups, uint32(s.cfg.Group))) {
			return conn, nil
		}
		s.cfg.Log.Warn("refused a client of another user", "uid", uid, "error", err)
		conn.Close()
	}
}

// peerIDs is who connected, and the groups they are in, from the kernel (SO_PEERCRED and SO_PEERGROUPS, unix(7)).
func peerIDs(conn *net.UnixConn) (uid uint32, groups []uint32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, nil, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		if cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); credErr == nil {
			groups = peerGroups(int(fd))
		}
	})
	if err := errors.Join(err, credErr); err != nil {
		return 0, nil, fmt.Errorf("cannot tell who connected: %w", err)
	}
	return cred.Uid, append(groups, cred.Gid), nil
}

// mostGroups is how many groups a user may be in (NGROUPS_MAX).
const mostGroups = 65536

// peerGroups are the further groups of who connected; none where the kernel does not say (before Linux 4.13).
func peerGroups(fd int) []uint32 {
	for n := uint32(64); n <= mostGroups; n *= 32 {
		list := make([]uint32, n)
		size := 4 * n
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS, uintptr(unsafe.Pointer(&list[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return list[:size/4]
		case errno != unix.ERANGE:
			return nil
		}
	}
	return nil
}

// remove takes the socket away unless another daemon has replaced it.
func (s *socket) remove() {
	s.Close()
	if info, err := os.Lstat(s.path); err == nil && os.SameFile(info, s.self) {
		os.Remove(s.path)
	}
}
