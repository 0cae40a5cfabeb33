package lab

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Queue counts what passed one limited interface since the lab began.
type Queue struct {
	Interface    string
	Packets      uint64 // sent
	Bytes        uint64 // sent, with Ethernet headers
	Drops        uint64 // found the queue full
	BacklogBytes uint64 // waiting now
}

// HostQueues are the two queues in front of a host's eth0; one that is not limited stays zero.
type HostQueues struct{ Up, Down Queue }

// queueCounters reads every token bucket of this namespace, and what a site's tunnel dropped.
func queueCounters() ([]Queue, error) {
	links, err := netlink.LinkList()
	if err != nil && len(links) == 0 { // an interrupted dump comes with what it has
		return nil, fmt.Errorf("cannot list interfaces: %w", err)
	}
	var out []Queue
	name := map[int]string{}
	for _, l := range links {
		a := l.Attrs()
		name[a.Index] = a.Name
		if a.Name == siteTunnel && a.Statistics != nil {
			out = append(out, Queue{Interface: a.Name, Packets: a.Statistics.TxPackets, Bytes: a.Statistics.TxBytes, Drops: a.Statistics.TxDropped})
		}
	}
	qdiscs, err := netlink.QdiscList(nil)
	if err != nil && len(qdiscs) == 0 {
		return nil, fmt.Errorf("cannot read queue counters: %w", err)
	}
	for _, q := range qdiscs {
		st := q.Attrs().Statistics
		if q.Type() != "tbf" || st == nil {
			continue
		}
		one := Queue{Interface: name[q.Attrs().LinkIndex]}
		if st.Basic != nil {
			one.Packets, one.Bytes = uint64(st.Basic.Packets), st.Basic.Bytes
		}
		if st.Queue != nil {
			one.Drops, one.BacklogBytes = uint64(st.Queue.Drops), uint64(st.Queue.Backlog)
		}
		out = append(out, one)
	}
	return out, nil
}

// cut sends packets for one address into a device that nobody reads, or stops doing so. The sender sees no
// error, as with a real path that died: a device route would have told it.
func (in *initProc) cut(r cutRequest) error {
	const name = "void0"
	if in.void == nil {
		f, err := openTun(name, unix.IFF_TUN)
		if err != nil {
			return err
		}
		in.void = f
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("cannot find %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("cannot start %s: %w", name, err)
	}
	bits := r.To.BitLen()
	route := &netlink.Route{
		LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK,
		Dst: &net.IPNet{IP: net.IP(r.To.AsSlice()), Mask: net.CIDRMask(bits, bits)}, Src: net.IP(r.Src.AsSlice()),
	}
	if r.Cut {
		err = netlink.RouteReplace(route)
	} else if err = netlink.RouteDel(route); err == unix.ESRCH {
		err = nil // healed already
	}
	if err != nil {
		return fmt.Errorf("cannot cut or heal the way to %s: %w", r.To, err)
	}
	return nil
}
