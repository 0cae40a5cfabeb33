package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// account is who a daemon becomes once it is up, and who may use its socket.
type account struct {
	name     string
	uid, gid int
	groups   []int
}

// findAccount reads a user's name or number.
func findAccount(name string) (a account, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return a, fmt.Errorf("cannot run as %q: there is no such user; make one: useradd --system --no-create-home %s", name, name)
		}
	}
	a.name = u.Username
	a.uid, _ = strconv.Atoi(u.Uid) // what the system keeps are numbers
	a.gid, _ = strconv.Atoi(u.Gid)
	ids, err := u.GroupIds()
	if err != nil {
		return a, fmt.Errorf("cannot tell the groups of %s: %w", a.name, err)
	}
	for _, text := range ids {
		if id, err := strconv.Atoi(text); err == nil {
			a.groups = append(a.groups, id)
		}
	}
	return a, nil
}

// findGroup reads a group's name or number; empty is none, -1.
func findGroup(name string) (int, error) {
	if name == "" {
		return -1, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		if g, err = user.LookupGroupId(name); err != nil {
			return -1, fmt.Errorf("cannot let group %q use the socket: there is no such group; make one: groupadd --system %s", name, name)
		}
	}
	return strconv.Atoi(g.Gid)
}

// giveState makes all that a state directory holds the account's: the daemon renews its certificate there. What root keeps the
// states of all overlays in lets everybody through from now on; each of them is still for its own user only.
func (a account) giveState(dir string) error {
	if above := filepath.Dir(dir); above == systemState {
		info, err := os.Stat(above)
		if err == nil {
			err = os.Chmod(above, info.Mode().Perm()|0o011)
		}
		if err != nil {
			return err
		}
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, a.uid, a.gid)
	})
}

// keeps are the capabilities that the daemon needs when all is open: sockets of QEMU get their buffers when a guest plugs in,
// and a state directory of somebody else can only be written with the right to.
func (d *daemon) keeps() (list []uint) {
	for _, p := range d.ports {
		if p.Info().Kind == "qemu" {
			list = append(list, unix.CAP_NET_ADMIN)
			break
		}
	}
	if info, err := os.Stat(d.state); err == nil && d.as == nil {
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
			list = append(list, unix.CAP_DAC_OVERRIDE)
		}
	}
	return list
}

// drop gives up what the daemon needed to open its devices: all threads, also those bound to a worker, lose every capability
// but a few, can get none back (PR_SET_NO_NEW_PRIVS, and the bounding set), and become the user asked for.
func (d *daemon) drop() error {
	keep := d.keeps()
	if err := allThreads(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("cannot give up privileges: %w", err)
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ { // needs CAP_SETPCAP: without it there is little to lose
		if err := allThreads(unix.PR_CAPBSET_DROP, c); errors.Is(err, unix.EPERM) {
			break
		}
	}
	if d.as != nil {
		if err := d.become(*d.as); err != nil {
			return fmt.Errorf("cannot become %s: %w", d.as.name, err)
		}
	}
	if err := keepOnly(keep); err != nil {
		return fmt.Errorf("cannot give up privileges: %w", err)
	}
	return nil
}

func (d *daemon) become(a account) error {
	if err := a.giveState(d.state); err != nil {
		return err
	}
	if err := allThreads(unix.PR_SET_KEEPCAPS, 1); err != nil { // keepOnly says what stays
		return err
	}
	if err := errors.Join(syscall.Setgroups(a.groups), syscall.Setresgid(a.gid, a.gid, a.gid), syscall.Setresuid(a.uid, a.uid, a.uid)); err != nil {
		return err
	}
	if err := unix.Access(d.state, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s cannot be written by that user (%w): its certificate could not be renewed; let it pass through the directories above, or choose another with --state", d.state, err)
	}
	return nil
}

// allThreads is prctl(2) for every thread of the process.
func allThreads(option int, arg uintptr) error {
	_, _, errno := psx.Syscall6(unix.SYS_PRCTL, uintptr(option), arg, 0, 0, 0, 0)
	return errnoError(errno)
}

// keepOnly leaves those of its capabilities to the process that are listed.
func keepOnly(list []uint) error {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // pid 0: each thread itself
	data := &[2]unix.CapUserData{}
	if err := unix.Capget(header, &data[0]); err != nil {
		return err
	}
	var want [2]uint32
	for _, c := range list {
		want[c/32] |= 1 << (c % 32)
	}
	for i := range data {
		data[i].Permitted &= want[i]
		data[i].Effective, data[i].Inheritable = data[i].Permitted, 0
	}
	if err := allThreads(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	header.Pid = 0
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(data)), 0)
	runtime.KeepAlive(header)
	runtime.KeepAlive(data)
	return errnoError(errno)
}

func errnoError(errno syscall.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}
