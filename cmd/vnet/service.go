package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	// unitDir is where systemd looks for units that an administrator has made.
	unitDir = "/etc/systemd/system"
	// serviceTime is how long a daemon that systemd has started may take to answer.
	serviceTime = 20 * time.Second
	// servicePoll is how often it is asked.
	servicePoll = 100 * time.Millisecond
)

// serviceFlags make a daemon a unit of systemd.
type serviceFlags struct {
	wanted bool
	dir    string
}

func (f *serviceFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.wanted, "service", false, "make the daemon a unit of systemd, which starts it now and at every boot")
	cmd.Flags().StringVar(&f.dir, "unit-dir", unitDir, "`directory` of the unit")
	if err := cmd.Flags().MarkHidden("unit-dir"); err != nil {
		panic("vnet: a flag that does not exist is to be hidden")
	}
}

// unitName is the unit of an overlay's daemon.
func unitName(overlay string) string { return "vnet-" + overlay + ".service" }

// unitText is the unit that runs a command line. The daemon needs to make TAP devices with a program each that keeps their queues
// short, to open packet sockets, and to read the state of root; nothing else of root's powers, and no file but its own. Its niceness
// systemd gives it, and the right to say so for its session (shareAs), since it may not go before others by itself.
func unitText(overlay string, nice int, argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = unitQuote(a)
	}
	return fmt.Sprintf(`[Unit]
Description=vnet overlay %s
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=%s
Restart=on-failure
RestartSec=1
Nice=%d
LimitNICE=%+d
StateDirectory=vnet
StateDirectoryMode=0711
RuntimeDirectory=vnet
RuntimeDirectoryPreserve=yes
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_BPF CAP_DAC_OVERRIDE
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=/var/lib/vnet /run/vnet
ProtectHome=read-only
PrivateTmp=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
DevicePolicy=closed
DeviceAllow=/dev/net/tun rw
RemoveIPC=yes
UMask=0077
RestrictRealtime=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET
RestrictNamespaces=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service bpf
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
`, overlay, strings.Join(words, " "), nice, nice)
}

// unitQuote makes one word of a command line of systemd (systemd.service(5), "Command lines").
func unitQuote(word string) string {
	word = strings.NewReplacer(`%`, `%%`, `$`, `$$`).Replace(word)
	if strings.ContainsAny(word, " \t\"'\\;") || word == "" {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word) + `"`
	}
	return word
}

// install makes the unit of a daemon with these flags, starts it, and waits until it answers.
func (c *cli) install(ctx context.Context, f serviceFlags, d *daemonFlags, argv []string) error {
	nice, _, err := niceness(d.nice)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program for the unit: %w", err)
	}
	argv = append(append([]string{program}, argv...), "--overlay", c.overlay)
	unit := filepath.Join(f.dir, unitName(c.overlay))
	if err := os.WriteFile(unit, []byte(unitText(c.overlay, nice, argv)), 0o644); err != nil {
		return fmt.Errorf("cannot make the unit: %w; run as root, or start the daemon without --service", err)
	}
	if err := systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	if err := systemctl(ctx, "enable", "--now", unitName(c.overlay)); err != nil {
		return err
	}
	for end := time.Now().Add(serviceTime); !c.answers(ctx); {
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("cannot bring it up: %s was started and does not answer; see: journalctl -u %s", unitName(c.overlay), unitName(c.overlay))
		}
		time.Sleep(servicePoll)
	}
	_, err = fmt.Fprintf(c.out, "it runs as %s, now and after every boot; ask it with: vnet status --overlay %s\n", unitName(c.overlay), c.overlay)
	return err
}

// uninstall stops the unit and takes it away; false when there is none.
func (c *cli) uninstall(ctx context.Context, dir string) (bool, error) {
	unit := filepath.Join(dir, unitName(c.overlay))
	if _, err := os.Lstat(unit); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err := systemctl(ctx, "disable", "--now", unitName(c.overlay)); err != nil {
		return true, err
	}
	if err := os.Remove(unit); err != nil {
		return true, fmt.Errorf("cannot remove the unit: %w", err)
	}
	return true, systemctl(ctx, "daemon-reload")
}

func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot run systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
