package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// attached takes a host whose control stream is open: it is told what it needs
// to know, and what it holds is compared with the record.
func (h *hub) attached(now time.Time, peer overlay.Name, l *link.Link, hello control.Hello) {
	at, known := h.hosts[peer]
	if !known {
		at = &host{name: peer}
		h.hosts[peer] = at
	}
	if at.session == nil {
		at.since = now
	}
	rejoined := at.session == nil || at.hello.Boot != hello.Boot
	at.session, at.hello, at.remote = l, hello, l.Remote().String()
	h.register(peer, hello)
	h.p.compareTrust(peer, hello.Trust)
	h.p.seen(peer, l)
	h.p.sealAgain(peer)
	h.places.NodeHere(now, peer, hello.Boot)
	h.tell(peer, h.welcome())
	h.tell(peer, h.tune(peer))
	h.tell(peer, control.Directory{Version: h.listed, Full: true, Places: h.places.Snapshot()})
	if rejoined {
		h.p.event("node.up", fmt.Sprintf("%s is here (%s)", peer, counted(len(hello.Ports), "port")), map[string]string{"node": string(peer)})
		h.changes.nodeBack(now, peer)
	}
	if h.differs(peer, hello) {
		h.doubt(now)
	}
}

// detached forgets a session; the host is away when it was the newest.
func (h *hub) detached(peer overlay.Name, l *link.Link) {
	at, ok := h.hosts[peer]
	if !ok || at.session != l {
		return
	}
	at.session, at.since = nil, time.Now()
	h.places.NodeGone(peer)
	h.changes.nodeLost(time.Now(), peer)
	why := "its link ended"
	if err := l.Err(); err != nil {
		why = err.Error()
	}
	h.p.event("node.down", fmt.Sprintf("%s is away: %s", peer, why), map[string]string{"node": string(peer)})
}

// register writes a host's ports into the record.
func (h *hub) register(peer overlay.Name, hello control.Hello) {
	n, ok := h.record.Nodes[peer]
	if !ok {
		n = &overlay.Node{Name: peer}
		h.record.Nodes[peer] = n
	}
	var ports []overlay.Port
	for _, p := range hello.Ports {
		ports = append(ports, overlay.Port{Name: p.Name, LAN: p.LAN})
	}
	if !ok || !slices.Equal(n.Ports, ports) {
		n.Ports = ports
		h.save()
	}
}

// registerSelf writes the Proxy's own ports into the record.
func (h *hub) registerSelf() {
	n := h.record.Nodes[h.record.Proxy]
	n.Ports = h.node.PortList()
}

func (h *hub) welcome() control.Welcome {
	return control.Welcome{
		Proxy: h.record.Proxy, Overlay: h.p.cfg.Node.Identity.Overlay, Boot: h.p.cfg.Node.Boot,
		Generation: h.record.Generation, Bound: h.bound.Value().Value, Flood: h.record.Flood, ProbeKey: h.key, Now: h.node.Wall(),
	}
}

// tell sends a message to a host, or to the node the Proxy runs on.
func (h *hub) tell(to overlay.Name, message any) {
	if to == h.record.Proxy {
		h.node.Told(message)
		return
	}
	if err := h.node.SendTo(to, message); err != nil {
		h.p.cfg.Log.Debug("message not sent", "to", to, "error", err)
		if at, ok := h.hosts[to]; ok {
			at.stale = true // requests are repeated by their senders, news is not
		}
	}
}

// refresh gives the whole directory to hosts that missed a part of it.
func (h *hub) refresh(now time.Time) {
	for name, at := range h.hosts {
		if at.session != nil && at.stale && now.Sub(at.refreshed) > refreshEvery {
			at.stale, at.refreshed = false, now
			h.tell(name, control.Directory{Version: h.listed, Full: true, Places: h.places.Snapshot()})
		}
	}
}

// refreshEvery keeps a host whose control stream is full from being filled further.
const refreshEvery = time.Second

// candidates are where a host may be reached: what it says itself, and where we
// see it, which a NAT may have made.
func (h *hub) candidates() map[overlay.Name][]netip.AddrPort {
	all := map[overlay.Name][]netip.AddrPort{}
	for name, at := range h.hosts {
		list := slices.Clone(at.hello.Candidates)
		if seen, err := netip.ParseAddrPort(at.remote); err == nil && !slices.Contains(list, seen) {
			list = append(list, seen)
		}
		all[name] = list
	}
	return all
}

// spread carries changes of the directory to all nodes.
func (h *hub) spread(found []control.PlaceChange) {
	if len(found) == 0 {
		return
	}
	var news control.Directory
	for _, c := range found {
		h.placeEvent(c)
		switch c.Kind {
		case control.PlaceLearned, control.PlaceUpdated, control.PlaceMoved:
			news.Places = append(news.Places, c.Place)
			h.placed(c)
		case control.PlaceGone:
			news.Gone = append(news.Gone, c.Place.MAC)
			delete(h.record.VMs, c.Place.MAC)
		}
	}
	if len(news.Places)+len(news.Gone) == 0 {
		return
	}
	h.listed++
	news.Version = h.listed
	h.tell(h.record.Proxy, news)
	for name, at := range h.hosts {
		if at.session != nil {
			h.tell(name, news)
		}
	}
	h.savePlaces()
}

// placed writes a VM's place into the record. A move retires every adapted rule
// that names the MAC; the nodes do the same when they hear of it.
func (h *hub) placed(c control.PlaceChange) {
	h.record.VMs[c.Place.MAC] = overlay.VM{
		MAC: c.Place.MAC, Name: h.vmName(c.Place), Node: c.Place.Node, Port: c.Place.Port, Declared: c.Place.Declared,
	}
	if c.Kind != control.PlaceMoved {
		return
	}
	h.moves++
	retire(h.record, c.Place.MAC)
	if r := h.changes.current; r != nil { // or the change under way would write them down again
		retire(r.request.target, c.Place.MAC)
	}
	h.save()
}

// retire strikes out every adapted rule that names mac.
func retire(o *overlay.Overlay, mac ether.MAC) {
	for _, n := range o.Nodes {
		n.Rules = slices.DeleteFunc(n.Rules, func(r overlay.Rule) bool {
			return r.Origin == overlay.OriginAdapted && (names(r.Src, mac) || names(r.Dst, mac))
		})
	}
}

func names(m overlay.Match, mac ether.MAC) bool { return m.Kind == overlay.Exact && m.MAC == mac }

// vmName is what people call a VM: what the user named it, or the port it is alone behind. Behind a LAN
// port live strangers, who are called by their MAC.
func (h *hub) vmName(p control.Place) string {
	if name := h.userName(p.MAC); name != "" {
		return name
	}
	if n, ok := h.record.Nodes[p.Node]; ok {
		for _, port := range n.Ports {
			if port.Name == p.Port && !port.LAN {
				return port.Name
			}
		}
	}
	return ""
}

func (h *hub) placeEvent(c control.PlaceChange) {
	comesAndGoes := c.Kind == control.PlaceLearned || c.Kind == control.PlaceGone
	if comesAndGoes && !h.p.desks.at(c.Place.Node).seen.AllowN(time.Now(), 1) {
		return // a campus wakes, or a guest invents addresses: what else happens would be lost among them
	}
	switch c.Kind {
	case control.PlaceUpdated:
		return
	case control.PlaceLearned:
		h.p.event("vm.seen", fmt.Sprintf("%s is at %s, port %s", c.Place.MAC, c.Place.Node, c.Place.Port), map[string]string{"mac": c.Place.MAC.String()})
	case control.PlaceMoved:
		h.p.event("vm.moved", fmt.Sprintf("%s moved from %s to %s", c.Place.MAC, c.Old.Node, c.Place.Node), map[string]string{
			"mac": c.Place.MAC.String(), "from": string(c.Old.Node), "to": string(c.Place.Node)})
	default:
		h.p.event("vm."+c.Kind.String(), fmt.Sprintf("%s at %s: %s", c.Place.MAC, c.Place.Node, c.Why), map[string]string{"mac": c.Place.MAC.String()})
	}
}
