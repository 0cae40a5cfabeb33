package main

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// unfit complains of a flag that a daemon in a unit of systemd cannot have: nobody hands descriptors over, and it may not become
// somebody else, or give anything to others.
func (f *daemonFlags) unfit() error {
	for _, flag := range []struct {
		name string
		set  bool
	}{{"tap-fd", len(f.tapFDs) > 0}, {"user", f.user != ""}, {"api-group", f.apiGroup != ""}, {"cpuprofile", f.profile != ""}} {
		if flag.set {
			return usagef("cannot make a unit of systemd with --%s: leave that away, or start the daemon without --service", flag.name)
		}
	}
	_, _, err := niceness(f.nice)
	return err
}

// args is the command line that makes these flags, but for --nice and those that are unfit, for a unit of systemd.
func (f *daemonFlags) args() (argv []string) {
	one := func(name, value string) {
		if value != "" {
			argv = append(argv, name, value)
		}
	}
	one("--state", f.state)
	one("--listen", f.listen)
	for _, a := range f.advertise {
		one("--advertise", a)
	}
	for _, a := range f.taps {
		one("--tap", a)
	}
	for _, a := range f.qemus {
		one("--qemu", a)
	}
	for _, a := range f.lans {
		one("--lan", a)
	}
	if f.carrier != "auto" {
		one("--carrier", f.carrier)
	}
	one("--metrics", f.metrics)
	if f.sockets != 0 {
		one("--sockets", strconv.Itoa(f.sockets))
	}
	if f.clampMSS != 0 {
		one("--clamp-mss", strconv.Itoa(int(f.clampMSS)))
	}
	for _, name := range f.off() {
		argv = append(argv, "--no-"+name)
	}
	if f.uncounted {
		argv = append(argv, "--uncounted")
	}
	if f.verbose {
		argv = append(argv, "--verbose")
	}
	return argv
}

// mayMakeTAP says whether this process could make a TAP device: it has CAP_NET_ADMIN, and there is /dev/net/tun.
func mayMakeTAP() bool {
	return hasCapability(unix.CAP_NET_ADMIN) && unix.Access("/dev/net/tun", unix.R_OK|unix.W_OK) == nil
}

// hasCapability says whether a capability is in the effective set (capabilities(7)).
func hasCapability(number uint) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // 32 capabilities each
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[number/32].Effective&(1<<(number%32)) != 0
}
