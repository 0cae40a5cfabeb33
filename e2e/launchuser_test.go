package e2e

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
)

// ordinaryUser gives a machine a user called worker, of its own: nothing of it is seen outside.
const ordinaryUser = `
mount -t tmpfs tmpfs /usr/local
mkdir -p /usr/local/bin /var/lib/etc /var/lib/worker
chown 1500:1500 /var/lib/worker
{ cat /etc/passwd; echo worker:x:1500:1500::/var/lib/worker:/bin/sh; } > /var/lib/etc/passwd
{ cat /etc/shadow; echo 'worker:*:19000:0:99999:7:::'; } > /var/lib/etc/shadow
mount --bind /var/lib/etc/passwd /etc/passwd
mount --bind /var/lib/etc/shadow /etc/shadow
`

// mayEverything has sudo ask the user for nothing.
const mayEverything = `
cat > /var/lib/etc/sudoers <<END
Defaults secure_path="/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
worker ALL=(ALL) NOPASSWD: ALL
END
chmod 440 /var/lib/etc/sudoers
mount --bind /var/lib/etc/sudoers /etc/sudoers
`

// standIn is a systemctl that knows what launch asks of it: no lab machine has systemd as its first process.
const standIn = `
mkdir -p /run/systemd/system
mount -t tmpfs tmpfs /etc/systemd/system
cat > /usr/local/bin/systemctl <<'END'
#!/bin/sh
[ "$(id -u)" = 0 ] || { echo "systemctl: not root" >&2; exit 1; }
for unit; do :; done
case $1 in
daemon-reload) touch /run/reloaded ;;
enable)
	[ -e /run/reloaded ] || exit 1
	setsid sh -c "echo \$\$ > /run/$unit.pid; exec $(sed -n 's/^ExecStart=//p' /etc/systemd/system/$unit)" >/run/$unit.log 2>&1 </dev/null & ;;
disable) kill $(cat /run/$unit.pid) ;;
status) tail -n 5 /run/$unit.log ;;
esac
END
chmod 755 /usr/local/bin/systemctl
`

// anotherKind has a machine say that its processor is another.
const anotherKind = `
printf '#!/bin/sh\necho aarch64\n' > /usr/local/bin/uname
chmod 755 /usr/local/bin/uname
`

// Machines are not all alike: some let one in as an ordinary user, with sudo or without, some have systemd, some have another
// processor.
func TestLaunchAsAnOrdinaryUser(t *testing.T) {
	patient(t)
	if os.Getuid() != 0 {
		t.Skip("a real sshd lets users in only when it runs as root")
	}
	needs(t, "/usr/sbin/sshd", "ssh", "ssh-keygen", "sudo")
	names := []string{"home", "sudo", "unit", "bare", "ports", "arm"}
	spec := "name: users\nsites: [{name: cloud}]\nhosts:\n  - {name: laptop, site: cloud}\n"
	for _, name := range names {
		spec += fmt.Sprintf("  - {name: %s, site: cloud}\n", name)
	}
	w := startLab(t, spec)
	for _, name := range names {
		w.shell(name, ordinaryUser, "")
	}
	w.shell("sudo", mayEverything, "")
	w.shell("unit", mayEverything+standIn, "")
	w.shell("arm", anotherKind, "")
	w.sshd(names)

	file := `vnet 1
node home proxy worker AT home
node sudo host worker AT sudo 5001 tap vm1
node unit host worker AT unit tap vm2
node bare host worker AT bare
node ports host worker AT ports tap vm3
node arm host worker AT arm
link sudo unit
link bare arm
`
	wants := func(what string, r launched, errors map[string]string, did map[string]string) {
		t.Helper()
		for _, m := range r.Machines {
			want := errors[m.Node]
			if m.OK != (want == "") || !strings.Contains(m.Error, want) {
				t.Errorf("%s, %s: want %q, got %+v", what, m.Node, want, m)
			}
			if got := strings.Join(m.Did, ", "); did != nil && got != did[m.Node] {
				t.Errorf("%s, %s: did %q, want %q", what, m.Node, got, did[m.Node])
			}
		}
	}
	noRoot := "cannot make ports on ports: they need root, and `sudo -n` asks for a password there"
	r, code := w.launch(file)
	wants("the first run", r, map[string]string{"ports": noRoot, "arm": "the machine is arm64; give --binary arm64=FILE (GOARCH=arm64 go build ./cmd/vnet)"},
		map[string]string{"home": "copied the program, started", "sudo": "copied the program, joined, started", "unit": "copied the program, joined, started", "bare": "copied the program, joined, started"})
	if code != 1 {
		t.Errorf("exit %d", code)
	}
	as := func(name, command string) string {
		return w.run("laptop", "ssh", "-F", "/var/lib/ssh/client", "worker@"+name, command)
	}
	if out := as("home", "$HOME/.vnet/vnet show topology"); !strings.Contains(out, "link sudo unit\n") || strings.Contains(out, "link bare arm") {
		t.Errorf("the topology is\n%s", out)
	}
	for name, want := range map[string]string{
		"home": "worker /var/lib/worker/.vnet/vnet proxy --name home --overlay vnet", "bare": "worker /var/lib/worker/.vnet/vnet host --overlay vnet",
		"sudo": "root /usr/local/lib/vnet/vnet host --listen [::]:5001 --tap vm1=vm1 --overlay vnet", "unit": "root /usr/local/lib/vnet/vnet host --tap vm2=vm2 --overlay vnet",
	} {
		if out := as(name, "ps -eo user:20,args | tr -s ' '"); !strings.Contains(out, want+"\n") {
			t.Errorf("no %q at %s:\n%s", want, name, out)
		}
	}
	if out := as("unit", "cat /etc/systemd/system/vnet-vnet.service"); !strings.Contains(out, "\nRestart=on-failure\n") {
		t.Errorf("the unit is\n%s", out)
	}

	// The program given for the other kind of machine is looked at before it is copied.
	w.shell("laptop", "cat > /var/lib/vnet-amd64", string(programFor(62)))
	r, _ = w.launch(file, "--binary", "aarch64=/var/lib/vnet-amd64")
	wants("with a program that is not for it", r, map[string]string{"ports": noRoot, "arm": "it is for amd64, and the machine is arm64"}, map[string]string{})
	w.shell("laptop", "cat > /var/lib/vnet-arm64", string(programFor(183)))
	r, _ = w.launch(file, "--binary", "arm64=/var/lib/vnet-arm64")
	wants("with a program for it, which no machine here can run", r, map[string]string{"ports": noRoot, "arm": "cannot join: "}, map[string]string{"arm": "copied the program"})

	r, code = w.launch(file, "--stop")
	if code != 0 {
		t.Errorf("stopping: exit %d", code)
	}
	stopped := map[string]string{"home": "stopped", "sudo": "stopped", "unit": "stopped", "bare": "stopped"}
	wants("stopping", r, nil, stopped)
	for name := range stopped {
		if out := as(name, "ps -eo args"); strings.Contains(out, "vnet/vnet ") {
			t.Errorf("%s still runs:\n%s", name, out)
		}
	}
}

// programFor is the head of a program for a processor, 62 (EM_X86_64) or 183 (EM_AARCH64), and nothing behind it (System V ABI,
// chapter 4).
func programFor(processor uint16) []byte {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(b[16:], 2) // an executable
	binary.LittleEndian.PutUint16(b[18:], processor)
	binary.LittleEndian.PutUint32(b[20:], 1)
	binary.LittleEndian.PutUint16(b[52:], 64)
	return b
}
