package node

import (
	"net/netip"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
)

const (
	// underlayLook is how often the addresses of this machine and of its peers are looked at: a DHCP lease changes seldom, and
	// between two looks only the interface's own MAC keeps our datagrams out.
	underlayLook = 2 * time.Second
	// maxFiltered bounds the endpoints that a LAN port leaves out, so that the filter fits what the kernel takes (4,096
	// instructions, at most 22 an endpoint).
	maxFiltered = 150
)

// underlayWatch keeps our own links out of the LANs that carry them. The loop owns it.
type underlayWatch struct {
	next time.Time
	last []netip.AddrPort // what the ports were told
}

// tick tells the LAN ports where our links end, when that has changed.
func (w *underlayWatch) tick(now time.Time, s *state) {
	if now.Before(w.next) {
		return
	}
	w.next = now.Add(underlayLook)
	ends := s.ends()
	if slices.Equal(ends, w.last) {
		return
	}
	for _, at := range s.n.ports {
		p, ok := at.port.(port.Underlayer)
		if !ok || !at.lan {
			continue
		}
		delete(s.warning, "underlay "+at.name)
		if err := p.SetUnderlay(ends); err != nil {
			s.warning["underlay "+at.name] = "port " + at.name + " may read this overlay's own datagrams: " + err.Error()
			s.n.cfg.Log.Error("cannot keep the underlay out of the LAN", "port", at.name, "error", err)
			return // and try again
		}
	}
	w.last = ends
}

// ends are the endpoints of our links: ours first, which are in nearly every datagram, then those of peers that we called over
// tcp, from a port of the kernel's choice.
func (s *state) ends() []netip.AddrPort {
	at := s.n.endpoint.Addr()
	own := []netip.AddrPort{at}
	if at.Addr().IsUnspecified() {
		own = machineAddrs(at.Port())
	}
	for _, extra := range s.n.endpoint.ExtraPorts() {
		if own = append(own, extra); extra.Addr().IsUnspecified() {
			own = append(own[:len(own)-1], machineAddrs(extra.Port())...)
		}
	}
	own = append(own, s.n.cfg.Advertise...)
	var peers []netip.AddrPort
	for _, one := range s.slots {
		for _, in := range one.live {
			if remote := in.l.Remote(); in.l.Dialled() && in.l.Carrier() == link.TCP {
				peers = append(peers, netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port()))
			}
		}
	}
	slices.SortFunc(own, netip.AddrPort.Compare)
	slices.SortFunc(peers, netip.AddrPort.Compare)
	all := slices.Concat(slices.Compact(own), slices.Compact(peers))
	return all[:min(len(all), maxFiltered)]
}
