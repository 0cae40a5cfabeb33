package server

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxSocketPath is what fits sun_path with the suffix used while binding (unix(7): 108 bytes with the final zero).
	maxSocketPath = 107 - len(bindSuffix)
	bindSuffix    = ".new"
	// probeTime is how long a living daemon may take to accept a connection.
	probeTime = time.Second
)

// socket is a unix listener that only this user and root may connect to.
type socket struct {
	*net.UnixListener
	path string
	self fs.FileInfo // the socket as we made it; another daemon may have replaced it since
	log  *slog.Logger
}

// listen makes the socket at path. One left behind by a dead daemon is replaced, one that is served is not. It is bound
// under another name and moved into place, so that nobody sees it before its mode is set.
func listen(path string, log *slog.Logger) (*socket, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("cannot serve on %s: the path of a socket may have %d bytes; choose a shorter one with --socket", path, maxSocketPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
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
	s := &socket{UnixListener: l, path: path, log: log}
	err = os.Chmod(temporary, 0o600)
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
		uid, err := peerUID(conn)
		if err == nil && (uid == 0 || int(uid) == os.Geteuid()) {
			return conn, nil
		}
		s.log.Warn("refused a client of another user", "uid", uid, "error", err)
		conn.Close()
	}
}

// peerUID is who connected, from the kernel (SO_PEERCRED, unix(7)).
func peerUID(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, credErr); err != nil {
		return 0, fmt.Errorf("cannot tell who connected: %w", err)
	}
	return cred.Uid, nil
}

// remove takes the socket away unless another daemon has replaced it.
func (s *socket) remove() {
	s.Close()
	if info, err := os.Lstat(s.path); err == nil && os.SameFile(info, s.self) {
		os.Remove(s.path)
	}
}
