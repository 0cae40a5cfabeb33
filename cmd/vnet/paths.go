package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// defaultOverlay is the overlay of those who have only one.
const defaultOverlay = "vnet"

// socketPath is where the daemon of an overlay serves: /run/vnet/NAME.sock for root, else under $XDG_RUNTIME_DIR, which is
// the user's own and gone at logout.
func socketPath(overlay string) string {
	file := overlay + ".sock"
	if os.Geteuid() == 0 {
		return filepath.Join("/run/vnet", file)
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
		return filepath.Join("/var/lib/vnet", overlay), nil
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
