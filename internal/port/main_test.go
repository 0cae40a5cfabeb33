//go:build linux

package port

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// insideKey is the environment variable that tells the test binary that it runs in namespaces of its own, or why
// it does not.
const insideKey = "VNET_PORT_TEST_INSIDE"

// TestMain runs the tests in fresh user and network namespaces, which an ordinary user may make on most machines. Root needs no other users,
// among whom the kernel would take no program of ours (ration_linux.go).
func TestMain(m *testing.M) {
	if os.Getenv(insideKey) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideKey+"=yes")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:   syscall.SIGKILL,
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if os.Getuid() == 0 && mayMakeNamespaces() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: syscall.CLONE_NEWNET}
	}
	runtime.LockOSThread() // the child's life hangs on this thread
	if err := cmd.Start(); err != nil {
		_ = os.Setenv(insideKey, fmt.Sprintf("no namespaces of our own: %v", err))
		os.Exit(m.Run())
	}
	if err := cmd.Wait(); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// mayMakeNamespaces tries it on a thread that is thrown away.
func mayMakeNamespaces() bool {
	may := make(chan bool)
	go func() {
		runtime.LockOSThread() // and never unlocked
		may <- syscall.Unshare(syscall.CLONE_NEWNET) == nil
	}()
	return <-may
}

// needNamespace skips a test of real doors where they cannot be had.
func needNamespace(t testing.TB) {
	t.Helper()
	if why := os.Getenv(insideKey); why != "yes" {
		t.Skip(why)
	}
}

// needTAP skips a test of TAPs where this user may not make any.
func needTAP(t testing.TB) {
	t.Helper()
	needNamespace(t)
	f, err := os.OpenFile(tunDevice, os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no TAP: %v", err)
	}
	_ = f.Close()
}
