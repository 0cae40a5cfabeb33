package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// Guests here are real ones: QEMU with Debian's kernel, which scripts/guest-kernel fetches, and the mixer as their first and
// only process. A guest is plugged in at a TAP whose queues QEMU gets as descriptors, with marks for unfinished frames, or at
// one of our sockets.

const guestFiles = "../bin/guest"

// qemuTAP is the interface that a guest's TAP is called on its host.
const qemuTAP = "guest0"

// firstQueue is past all descriptors that a new process has.
const firstQueue = 33

// onTAP: qemu-tap MTU QEMU ARGUMENT…. It makes a TAP with two queues and becomes QEMU, which has them as descriptors
// from firstQueue on.
func onTAP(args []string) int {
	link := &netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: qemuTAP}, Mode: netlink.TUNTAP_MODE_TAP, Queues: 2,
		Flags: netlink.TUNTAP_MULTI_QUEUE_DEFAULTS | netlink.TUNTAP_VNET_HDR, NonPersist: true,
	}
	if err := netlink.LinkAdd(link); err != nil {
		return complain(err)
	}
	var mtu int
	if _, err := fmt.Sscan(args[0], &mtu); err != nil {
		return complain(err)
	}
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return complain(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return complain(err)
	}
	for i, f := range link.Fds {
		if err := unix.Dup3(int(f.Fd()), firstQueue+i, 0); err != nil {
			return complain(err)
		}
	}
	program, err := exec.LookPath(args[1])
	if err == nil {
		err = syscall.Exec(program, args[1:], os.Environ())
	}
	return complain(err)
}

// TestQEMUGuests: two guests exchange frames of all kinds, and nothing is damaged.
func TestQEMUGuests(t *testing.T) {
	needs(t, "qemu-system-x86_64")
	if _, err := os.Stat(guestFiles + "/vmlinuz"); err != nil {
		t.Skip("there is no kernel for guests: run scripts/guest-kernel (Debian on x86-64)")
	}
	during := 3 * time.Second
	mtus, ways := []int{1500}, []string{"stream:/run/guest.sock"}
	if os.Getenv("E2E_LONG") != "" {
		during, mtus, ways = 30*time.Second, []int{1500, 9000}, append(ways, "dgram:/run/guest.sock,/run/qemu.sock")
	}
	initrd := buildInitrd(t)
	for _, mtu := range mtus {
		for _, way := range ways {
			kind, _, _ := strings.Cut(way, ":")
			t.Run(fmt.Sprintf("tap and %s, MTU %d", kind, mtu), func(t *testing.T) {
				mixGuests(t, initrd, way, mtu, during)
			})
		}
	}
}

const guestsSpec = `
sites:
  - name: cloud
hosts:
  - {name: proxy, site: cloud}
  - {name: host1, site: cloud}
  - {name: host2, site: cloud}
overlay: {proxy: proxy, hosts: [host1, host2]}
`

func mixGuests(t *testing.T, initrd, way string, mtu int, during time.Duration) {
	w := startLab(t, guestsSpec)
	if err := w.StartProxy(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"host1", "host2"} {
		if err := w.Join(t.Context(), host); err != nil {
			t.Fatal(err)
		}
	}
	socket := "stream,id=n0,server=off,addr.type=unix,addr.path=/run/guest.sock"
	if strings.HasPrefix(way, "dgram") {
		socket = "dgram,id=n0,local.type=unix,local.path=/run/qemu.sock,remote.type=unix,remote.path=/run/guest.sock"
	}
	var said [2]output
	common, files := guestArgs(t, initrd)
	first := append([]string{lab.Self, fmt.Sprint(mtu), "qemu-system-x86_64"}, common...)
	first = append(first, "-append", guestLine(0, mtu, during), "-netdev", fmt.Sprintf("tap,id=n0,fds=%d:%d,vhost=off", firstQueue, firstQueue+1),
		"-device", "virtio-net-pci,netdev=n0,mq=on,vectors=6,mac="+guestMAC(0))
	second := append([]string{"qemu-system-x86_64"}, common...)
	second = append(second, "-append", guestLine(1, mtu, during), "-netdev", socket, "-device", "virtio-net-pci,netdev=n0,mac="+guestMAC(1))
	if err := w.StartHost(t.Context(), "host2", "--qemu", "guest="+way); err != nil {
		t.Fatal(err)
	}
	procs := [2]*lab.Proc{
		w.spawn("host1", lab.CmdOptions{Name: "qemu-tap", Files: files, Stdout: &said[0], Stderr: &said[0]}, first...),
		w.spawn("host2", lab.CmdOptions{Files: files, Stdout: &said[1], Stderr: &said[1]}, second...),
	}
	w.eventually(5*time.Second, "the guest's TAP is there", func() bool {
		return strings.Contains(w.run("host1", "ip", "-o", "link"), qemuTAP)
	})
	if err := w.StartHost(t.Context(), "host1", "--lan", qemuTAP); err != nil {
		t.Fatal(err)
	}
	var reports [2]mixReport
	for i := range procs {
		select {
		case <-procs[i].Done():
		case <-time.After(during + 60*time.Second):
			t.Fatalf("guest %d does not end; it said: %s", i, said[i].String())
		}
		reports[i] = readMix(t, strings.ReplaceAll(said[i].String(), "\r", ""))
	}
	judgeMix(t, [2]string{"the guest at the TAP", "the guest at the socket"}, reports)
	if t.Failed() {
		t.Log(w.vnet("host1", "ports"), w.vnet("host2", "ports"))
	}
}

func guestMAC(i int) string { return fmt.Sprintf("52:54:00:00:99:%02x", i+1) }

// guestLine is a guest's kernel command line: the mixer's arguments are on it.
func guestLine(i, mtu int, during time.Duration) string {
	return "console=ttyS0 quiet panic=-1 mixer=" + strings.Join([]string{
		"--mtu", fmt.Sprint(mtu), "--for", during.String(), "--patience", "40s", "--peer-mac", guestMAC(1 - i),
		"--own4", fmt.Sprintf("10.80.9.%d/16", i+1), "--peer4", fmt.Sprintf("10.80.9.%d", 2-i),
		"--own6", fmt.Sprintf("fd80::9:%d/64", i+1), "--peer6", fmt.Sprintf("fd80::9:%d", 2-i),
	}, ",")
}

// guestArgs are what all guests are started with, and the files that they need as descriptors 3 and 4: a host of the lab sees
// no other machine's files.
func guestArgs(t *testing.T, initrd string) ([]string, []*os.File) {
	t.Helper()
	var files []*os.File
	for _, path := range []string{guestFiles + "/vmlinuz", initrd} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		files = append(files, f)
	}
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio", "-m", "256",
		"-machine", "pc,accel=" + accelerator(), "-cpu", "max", "-kernel", "/proc/self/fd/3", "-initrd", "/proc/self/fd/4",
	}, files
}

// accelerator is kvm where a guest's first instructions run under it, which /dev/kvm alone does not promise.
var accelerator = sync.OnceValue(func() string {
	cmd := exec.Command("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc,accel=kvm", "-cpu", "max",
		"-chardev", "stdio,id=firmware", "-device", "isa-debugcon,iobase=0x402,chardev=firmware") // SeaBIOS talks to this port
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return "tcg"
	}
	spoke := make(chan bool, 1)
	go func() {
		_, err := io.ReadFull(out, make([]byte, 16))
		spoke <- err == nil
	}()
	works := false
	select {
	case works = <-spoke:
	case <-time.After(2 * time.Second):
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed, as it should be
	if works {
		return "kvm"
	}
	return "tcg"
})

// buildInitrd makes the guests' file system: the mixer as /init, and modules.
func buildInitrd(t *testing.T) string {
	t.Helper()
	files := map[string]string{"init": buildMixer(t)}
	modules, err := filepath.Glob(guestFiles + "/*.ko")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modules {
		files["modules/"+filepath.Base(m)] = m
	}
	var b bytes.Buffer
	for _, dir := range []string{"dev", "proc", "sys", "modules"} {
		writeCPIO(&b, dir, 0o040755, nil)
	}
	for name, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		writeCPIO(&b, name, 0o100755, content)
	}
	writeCPIO(&b, "TRAILER!!!", 0, nil)
	at := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(at, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return at
}

// writeCPIO appends a file in the "new ASCII" format, as the kernel's Documentation/driver-api/early-userspace/buffer-format.rst
// has it: 13 numbers of 8 hexadecimal digits behind a magic, then name and content, each padded to 4 bytes.
func writeCPIO(b *bytes.Buffer, name string, mode int, content []byte) {
	inode, links := b.Len()+1, 1
	fmt.Fprintf(b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	b.WriteString(name + "\x00")
	pad := func() { b.Write(make([]byte, (4-b.Len()%4)%4)) }
	pad()
	b.Write(content)
	pad()
}
