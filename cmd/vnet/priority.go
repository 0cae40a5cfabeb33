package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

const (
	// defaultNice is a daemon's own: what guests on this machine send and take waits for it, so it goes before them, as the
	// kernel's network does. With a tenth of a core's time for each of them beside it, nobody starves (nice(2), EEVDF).
	defaultNice = -10
	leastNice   = -20
	mostNice    = 19

	// sessionShare is where the kernel is told the niceness of a whole session: where it has these groups (sched(7), "The
	// autogroup feature") that of a process counts among those of its session only, and a service is alone in its own.
	sessionShare = "/proc/self/autogroup"
	// shareEvery is how often it lets somebody change one who may not do everything; shareTries is for others who do so, too.
	shareEvery = 100 * time.Millisecond
	shareTries = 5
)

// niceness reads --nice; empty is a daemon's own.
func niceness(text string) (nice int, asked bool, err error) {
	if text == "" {
		return defaultNice, false, nil
	}
	if nice, err = strconv.Atoi(text); err != nil || nice < leastNice || nice > mostNice {
		return 0, true, usagef("cannot use priority %q: give a niceness of %d (first) to %d (last)", text, leastNice, mostNice)
	}
	return nice, true, nil
}

// prioritize has all threads of this process, and those they start, run at --nice. Who started it at another priority than
// the usual has chosen one; and who may not go before others goes beside them, unless it was asked for.
func (d *daemon) prioritize(text string) error {
	nice, asked, err := niceness(text)
	if err != nil {
		return err
	}
	now, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return err
	}
	now = 20 - now // which is how the system call has it
	if !asked && now != 0 {
		shareAs(now)
		return nil
	}
	_, _, errno := psx.Syscall3(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, uintptr(nice))
	switch {
	case errno == 0:
		shareAs(nice)
		return nil
	case asked:
		return fmt.Errorf("cannot run at niceness %d: %w; run as root, with CAP_SYS_NICE, or leave --nice away", nice, errno)
	}
	level := slog.LevelInfo
	if os.Geteuid() != 0 { // nobody expects it of an ordinary user
		level = slog.LevelDebug
	}
	d.log.Log(context.Background(), level, "frames take their turn beside other programs: going before them was not allowed", "nice", nice, "error", errno)
	return nil
}

// shareAs gives this process's session a niceness, too, if it leads one: others have chosen what is in a session of theirs. A
// kernel that does not know of it has nothing to be told, and without the right to it (RLIMIT_NICE) all stays as it was.
func shareAs(nice int) {
	if leader, err := unix.Getsid(0); err != nil || leader != os.Getpid() {
		return
	}
	for range shareTries {
		if err := os.WriteFile(sessionShare, []byte(strconv.Itoa(nice)), 0); !errors.Is(err, unix.EAGAIN) {
			return
		}
		time.Sleep(shareEvery)
	}
}
