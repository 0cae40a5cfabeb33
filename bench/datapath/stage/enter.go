package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// role is the name by which this program runs again as process 1 of the stage.
const role = "datapath-stage"

// Inside tells whether this process is on a stage already.
func Inside() bool { return filepath.Base(os.Args[0]) == role }

// Enter runs this very program again, with the same arguments, as process 1 of fresh network, mount, IPC and PID
// namespaces, and returns its exit code. Root stays root: what a daemon gets from the kernel by being privileged
// (socket buffers above the limit) is part of what is measured. An ordinary user becomes root of a user namespace.
func Enter(ctx context.Context) (int, error) {
	runtime.LockOSThread() // the kernel ties PDEATHSIG to the thread that forked
	defer runtime.UnlockOSThread()
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = role
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, fmt.Errorf("cannot make namespaces: %w; run this as root", err)
	}
	return 0, nil
}

// furnish gives process 1 of the stage mounts of its own: /proc shows its processes, /run is empty.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("cannot mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("cannot mount /run: %w", err)
	}
	return nil
}
