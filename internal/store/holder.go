package store

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// holder says which process keeps the lock on a file, as far as this machine tells, and what to do about it.
func holder(path string) string {
	const unknown = "another process (is a daemon of the same overlay running? see: fuser "
	info, err := os.Stat(path)
	if err != nil {
		return unknown + path + ")"
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return unknown + path + ")"
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return unknown + path + ")"
	}
	defer locks.Close()
	pid := lockOwner(locks, stat.Ino)
	if pid == "" {
		return unknown + path + ")"
	}
	name, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		return "process " + pid
	}
	return fmt.Sprintf("process %s (%s): stop it, or give this daemon another overlay name or state directory", pid, strings.TrimSpace(string(name)))
}

// lockOwner finds who has flocked a file in lines of proc_locks(5), such as
// "1: FLOCK  ADVISORY  WRITE 7432 fd:01:1052 0 EOF"; waiting lines have "->" after the number.
func lockOwner(locks io.Reader, inode uint64) string {
	suffix := fmt.Sprintf(":%d", inode)
	lines := bufio.NewScanner(locks)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) >= 6 && f[1] == "FLOCK" && strings.HasSuffix(f[5], suffix) && f[4] != "0" {
			return f[4]
		}
	}
	return ""
}
