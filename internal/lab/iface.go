package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// network configures the interfaces of this namespace and returns the descriptors the leader asked for.
func (s setup) network() ([]*os.File, error) {
	var files []*os.File
	if s.TAP != nil {
		for range s.TAP.Queues {
			f, err := openTun(s.TAP.Name, unix.IFF_TAP|unix.IFF_MULTI_QUEUE|unix.IFF_VNET_HDR)
			if err != nil {
				return files, err
			}
			files = append(files, f)
		}
	}
	if s.TUN != "" {
		f, err := openTun(s.TUN, unix.IFF_TUN)
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	if err := s.sysctls(); err != nil {
		return files, err
	}
	return files, s.configure()
}

func (s setup) configure() error {
	links := []linkSetup{{Name: "lo"}}
	if s.Bridge != nil {
		br := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
		br.Name = s.Bridge.Name
		if err := netlink.LinkAdd(br); err != nil {
			return fmt.Errorf("cannot make bridge %s: %w", s.Bridge.Name, err)
		}
		links = append(links, linkSetup{Name: s.Bridge.Name, MAC: s.Bridge.MAC, Addr: s.Bridge.Addr})
	}
	links = append(links, s.Links...)
	if t := s.TAP; t != nil {
		links = append(links, linkSetup{Name: t.Name, MAC: t.MAC, MTU: t.MTU, Addr: t.Addr, Super: guestSuper})
	}
	if s.TUN != "" {
		links = append(links, linkSetup{Name: s.TUN, MTU: defaultMTU, Waiting: tunnelQueue})
	}
	for _, l := range links {
		if err := l.apply(); err != nil {
			return fmt.Errorf("cannot configure %s: %w", l.Name, err)
		}
	}
	return s.defaultRoute()
}

func (s setup) defaultRoute() error {
	route := &netlink.Route{Dst: ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0))}
	switch {
	case s.TUN != "":
		l, err := netlink.LinkByName(s.TUN)
		if err != nil {
			return err
		}
		route.LinkIndex, route.Scope = l.Attrs().Index, netlink.SCOPE_LINK
	case s.Via.IsValid():
		route.Gw = net.IP(s.Via.AsSlice())
	default:
		return nil
	}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("cannot set the default route: %w", err)
	}
	return nil
}

// apply brings one interface to its state; the rate comes before the link is up, so no packet passes it.
func (l linkSetup) apply() error {
	link, err := netlink.LinkByName(l.Name)
	if err != nil {
		return err
	}
	if l.MAC != (ether.MAC{}) {
		if err := netlink.LinkSetHardwareAddr(link, l.MAC[:]); err != nil {
			return fmt.Errorf("hardware address %s: %w", l.MAC, err)
		}
	}
	if l.MTU != 0 {
		if err := netlink.LinkSetMTU(link, l.MTU); err != nil {
			return fmt.Errorf("mtu %d: %w", l.MTU, err)
		}
	}
	if l.Super != 0 {
		if err := netlink.LinkSetGSOMaxSize(link, l.Super); err != nil {
			return fmt.Errorf("super-packets of %d bytes: %w", l.Super, err)
		}
	}
	if l.Waiting != 0 {
		if err := netlink.LinkSetTxQLen(link, l.Waiting); err != nil {
			return fmt.Errorf("queue of %d packets: %w", l.Waiting, err)
		}
	}
	if l.Master != "" {
		master, err := netlink.LinkByName(l.Master)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(link, master); err != nil {
			return fmt.Errorf("bridge %s: %w", l.Master, err)
		}
	}
	if l.Rate > 0 {
		if err := limit(link, l.Rate, l.Queue); err != nil {
			return err
		}
	}
	if l.Addr.IsValid() && l.Addr != AddressNone() {
		if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(l.Addr)}); err != nil {
			return fmt.Errorf("address %s: %w", l.Addr, err)
		}
	}
	return netlink.LinkSetUp(link)
}

// guestSuper is the largest super-packet of a guest, in bytes: one that fits a single UDP_SEGMENT send of its daemon,
// 44 datagrams of 1,472 bytes, with room for some 100 bytes of headers in each.
const guestSuper = 60000

// tunnelQueue is how many packets may wait for the relay: it is meant never to be the bottleneck, and on a busy
// machine its thread may be away for 100 ms, which at 1 Gbit/s are some 8,000 packets.
const tunnelQueue = 10000

const (
	settleWithin = 10 * time.Second // the kernel takes at most one; the rest is for a busy machine
	settleEvery  = 2 * time.Millisecond
)

// settle waits until every interface carries packets: the kernel activates a queue, and a switch its port, only
// some time after both ends of a cable are up, and loses what is sent before.
func settle() error {
	var late string
	for began := time.Now(); time.Since(began) < settleWithin; time.Sleep(settleEvery) {
		links, err := netlink.LinkList()
		if err != nil {
			continue // an interrupted dump: look again
		}
		late = ""
		masters := map[int]bool{}
		for _, l := range links {
			masters[l.Attrs().MasterIndex] = true
		}
		for _, l := range links {
			a := l.Attrs()
			if l.Type() == "bridge" && !masters[a.Index] {
				continue // a switch nobody is plugged into has no carrier
			}
			if a.Flags&net.FlagUp != 0 && a.OperState != netlink.OperUp && a.OperState != netlink.OperUnknown {
				late = a.Name
			}
		}
		if late == "" {
			return nil
		}
	}
	return fmt.Errorf("interface %s does not come up", late)
}

const (
	// burstPackets is how many full packets may leave back to back: enough that a timer some 100 µs late
	// loses nothing at 100 Mbit/s, too few to be seen at a 1 ms scale. The token bucket cuts any super-packet
	// larger than this into wire packets before it queues them, so the FIFO counts and drops what a wire would.
	burstPackets = 4
	// burstTime is the same for fast links, where four packets are shorter than a timer is late.
	burstTime = 100 * time.Microsecond
	// etherHeader is what the kernel counts of a packet besides its MTU, in bytes.
	etherHeader = 14
)

// limit puts a token bucket with a FIFO of the given length, in time at the rate, in front of the link.
func limit(link netlink.Link, rate int64, queue time.Duration) error {
	perSecond := max(rate/8, 1)
	packet := int64(link.Attrs().MTU + etherHeader)
	burst := max(burstPackets*packet, int64(float64(perSecond)*burstTime.Seconds()))
	q := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)},
		Rate:       uint64(perSecond),
		Buffer:     netlink.Xmittime(uint64(perSecond), uint32(burst)),
		Limit:      uint32(max(int64(float64(perSecond)*queue.Seconds()), packet)),
	}
	if err := netlink.QdiscReplace(q); err != nil {
		return fmt.Errorf("rate %d bit/s (the kernel needs sch_tbf): %w", rate, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: net.IP(p.Addr().AsSlice()), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// openTun opens one queue of a TUN or TAP device in this network namespace, creating it if needed. It must be
// called by a process that lives in the namespace: the descriptor belongs to it for good. It blocks, so that the runtimes of
// the processes it passes through do not watch it, and wake up for each packet; who reads it chooses otherwise.
func openTun(name string, flags uint16) (*os.File, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", tunPath, err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	req.SetUint16(flags | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot make interface %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

const tunPath = "/dev/net/tun"
