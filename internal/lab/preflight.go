package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Obstacle is why this machine does not let the lab run, and what to do about it.
type Obstacle struct {
	Case Case
	Why  string
	Fix  string // a command, exactly; "" where there is none
}

// Case names an obstacle.
type Case string

// The obstacles the lab can tell apart.
const (
	NamespacesOff   Case = "user namespaces are switched off"
	CloneForbidden  Case = "user namespaces are forbidden to ordinary users"
	AppArmor        Case = "AppArmor takes the capabilities of user namespaces away"
	Seccomp         Case = "this container's seccomp filter forbids namespaces"
	NoTUN           Case = "there is no /dev/net/tun"
	TUNForbidden    Case = "/dev/net/tun may not be opened"
	NamespaceFailed Case = "namespaces cannot be made"
)

func (o *Obstacle) Error() string {
	text := fmt.Sprintf("cannot run the lab: %s: %s", o.Case, o.Why)
	if o.Fix != "" {
		text += "\nhint: " + o.Fix
	}
	return text
}

// observations are what a trial and a look at the system found.
type observations struct {
	Root       bool
	StartErr   error // of starting a process in fresh namespaces
	ProbeErr   string
	ProbeErrno syscall.Errno // why the first privileged step inside failed
	ProbeStep  string        // which one: "capability", "mount", "interface", "tun"
	MaxUserNS  int           // /proc/sys/user/max_user_namespaces; -1 = unknown
	CloneOff   bool          // kernel.unprivileged_userns_clone = 0
	AppArmorOn bool          // kernel.apparmor_restrict_unprivileged_userns = 1
	Seccomp    bool          // a filter is on this process
	NoTUN      bool          // /dev/net/tun does not exist
}

// Preflight tries in a child what the lab needs and returns nil, or an *Obstacle that names what is in the way
// and how to remove it.
func Preflight() error {
	return diagnose(observe())
}

// classify explains why the leader did not start, as far as a look at the system can.
func classify(err error) error {
	o := look()
	o.StartErr = err
	return diagnose(o)
}

// look reads the settings that matter; it tries nothing.
func look() observations {
	o := observations{Root: os.Geteuid() == 0, MaxUserNS: -1}
	read := func(path string) string {
		b, _ := os.ReadFile(path)
		return strings.TrimSpace(string(b))
	}
	if n, err := strconv.Atoi(read("/proc/sys/user/max_user_namespaces")); err == nil {
		o.MaxUserNS = n
	}
	o.CloneOff = read("/proc/sys/kernel/unprivileged_userns_clone") == "0"
	o.AppArmorOn = read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1"
	for line := range strings.Lines(read("/proc/self/status")) {
		if mode, ok := strings.CutPrefix(line, "Seccomp:"); ok {
			o.Seccomp = strings.TrimSpace(mode) == "2"
		}
	}
	_, err := os.Stat(tunPath)
	o.NoTUN = errors.Is(err, os.ErrNotExist)
	return o
}

func observe() observations {
	o := look()
	var said strings.Builder
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{probeRole}, Stdout: &said, SysProcAttr: leaderAttr()}
	// The probe is short, so the death signal of its parent's thread is not needed, and that thread not locked.
	cmd.SysProcAttr.Pdeathsig = 0
	if err := cmd.Start(); err != nil {
		o.StartErr = err
		return o
	}
	if err := cmd.Wait(); err == nil {
		return o
	}
	step, number, _ := strings.Cut(strings.TrimSpace(said.String()), " ")
	n, _ := strconv.Atoi(number)
	o.ProbeStep, o.ProbeErrno = step, syscall.Errno(n)
	o.ProbeErr = fmt.Sprintf("%s: %v", step, o.ProbeErrno)
	return o
}

// probeMain tries each privilege the lab needs, and says on standard output at which step it was refused, and how.
func probeMain() error {
	steps := []struct {
		name string
		try  func() error
	}{
		{"capability", func() error { return unix.Sethostname([]byte("probe")) }},
		{"mount", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"proc", func() error { return unix.Mount("proc", "/proc", "proc", 0, "") }},
		{"tun", func() error {
			f, err := openTun("probe", unix.IFF_TAP|unix.IFF_VNET_HDR|unix.IFF_MULTI_QUEUE)
			if err == nil {
				err = f.Close()
			}
			return err
		}},
	}
	for _, s := range steps {
		if err := s.try(); err != nil {
			var errno syscall.Errno
			errors.As(err, &errno)
			fmt.Printf("%s %d\n", s.name, int(errno))
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}
