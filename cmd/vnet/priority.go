package main

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

const (
	// defaultNice is a daemon's own: what guests on this machine send and take waits for it, so it goes before them, as the
	// kernel's network does. With a tenth of a core's time for each of them beside it, nobody starves (nice(2), EEVDF).
	defaultNice = -10
	leastNice   = -20
	mostNice    = 19
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
	if usual := 20; err != nil || !asked && now != usual { // the system call returns 20 - niceness
		return err
	}
	_, _, errno := psx.Syscall3(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, uintptr(nice))
	switch {
	case errno == 0:
		return nil
	case asked:
		return fmt.Errorf("cannot run at niceness %d: %w; run as root, with CAP_SYS_NICE, or leave --nice away", nice, errno)
	}
	d.log.Info("frames take their turn beside other programs: going before them was not allowed", "nice", nice, "error", errno)
	return nil
}
