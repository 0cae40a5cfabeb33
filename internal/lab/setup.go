package lab

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// setup is everything an init does to its fresh namespaces, decided by the leader.
type setup struct {
	Name   string
	Hosts  string // content of /etc/hosts
	Router bool   // forwards IPv4 and has no IPv6
	Bridge *bridgeSetup
	Links  []linkSetup
	TAP    *tapSetup
	TUN    string       // name of an IP tunnel device to open towards the relay; it takes the default route
	Via    netip.Addr   // default router
	Addr   netip.Prefix // of the interface that carries the default route
}

type linkSetup struct {
	Name   string
	MAC    ether.MAC // zero = keep what the kernel chose
	MTU    int
	Addr   netip.Prefix
	Rate   int64 // bit/s leaving through this end; 0 = not limited
	Queue  time.Duration
	Master string // bridge it belongs to

	Super   int // bytes of the largest super-packet it sends; 0 = what the kernel chose
	Waiting int // packets that may wait at a device; 0 = what the kernel chose
}

type bridgeSetup struct {
	Name string
	MAC  ether.MAC
	Addr netip.Prefix
}

type tapSetup struct {
	Name   string
	MAC    ether.MAC
	MTU    int
	Addr   netip.Prefix
	Queues int
}

// private lists the directories every host and VM has for itself, empty at first.
func private() []string {
	return []string{"/tmp", "/run", "/var/lib", "/var/tmp", "/dev/shm"}
}

// etcDir holds the host's own versions of files in /etc, inside its private /run.
const etcDir = "/run/vnet-lab"

// tmpfsOptions caps what a runaway program can write: 512 MiB a directory is far above what a test writes.
const tmpfsOptions = "mode=1777,size=512m"

// mounts gives the namespace its own /proc, /sys, private directories and name files.
func (s setup) mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Mount("proc", "/proc", "proc", flags|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("cannot mount /proc: %w", err)
	}
	for _, dir := range private() {
		// /var/tmp may be a link to /tmp, and a minimal system may lack /dev/shm.
		if st, err := os.Lstat(dir); err != nil || !st.IsDir() {
			continue
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", flags, tmpfsOptions); err != nil {
			return fmt.Errorf("cannot mount a private %s: %w", dir, err)
		}
	}
	// Where a container hides parts of /sys the kernel refuses a fresh one; the old one shows another
	// namespace's interfaces, which only `ls /sys/class/net` notices.
	_ = unix.Mount("sysfs", "/sys", "sysfs", flags|unix.MS_NOEXEC, "")
	for _, dir := range []string{etcDir, homeDir, runtimeDir, "/var/lib/misc", "/var/lib/dhcp", "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cannot make %s: %w", dir, err)
		}
	}
	if err := os.Chmod(runtimeDir, 0o700); err != nil {
		return err
	}
	return s.nameFiles()
}

func (s setup) nameFiles() error {
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return fmt.Errorf("cannot set the host name: %w", err)
	}
	for path, content := range map[string]string{
		"/etc/hostname":    s.Name + "\n",
		"/etc/hosts":       "127.0.0.1 localhost\n::1 localhost\n" + s.Hosts,
		"/etc/resolv.conf": "# none: the lab has no resolver\n",
	} {
		if err := privateFile(path, content); err != nil {
			return err
		}
	}
	return nil
}

// privateFile gives path a content only this namespace sees. Where it is a link into a private directory (as
// /etc/resolv.conf often is, into /run) the target is written; elsewhere a file is mounted over it. A system
// without the file goes without.
func privateFile(path, content string) error {
	if to, err := os.Readlink(path); err == nil {
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		if hidden(to) {
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return err
			}
			return os.WriteFile(to, []byte(content), 0o644)
		}
	}
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	own := filepath.Join(etcDir, filepath.Base(path))
	if err := os.WriteFile(own, []byte(content), 0o644); err != nil {
		return err
	}
	if err := unix.Mount(own, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot give the host its own %s: %w", path, err)
	}
	return nil
}

// hidden tells whether a path of the real machine is covered by a private directory.
func hidden(path string) bool {
	for _, dir := range private() {
		if strings.HasPrefix(filepath.Clean(path)+"/", dir+"/") {
			return true
		}
	}
	return false
}

// sysctls quietens IPv6 (no duplicate address detection, no router solicitations: their timers would be noise
// in measurements), and lets a router route. Only forwarding must succeed.
func (s setup) sysctls() error {
	set := func(key, value string) error {
		path := "/proc/sys/net/" + key
		if have, err := os.ReadFile(path); err == nil && string(bytes.TrimSpace(have)) == value {
			return nil
		}
		return os.WriteFile(path, []byte(value), 0o644)
	}
	conf, _ := filepath.Glob("/proc/sys/net/ipv6/conf/*")
	for _, dir := range conf {
		base := "ipv6/conf/" + filepath.Base(dir)
		_ = set(base+"/accept_dad", "0")
		_ = set(base+"/router_solicitations", "0")
		if s.Router {
			_ = set(base+"/disable_ipv6", "1")
		}
	}
	_ = set("ipv4/ping_group_range", "0 0")
	// A route's metrics remembered from the last connection would make two equal runs differ.
	_ = set("ipv4/tcp_no_metrics_save", "1")
	if !s.Router {
		return nil
	}
	// A switch does not look into packets; where the kernel has the module that does, each would pass its hooks.
	for _, family := range []string{"iptables", "ip6tables", "arptables"} {
		_ = set("bridge/bridge-nf-call-"+family, "0")
	}
	_ = set("ipv4/conf/all/rp_filter", "0")
	_ = set("ipv4/conf/default/rp_filter", "0")
	_ = set("ipv4/conf/all/send_redirects", "0")
	if err := set("ipv4/ip_forward", "1"); err != nil {
		return fmt.Errorf("cannot let the site's router forward: %w", err)
	}
	return nil
}
