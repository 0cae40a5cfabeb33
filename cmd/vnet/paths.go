package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
)

// defaultOverlay is the overlay of those who have only one.
const defaultOverlay = "vnet"

// socketPath is where the daemon of an overlay serves: /run/vnet/NAME.sock for root, else under $XDG_RUNTIME_DIR, which is
// the user's own and gone at logout.
func socketPath(overlay string) string {
	file := overlay + ".sock"
	if os.Geteuid() == 0 {
		return filepath.Join(systemSockets, file)
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "vnet", file)
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("vnet-%d", os.Geteuid()), file)
}

// stateDir is where the daemon of an overlay keeps its identity and what it must remember: /var/lib/vnet/NAME for root,
// else under $XDG_STATE_HOME (XDG base directory specification).
func stateDir(overlay string) (string, error) {
	if os.Geteuid() == 0 {
		return filepath.Join(systemState, overlay), nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "vnet", overlay), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("cannot choose a state directory: %w; give one with --state", err)
	}
	return filepath.Join(home, ".local", "state", "vnet", overlay), nil
}

// systemState is where root keeps the states of overlays, each in a directory of its own.
const systemState = "/var/lib/vnet"

// systemSockets is where daemons of root serve.
const systemSockets = "/run/vnet"

// clientPath is the socket to ask at: of the user's own daemon, or else of root's, where there is one.
func clientPath(overlay string) string {
	own := socketPath(overlay)
	if _, err := os.Lstat(own); err == nil {
		return own
	}
	shared := filepath.Join(systemSockets, overlay+".sock")
	if _, err := os.Lstat(shared); err == nil || errors.Is(err, fs.ErrPermission) {
		return shared
	}
	return own
}

// userName is who types, for a command that they can copy.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "USER"
}
