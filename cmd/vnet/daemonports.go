package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
)

// openPorts opens every port asked for; what is open already is closed when one fails.
func (f *daemonFlags) openPorts(underlay uint16) (ports []port.Port, err error) {
	defer func() {
		if err != nil {
			for _, p := range ports {
				p.Close()
			}
		}
	}()
	take := func(p port.Port, err error) error {
		if err != nil {
			return err
		}
		ports = append(ports, p)
		if name := p.Name(); slices.ContainsFunc(ports[:len(ports)-1], func(o port.Port) bool { return o.Name() == name }) {
			return usagef("cannot have two ports of the name %q: name one of them, as in --tap other=%s", name, name)
		}
		return nil
	}
	for _, text := range f.taps {
		name, device, err := split(text)
		if err != nil {
			return ports, err
		}
		if err := take(port.OpenTAP(port.TAPConfig{Name: name, Interface: device})); err != nil {
			return ports, err
		}
	}
	for _, text := range f.tapFDs {
		if err := take(openTAPQueues(text)); err != nil {
			return ports, err
		}
	}
	for _, text := range f.qemus {
		if err := take(openQEMU(text)); err != nil {
			return ports, err
		}
	}
	for _, text := range f.lans {
		name, device, err := split(text)
		if err != nil {
			return ports, err
		}
		if err := take(openLAN(name, device, underlay, ports)); err != nil {
			return ports, err
		}
	}
	return ports, nil
}

// openTAPQueues makes a port of TAP queues that were handed over.
func openTAPQueues(text string) (port.Port, error) {
	name, list, ok := strings.Cut(text, "=")
	if err := overlay.ValidPort(name); err != nil {
		return nil, usagef("cannot use --tap-fd %q: %w", text, err)
	}
	list, size, sized := strings.Cut(list, ":")
	fds, err := descriptors(list)
	mtu := 0
	if sized && err == nil {
		mtu, err = strconv.Atoi(size)
	}
	switch {
	case !ok || err != nil || sized && mtu <= 0:
		return nil, usagef("cannot use --tap-fd %q: want NAME=FD[,FD…][:MTU], such as vm1=3,4", text)
	case sized:
		return port.TAPFromFDsMTU(name, fds, mtu)
	}
	return port.TAPFromFDs(name, fds)
}

// openQEMU makes a socket where a guest plugs in.
func openQEMU(text string) (port.Port, error) {
	name, where, ok := strings.Cut(text, "=")
	if !ok {
		return nil, usagef("cannot use --qemu %q: want NAME=stream:PATH or NAME=dgram:PATH[,PATH], such as vm1=stream:/run/vm1.sock", text)
	}
	if err := overlay.ValidPort(name); err != nil {
		return nil, usagef("cannot use --qemu %q: %w", text, err)
	}
	c, err := port.ParseQEMU(name, where)
	if err != nil {
		return nil, usagef("cannot use --qemu %q: %v", text, err)
	}
	return port.OpenQEMU(c)
}

// split reads NAME=INTERFACE, or one word for both.
func split(text string) (name, device string, err error) {
	name, device, ok := strings.Cut(text, "=")
	if !ok {
		device = name
	}
	if err := overlay.ValidPort(name); err != nil {
		return name, device, usagef("cannot make a port of %q: %w; give NAME=INTERFACE", text, err)
	}
	if device == "" || strings.ContainsAny(device, "/: \t\n%=") { // %d has the kernel choose a number
		return name, device, usagef("cannot use %q: %q is no name of an interface", text, device)
	}
	return name, device, nil
}

func descriptors(list string) ([]int, error) {
	var fds []int
	for _, s := range strings.Split(list, ",") {
		fd, err := strconv.Atoi(s)
		if err != nil || fd < 3 {
			return nil, fmt.Errorf("cannot use descriptor %q", s)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}
