package port

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// aliasPrefix marks an interface as ours: its alias, shown by "ip link", is this and the name of the port.
const aliasPrefix = "vnet port "

// tunDevice is where the kernel gives out TAP queues.
const tunDevice = "/dev/net/tun"

// genModeNone keeps the kernel from giving an interface an IPv6 address (IN6_ADDR_GEN_MODE_NONE in if_link.h).
const genModeNone = 1

// OpenTAP makes a TAP and sets it up. It lives as long as the port.
func OpenTAP(c TAPConfig) (Port, error) { return openTAP(c, KindTAP, "") }

// OpenBridgeTAP makes a TAP and attaches it to an existing bridge: the port reaches the bridge's LAN and its host
// too, which a LAN port cannot.
func OpenBridgeTAP(bridge string, c TAPConfig) (Port, error) {
	if bridge == "" {
		return nil, errors.New("cannot attach a TAP to a bridge: name the bridge")
	}
	return openTAP(c, KindBridge, bridge)
}

func openTAP(c TAPConfig, kind, bridge string) (Port, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	var t *tap
	err = inNamespace(c.Namespace, func() error {
		t, err = makeTAP(c, kind, bridge)
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// inNamespace runs f in a network namespace, on a thread that is thrown away afterwards, since a thread whose
// namespace could not be restored would poison whatever runs on it next.
func inNamespace(namespace string, f func() error) error {
	if namespace == "" {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			open := netns.GetFromName
			if strings.ContainsRune(namespace, filepath.Separator) {
				open = netns.GetFromPath
			}
			handle, err := open(namespace)
			if err != nil {
				return fmt.Errorf("cannot find network namespace %q: %w", namespace, err)
			}
			defer handle.Close()
			if err := netns.Set(handle); err != nil {
				return fmt.Errorf("cannot enter network namespace %q: %w", namespace, err)
			}
			return f()
		}()
	}()
	return <-done
}

// makeTAP makes the device in the namespace of this thread.
func makeTAP(c TAPConfig, kind, bridge string) (*tap, error) {
	fds, name, err := openQueues(c.Interface, c.Queues)
	if err != nil {
		return nil, err
	}
	c.Interface = name
	t, err := configureTAP(c, kind, bridge, fds)
	if err != nil {
		closeAll(fds)
		return nil, err
	}
	return t, nil
}

func configureTAP(c TAPConfig, kind, bridge string, fds []int) (*tap, error) {
	if c.Name == "" {
		c.Name = c.Interface
	}
	if err := setUpLink(&c, bridge); err != nil {
		return nil, fmt.Errorf("cannot set up TAP %q: %w", c.Interface, err)
	}
	dev, err := newDevice(c.Interface)
	if err != nil {
		return nil, err
	}
	t, err := newTAP(c, kind, fds, dev)
	if err != nil {
		dev.close()
		return nil, err
	}
	t.allot(c.Waiting, c.TxQueue)
	return t, nil
}

// openQueues opens n queues of a TAP that must not exist yet.
func openQueues(name string, n int) (fds []int, given string, err error) {
	flags := tapFlags
	if n > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	for range n {
		create := flags
		if len(fds) == 0 {
			create |= unix.IFF_TUN_EXCL
		}
		var fd int
		if fd, name, err = openQueue(name, create); err != nil {
			closeAll(fds)
			return nil, "", err
		}
		fds = append(fds, fd)
	}
	return fds, name, nil
}

func openQueue(name string, flags int) (fd int, given string, err error) {
	fd, err = unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	switch {
	case err == nil:
	case errors.Is(err, unix.EACCES):
		return -1, "", fmt.Errorf("cannot open %s: this user may not; chmod 0666 lets all users", tunDevice)
	case errors.Is(err, unix.ENOENT):
		return -1, "", fmt.Errorf("cannot open %s: it does not exist; load the kernel module tun, or give the container the device", tunDevice)
	default:
		return -1, "", fmt.Errorf("cannot open %s: %w", tunDevice, err)
	}
	r, err := unix.NewIfreq(name)
	if err == nil {
		r.SetUint16(uint16(flags))
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
	}
	switch {
	case err == nil:
		return fd, r.Name(), nil
	case errors.Is(err, unix.EBUSY):
		err = errors.New("an interface of this name exists already")
	case errors.Is(err, unix.EPERM):
		err = errors.New("this needs CAP_NET_ADMIN: start as root, or in a user namespace of your own")
	}
	_ = unix.Close(fd)
	return -1, "", fmt.Errorf("cannot make TAP %q: %w", name, err)
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // only after another error, which is the one to tell
	}
}

// setUpLink gives the new interface its properties and brings it up. On a bridge it takes over the bridge's MTU,
// since a smaller one would shrink that of the bridge.
func setUpLink(c *TAPConfig, bridge string) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("cannot open netlink: %w", err)
	}
	defer h.Close()
	link, err := linkByName(h, c.Interface)
	if err != nil {
		return err
	}
	if err := setProperties(h, link, c); err != nil {
		return err
	}
	if bridge != "" {
		if err := attach(h, link, c, bridge); err != nil {
			return err
		}
	}
	if err := h.LinkSetMTU(link, c.MTU); err != nil {
		return fmt.Errorf("cannot set MTU %d: %w", c.MTU, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("cannot bring it up: %w", err)
	}
	return nil
}

func setProperties(h *netlink.Handle, link netlink.Link, c *TAPConfig) error {
	if err := h.LinkSetAlias(link, aliasPrefix+c.Name); err != nil {
		return fmt.Errorf("cannot mark it as ours: %w", err)
	}
	if err := h.LinkSetTxQLen(link, c.TxQueue); err != nil {
		return fmt.Errorf("cannot set its queue to %d packets: %w", c.TxQueue, err)
	}
	// Without a queue of its own in front of ours the kernel tells senders here at once when ours is full: a TCP then sends later, where it
	// would have to find the loss. A kernel without this kind goes on with its own.
	_ = h.QdiscReplace(&netlink.GenericQdisc{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_ROOT}, QdiscType: "noqueue"})
	if err := h.LinkSetGSOMaxSize(link, c.GSOMax); err != nil {
		return fmt.Errorf("cannot limit its super-frames to %d bytes: %w", c.GSOMax, err)
	}
	if c.MAC != (ether.MAC{}) {
		if err := h.LinkSetHardwareAddr(link, net.HardwareAddr(c.MAC[:])); err != nil {
			return fmt.Errorf("cannot set its address to %v: %w", c.MAC, err)
		}
	}
	return nil
}

func attach(h *netlink.Handle, link netlink.Link, c *TAPConfig, bridge string) error {
	master, err := linkByName(h, bridge)
	if err != nil {
		return err
	}
	if master.Type() != "bridge" {
		return fmt.Errorf("%q is no bridge but %s: give it as an interface of the LAN instead", bridge, master.Type())
	}
	c.MTU = master.Attrs().MTU
	if err := h.LinkSetMTU(link, c.MTU); err != nil {
		return fmt.Errorf("cannot set MTU %d: %w", c.MTU, err)
	}
	// Without an address of its own the host says nothing through the port; a kernel without IPv6 says nothing
	// anyway, and refuses.
	_ = h.LinkSetIP6AddrGenMode(link, genModeNone)
	if err := h.LinkSetMaster(link, master); err != nil {
		return fmt.Errorf("cannot attach it to bridge %q: %w", bridge, err)
	}
	return nil
}

func linkByName(h *netlink.Handle, name string) (netlink.Link, error) {
	link, err := h.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("cannot find interface %q: %w", name, err)
	}
	return link, nil
}
