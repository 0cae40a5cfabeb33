package port

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// device asks the kernel about one interface through a socket made in the interface's namespace, so it may be
// used from any other.
type device struct {
	fd   int
	name string
}

func newDevice(name string) (device, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return device{fd: -1}, fmt.Errorf("cannot open a control socket: %w", err)
	}
	return device{fd: fd, name: name}, nil
}

func (d device) close() {
	if d.fd >= 0 {
		_ = unix.Close(d.fd)
	}
}

// mtu returns the MTU in bytes.
func (d device) mtu() (int, error) { return d.number(unix.SIOCGIFMTU, "MTU") }

// txQueue returns how many packets the kernel queues for whoever reads a queue.
func (d device) txQueue() (int, error) { return d.number(unix.SIOCGIFTXQLEN, "length of the queue") }

// number asks for one of the interface's numbers.
func (d device) number(request uint, what string) (int, error) {
	r, err := unix.NewIfreq(d.name)
	if err != nil {
		return 0, fmt.Errorf("cannot name an interface %q: %w", d.name, err)
	}
	if err := unix.IoctlIfreq(d.fd, request, r); err != nil {
		return 0, fmt.Errorf("cannot read the %s of %q: %w", what, d.name, err)
	}
	return int(r.Uint32()), nil
}

// is reports whether the interface of this name still has this index, and so is the same one.
func (d device) is(index int) bool {
	r, err := unix.NewIfreq(d.name)
	if err != nil {
		return false
	}
	err = unix.IoctlIfreq(d.fd, unix.SIOCGIFINDEX, r)
	return err == nil && int(r.Uint32()) == index
}

// hardware is struct ifreq with an address in it.
type hardware struct {
	name   [unix.IFNAMSIZ]byte
	family uint16 // ARPHRD_*
	mac    [14]byte
	_      [8]byte
}

// readHardware asks fd, a socket or a TAP queue (which ignores the name), for the address of an interface.
func readHardware(fd int, name string) (ether.MAC, uint16, error) {
	var h hardware
	copy(h.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGIFHWADDR, uintptr(unsafe.Pointer(&h)))
	if errno != 0 {
		return ether.MAC{}, 0, fmt.Errorf("cannot read the address of %q: %w", name, errno)
	}
	return ether.MAC(h.mac[:6]), h.family, nil
}

// ethtoolValue is struct ethtool_value, and ethtoolRequest the struct ifreq around it.
type ethtoolValue struct{ cmd, data uint32 }

type ethtoolRequest struct {
	name  [unix.IFNAMSIZ]byte
	value *ethtoolValue
	_     [16]byte
}

// enabled reports whether one of ethtool's switches is on; what cannot be asked counts as off.
func (d device) enabled(cmd uint32) bool {
	r := ethtoolRequest{value: &ethtoolValue{cmd: cmd}}
	copy(r.name[:unix.IFNAMSIZ-1], d.name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	return errno == 0 && r.value.data != 0
}

// offloads returns what the interface does on its own, in ethtool's short words.
func (d device) offloads() []string {
	var names []string
	for _, feature := range []struct {
		cmd  uint32
		name string
	}{
		{unix.ETHTOOL_GTXCSUM, "csum"},
		{unix.ETHTOOL_GTSO, "tso"},
		{unix.ETHTOOL_GGSO, "gso"},
		{unix.ETHTOOL_GGRO, "gro"},
	} {
		if d.enabled(feature.cmd) {
			names = append(names, feature.name)
		}
	}
	return names
}

// placed is the device of a TAP whose interface may be moved to another namespace, as into a guest's.
type placed struct {
	mu sync.Mutex // guards at
	at device     // fd -1 where it was never seen
}

// mtu returns the MTU in bytes, after looking for the interface where the queue says it is now.
func (p *placed) mtu(queue int, name string) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if mtu, err := p.at.mtu(); err == nil {
		return mtu, nil
	}
	found, err := deviceOf(queue, name)
	if err != nil {
		return 0, err
	}
	p.at.close()
	p.at = found
	return found.mtu()
}

// txQueue is that of the interface where mtu last found it.
func (p *placed) txQueue() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at.txQueue()
}

func (p *placed) close() { p.at.close() }

// deviceOf finds the interface of a TAP queue in whichever namespace it is, as far as this user may look into that.
func deviceOf(queue int, name string) (device, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(queue), unix.TUNGETDEVNETNS, 0)
	if errno != 0 {
		return device{fd: -1}, fmt.Errorf("cannot find the namespace of %q: %w", name, errno)
	}
	defer unix.Close(int(fd))
	dev := device{fd: -1}
	err := inNamespace(fmt.Sprintf("/proc/self/fd/%d", fd), func() (err error) {
		dev, err = newDevice(name)
		return err
	})
	return dev, err
}
