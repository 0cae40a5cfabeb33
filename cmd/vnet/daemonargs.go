package main

import (
	"golang.org/x/sys/unix"
)

// args is the command line that makes these flags, for a unit of systemd. Descriptors cannot be handed over in one.
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
	for _, name := range f.off() {
		argv = append(argv, "--no-"+name)
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
