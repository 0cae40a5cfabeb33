package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/node"
)

const (
	// remoteTime bounds one command on a machine; copying the program takes the longest.
	remoteTime = 2 * time.Minute
	// connectTime is how long ssh tries to connect, in seconds.
	connectTime = 10
	// sessionsAtOnce is how many commands run on one machine at a time: every host that joins has a token made at the Proxy's machine,
	// whose sshd turns away more than 10 at a time that have not logged in yet (MaxStartups of sshd_config(5)).
	sessionsAtOnce = 4
	// upTries is how often, a second apart, a node that was started is asked whether it is up: a busy machine takes some
	// seconds for the first handshake.
	upTries = 30
)

// facts are what a machine says of itself.
type facts struct {
	root    bool   // commands run as root, perhaps through sudo
	sudo    string // what makes them so
	arch    string // as Go calls it
	dir     string // where the program is
	program string // SHA-256 of the program there; empty = none
	version string // of the program there
	running bool
	joined  bool
	systemd bool
}

// run runs a command line of sh on the machine and returns what it printed.
func (m *machine) run(ctx context.Context, in []byte, command string) ([]byte, error) {
	m.sessions <- struct{}{}
	defer func() { <-m.sessions }()
	ctx, cancel := context.WithTimeout(ctx, remoteTime)
	defer cancel()
	argv := strings.Fields(m.l.ssh)
	if len(argv) == 0 {
		return nil, fmt.Errorf("cannot reach a machine without an ssh command")
	}
	to := m.node.Machine
	if m.node.User != "" {
		to = m.node.User + "@" + to
	}
	argv = append(argv, "-T", "-o", "BatchMode=yes", "-o", fmt.Sprintf("ConnectTimeout=%d", connectTime), to, "exec sh -c "+quote(command))
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.Bytes(), m.refused(err, complaint.String())
	}
	return out.Bytes(), nil
}

// refused is an error in words: what the machine, or ssh, said last.
func (m *machine) refused(err error, said string) error {
	said = strings.TrimSpace(said)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 255: // ssh's own
		return fmt.Errorf("cannot reach %s: %s", m.node.Machine, lastLine(said))
	case said != "":
		return errors.New(strings.TrimPrefix(said, "vnet: "))
	}
	return fmt.Errorf("cannot run a command on %s: %w", m.node.Machine, err)
}

func lastLine(s string) string { return s[strings.LastIndexByte(s, '\n')+1:] }

// quote makes one word of sh.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// vnet is a command line of the program on the machine.
func (m *machine) vnet(args ...string) string {
	words := []string{m.found.sudo, quote(m.found.dir + "/vnet")}
	for _, a := range append(args, "--overlay", m.l.overlay) {
		words = append(words, quote(a))
	}
	return strings.TrimSpace(strings.Join(words, " "))
}

// look asks a machine what it is and has.
func (m *machine) look(ctx context.Context) error {
	script := `
if [ "$(id -u)" = 0 ]; then root=y; echo root; elif sudo -n true 2>/dev/null; then root=y; echo sudo; sudo="sudo -n"; fi
echo arch $(uname -m)
dir=` + quote(m.l.dir) + `
if [ -z "$dir" ]; then if [ "$root" ]; then dir=/usr/local/lib/vnet; else dir=$HOME/.vnet; fi; fi
echo dir "$dir"
[ -d /run/systemd/system ] && echo systemd
if [ -x "$dir/vnet" ]; then
	echo program $(sha256sum "$dir/vnet" | cut -d ' ' -f 1)
	echo version $("$dir/vnet" version 2>/dev/null)
	$sudo "$dir/vnet" status --overlay ` + quote(m.l.overlay) + ` >/dev/null 2>&1 && echo running
fi
if [ "$root" ]; then state=/var/lib/vnet; else state=${XDG_STATE_HOME:-$HOME/.local/state}/vnet; fi
$sudo test -e "$state/"` + quote(m.l.overlay) + `/identity.pem && echo joined
true`
	out, err := m.run(ctx, nil, script)
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		switch key {
		case "root":
			m.found.root = true
		case "sudo":
			m.found.root, m.found.sudo = true, "sudo -n"
		case "arch":
			m.found.arch = goArch(value)
		case "dir":
			m.found.dir = value
		case "systemd":
			m.found.systemd = !m.l.plain
		case "program":
			m.found.program = value
		case "version":
			m.found.version = value
		case "running":
			m.found.running = true
		case "joined":
			m.found.joined = true
		}
	}
	return nil
}

// goArch is Go's name for what uname -m says.
func goArch(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64", "arm64":
		return "arm64"
	case "armv6l", "armv7l", "armv8l":
		return "arm"
	case "i386", "i586", "i686":
		return "386"
	case "loongarch64":
		return "loong64"
	}
	return machine
}

// ourselves is this very program, also where its file has been replaced or is out of sight.
const ourselves = "/proc/self/exe"

// binary is the program for the machine.
func (m *machine) binary() (string, error) {
	for _, b := range m.l.binaries {
		if arch, file, _ := strings.Cut(b, "="); goArch(arch) == m.found.arch {
			if is := archOf(file); is != "" && is != m.found.arch {
				return "", fmt.Errorf("cannot run %s on %s: it is for %s, and the machine is %s", file, m.node.Machine, is, m.found.arch)
			}
			return file, nil
		}
	}
	if m.found.arch == runtime.GOARCH {
		return ourselves, nil
	}
	return "", fmt.Errorf("cannot run this program on %s: it is for %s, and the machine is %s; give --binary %s=FILE (GOARCH=%s go build ./cmd/vnet)",
		m.node.Machine, runtime.GOARCH, m.found.arch, m.found.arch, m.found.arch)
}

// archOf is the architecture that a program is for; empty when its file does not say.
func archOf(file string) string {
	program, err := elf.Open(file)
	if err != nil {
		return ""
	}
	defer program.Close()
	return map[elf.Machine]string{
		elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_ARM: "arm", elf.EM_386: "386", elf.EM_LOONGARCH: "loong64",
	}[program.Machine]
}

// provide copies the program where it is missing or older. A program that is newer than ours stays.
func (m *machine) provide(ctx context.Context) error {
	if !m.found.root && len(m.node.TAPs)+len(m.node.LANs) > 0 {
		return fmt.Errorf("cannot make ports on %s: they need root, and `sudo -n` asks for a password there; log in as root, or allow sudo without one", m.node.Machine)
	}
	path, err := m.binary()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot copy the program: %w", err)
	}
	sum := sha256.Sum256(program)
	if hex.EncodeToString(sum[:]) == m.found.program || newer(m.found.version) {
		return nil
	}
	dir := quote(m.found.dir)
	script := fmt.Sprintf("set -e; %s mkdir -p %s; %s sh -c 'umask 022; cat > \"$0.new\" && chmod 755 \"$0.new\" && mv -f \"$0.new\" \"$0\"' %s/vnet", m.found.sudo, dir, m.found.sudo, dir)
	if _, err := m.run(ctx, program, script); err != nil {
		return fmt.Errorf("cannot copy the program: %w", err)
	}
	m.done("copied the program")
	if m.found.running {
		m.say("what runs there is the program from before until it is started anew: vnet launch --stop, then vnet launch")
	}
	return nil
}

// newer says whether a version, as `vnet version` prints it, is above ours.
func newer(printed string) bool {
	var theirs, ours [3]int
	fields := strings.Fields(printed)
	for _, f := range fields {
		if n, _ := fmt.Sscanf(strings.TrimPrefix(f, "v"), "%d.%d.%d", &theirs[0], &theirs[1], &theirs[2]); n == 3 {
			fmt.Sscanf(node.Version, "%d.%d.%d", &ours[0], &ours[1], &ours[2])
			for i := range ours {
				if theirs[i] != ours[i] {
					return theirs[i] > ours[i]
				}
			}
			return false
		}
	}
	return false
}

// daemonArgs is the command line of the node's daemon.
func (m *machine) daemonArgs() []string {
	args := []string{"host"}
	if m.node.Proxy {
		args = []string{"proxy", "--name", string(m.node.Name)}
	}
	if m.node.Port != 0 {
		args = append(args, "--listen", fmt.Sprintf("[::]:%d", m.node.Port))
	}
	for _, i := range m.node.TAPs {
		args = append(args, "--tap", i.Port+"="+i.Device)
	}
	for _, i := range m.node.LANs {
		args = append(args, "--lan", i.Port+"="+i.Device)
	}
	return args
}

// start starts the daemon, unless it runs, and waits until it is as wanted.
func (m *machine) start(ctx context.Context, wanted string) error {
	if m.found.running {
		return nil
	}
	script := m.plainScript()
	if m.unitised() {
		script = m.unitScript()
	}
	if _, err := m.run(ctx, nil, script); err != nil {
		return fmt.Errorf("cannot start: %w", err)
	}
	log := fmt.Sprintf("%s tail -n 5 %s", m.found.sudo, quote(m.log()))
	if m.unitised() {
		log = fmt.Sprintf("%s systemctl status --no-pager --lines 5 %s", m.found.sudo, m.unit())
	}
	wait := fmt.Sprintf("for i in $(seq %d); do out=$(%s 2>&1) && echo \"$out\" | grep -q %s && exit 0; sleep 1; done; echo \"$out\" >&2; %s >&2; exit 1",
		upTries, m.vnet("status"), quote(wanted), log)
	if _, err := m.run(ctx, nil, wait); err != nil {
		return fmt.Errorf("cannot bring it up: %w", err)
	}
	m.done("started")
	return nil
}

// unitised says whether the daemon is a unit of systemd there.
func (m *machine) unitised() bool { return m.found.systemd && m.found.root }

func (m *machine) log() string     { return m.found.dir + "/" + m.l.overlay + ".log" }
func (m *machine) pidFile() string { return m.found.dir + "/" + m.l.overlay + ".pid" }
func (m *machine) unit() string    { return "vnet-" + m.l.overlay + ".service" }

// plainScript starts a process of its own session, whose number is written down for stop.
func (m *machine) plainScript() string {
	words := []string{quote(m.found.dir + "/vnet")}
	for _, a := range append(m.daemonArgs(), "--overlay", m.l.overlay) {
		words = append(words, quote(a))
	}
	inner := fmt.Sprintf("echo $$ > %s; exec %s", quote(m.pidFile()), strings.Join(words, " "))
	return fmt.Sprintf("%s mkdir -p %s && %s setsid sh -c %s >/dev/null 2>&1 </dev/null &", m.found.sudo, quote(m.found.dir), m.found.sudo,
		quote(fmt.Sprintf("exec >%s 2>&1; %s", quote(m.log()), inner)))
}

// unitScript makes and starts a unit of systemd.
func (m *machine) unitScript() string {
	unit := fmt.Sprintf("[Unit]\nDescription=vnet overlay %s\nAfter=network-online.target\nWants=network-online.target\n\n[Service]\nExecStart=%s/vnet %s --overlay %s\nRestart=on-failure\nRestartSec=1\n\n[Install]\nWantedBy=multi-user.target\n",
		m.l.overlay, m.found.dir, strings.Join(m.daemonArgs(), " "), m.l.overlay)
	return fmt.Sprintf("printf %%s %s | %s tee /etc/systemd/system/%s >/dev/null && %s systemctl daemon-reload && %s systemctl enable --now %s",
		quote(unit), m.found.sudo, m.unit(), m.found.sudo, m.found.sudo, m.unit())
}

// stop ends the daemon that launch started.
func (m *machine) stop(ctx context.Context) error {
	if !m.found.running {
		return nil
	}
	pid := quote(m.pidFile())
	script := fmt.Sprintf(`if [ -e /etc/systemd/system/%[1]s ]; then %[2]s systemctl disable --now %[1]s; exit; fi
pid=$(%[2]s cat %[3]s 2>/dev/null) || { echo "cannot stop: vnet launch did not start this daemon" >&2; exit 1; }
[ "$(%[2]s tr '\0' ' ' < /proc/$pid/cmdline | cut -d ' ' -f 1)" = %[4]s ] || { echo "cannot stop: process $pid is no daemon of ours" >&2; exit 1; }
%[2]s kill $pid
for i in $(seq 50); do %[2]s kill -0 $pid 2>/dev/null || { %[2]s rm -f %[3]s; exit 0; }; sleep 0.2; done
echo "cannot stop: process $pid does not end" >&2; exit 1`, m.unit(), m.found.sudo, pid, quote(m.found.dir+"/vnet"))
	if _, err := m.run(ctx, nil, script); err != nil {
		return err
	}
	m.done("stopped")
	return nil
}

func (m *machine) startProxy(ctx context.Context) error { return m.start(ctx, "overlay") }

// startHost lets the machine join, if it has not, and starts its daemon.
func (m *machine) startHost(ctx context.Context) error {
	if !m.found.joined && !m.found.running {
		if err := m.join(ctx); err != nil {
			return err
		}
		m.done("joined")
	}
	return m.start(ctx, "up: ")
}

// join makes a token at the Proxy and hands it over on standard input, where no list of processes shows it.
func (m *machine) join(ctx context.Context) error {
	proxy := m.l.proxy
	port := proxy.node.Port
	if port == 0 {
		port = portOf(m.l.overlay)
	}
	token, err := proxy.run(ctx, nil, proxy.vnet("token", "create", "--name", string(m.node.Name), "--address", fmt.Sprintf("%s:%d", bracket(proxy.address(ctx)), port)))
	if err != nil {
		return fmt.Errorf("cannot make a token: %w", err)
	}
	if _, err := m.run(ctx, token, m.vnet("join", "-", "--no-start", "--name", string(m.node.Name))); err != nil {
		return fmt.Errorf("cannot join: %w", err)
	}
	return nil
}

// address is where ssh finds the machine: what its configuration makes of the name.
func (m *machine) address(ctx context.Context) string {
	argv := append(strings.Fields(m.l.ssh), "-G", m.node.Machine)
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
	if err == nil {
		for line := range strings.Lines(string(out)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "hostname "); ok {
				return name
			}
		}
	}
	return m.node.Machine
}

// bracket puts an IPv6 address into brackets, as in HOST:PORT.
func bracket(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}
