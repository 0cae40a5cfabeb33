package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// What is built, by its name in [Programs].
const (
	Vnet      = "vnet"
	WireGuard = "wireguard"
	Tailscale = "wireguard-go"
)

// module is where a peer's program is installed from, version pinned.
func module(program string) string {
	switch program {
	case WireGuard:
		return "golang.zx2c4.com/wireguard@v0.0.0-20260522210424-ecfc5a8d5446"
	case Tailscale:
		return "github.com/tailscale/wireguard-go@v0.0.0-20260928213032-417aef361226"
	}
	return ""
}

// Programs are the paths of programs by name.
type Programs map[string]string

// Provide builds or finds what peers need, in a folder of ours, and says of what could not be had why not. What other
// people publish is built once and kept there. Without build it only tells what is there.
func Provide(ctx context.Context, folder string, peers []Peer, build bool) (Programs, map[string]error) {
	programs, lacking := Programs{}, map[string]error{}
	for _, p := range peers {
		for _, name := range p.Needs {
			if programs[name] != "" || lacking[name] != nil {
				continue
			}
			var err error
			if programs[name], err = provide(ctx, folder, name, build); err != nil {
				lacking[name] = err
			}
		}
	}
	return programs, lacking
}

func provide(ctx context.Context, folder, name string, build bool) (string, error) {
	from := module(name)
	switch {
	case name == Vnet:
		path := filepath.Join(folder, name)
		if build {
			return path, compile(exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/virtuoso-vnet/virtuoso/cmd/vnet"))
		}
		return path, nil
	case from == "":
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("%s is not installed", name)
		}
		return path, nil
	}
	_, version, _ := strings.Cut(from, "@")
	dir := filepath.Join(folder, version)
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil || !build {
		return path, err
	}
	cmd := exec.CommandContext(ctx, "go", "install", from)
	cmd.Env = append(os.Environ(), "GOBIN="+dir)
	return path, compile(cmd)
}

func compile(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot run %s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
