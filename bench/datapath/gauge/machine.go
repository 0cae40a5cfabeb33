package gauge

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ticks is how many of /proc/stat's units make a second: USER_HZ, the same on every Linux that Go runs on.
const ticks = 100

// Busy is the processor time that the whole machine has spent since it started, in seconds: everything but idling,
// waiting for disks, and what a hypervisor took.
func Busy() (float64, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	var user, nice, system, idle, wait, irq, soft float64
	if _, err := fmt.Sscanf(string(text), "cpu %g %g %g %g %g %g %g", &user, &nice, &system, &idle, &wait, &irq, &soft); err != nil {
		return 0, fmt.Errorf("cannot read /proc/stat: %w", err)
	}
	return (user + nice + system + irq + soft) / ticks, nil
}

// Spent is the processor time of a process and all its threads since it started, to the nanosecond.
func Spent(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("cannot see the threads of process %d", pid)
	}
	var sum time.Duration
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has just ended
		}
		var ran int64
		if _, err := fmt.Sscan(string(text), &ran); err != nil {
			return 0, fmt.Errorf("cannot read %s: %w", f, err)
		}
		sum += time.Duration(ran)
	}
	return sum, nil
}

// Resident is the memory that a process holds, in bytes.
func Resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("cannot read the memory of process %d", pid)
}

// Idle is the share of one processor that the busiest of some processes takes over a time.
func Idle(pids []int, over time.Duration) (float64, error) {
	before := make([]time.Duration, len(pids))
	for i, pid := range pids {
		var err error
		if before[i], err = Spent(pid); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	time.Sleep(over)
	took := time.Since(began)
	var most float64
	for i, pid := range pids {
		now, err := Spent(pid)
		if err != nil {
			return 0, err
		}
		most = max(most, float64(now-before[i])/float64(took))
	}
	return most, nil
}
