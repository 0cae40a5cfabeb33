package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// configure brings the interface up with the addresses that it is to have.
func configure(p Plan) error {
	link, err := netlink.LinkByName(p.On)
	if err != nil {
		return fmt.Errorf("cannot find %s: %w", p.On, err)
	}
	if link.Attrs().MTU != p.MTU {
		if err := netlink.LinkSetMTU(link, p.MTU); err != nil {
			return fmt.Errorf("cannot set the MTU of %s: %w", p.On, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("cannot bring up %s: %w", p.On, err)
	}
	if p.Own4.IsValid() {
		address := &netlink.Addr{IPNet: &net.IPNet{IP: p.Own4.Addr().AsSlice(), Mask: net.CIDRMask(p.Own4.Bits(), 32)}}
		if err := netlink.AddrReplace(link, address); err != nil {
			return fmt.Errorf("cannot add %v: %w", p.Own4, err)
		}
	}
	if p.Own6.IsValid() {
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+p.On+"/disable_ipv6", []byte("0"), 0o644)
		address := &netlink.Addr{
			IPNet: &net.IPNet{IP: p.Own6.Addr().AsSlice(), Mask: net.CIDRMask(p.Own6.Bits(), 128)},
			Flags: unix.IFA_F_NODAD, // it is usable at once
		}
		if err := netlink.AddrReplace(link, address); err != nil {
			return fmt.Errorf("cannot add %v: %w", p.Own6, err)
		}
	}
	return nil
}

// wakeUp does what the first process of a guest must, and returns the arguments that the kernel's command line has for it,
// behind "mixer=" and separated by commas.
func wakeUp() []string {
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			fmt.Println("mixer: cannot mount", m.at, err)
		}
	}
	modules, _ := filepath.Glob("/modules/*.ko")
	loadModules(modules)
	for range 100 {
		if _, err := net.InterfaceByName("eth0"); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	line, _ := os.ReadFile("/proc/cmdline")
	for _, word := range strings.Fields(string(line)) {
		if args, ok := strings.CutPrefix(word, "mixer="); ok {
			return strings.Split(args, ",")
		}
	}
	return nil
}

// loadModules loads each as soon as those are there that it needs.
func loadModules(paths []string) {
	for len(paths) > 0 {
		before := len(paths)
		var why error
		paths = slices.DeleteFunc(paths, func(path string) bool {
			err := loadModule(path)
			if err != nil {
				why = err
			}
			return err == nil
		})
		if len(paths) == before {
			fmt.Println("mixer:", why)
			return
		}
	}
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
		return fmt.Errorf("cannot load %s: %w", path, err)
	}
	return nil
}

func powerOff() {
	unix.Sync()
	time.Sleep(100 * time.Millisecond) // the console is slow
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {} // the kernel would panic if its first process ended
}
