package node

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

const (
	// maxBindings bounds how many IP addresses a node remembers the holders of, 200 bytes each.
	maxBindings = 1 << 16
	// bindingSweep is how often those are looked for whose holders are gone.
	bindingSweep = 10 * time.Second
	// spoofReport is the least time between two reports about one address.
	spoofReport = time.Minute
	// spoofShown is how long status speaks of it.
	spoofShown = 5 * time.Minute
	// maxSpoofs bounds how many are remembered for that.
	maxSpoofs = 16
)

// bindings remember which MAC an IP address belongs to, as ARP and neighbour discovery said first, so that a guest that answers
// for another's is noticed. The loop owns them; workers read what publish stores.
type bindings struct {
	s      *state
	of     map[netip.Addr]*binding
	spoofs map[netip.Addr]*spoof
	stale  bool // what workers read is older
	agedAt time.Time
}

// binding is the holder of one address.
type binding struct {
	mac      ether.MAC
	seen     time.Time
	node     overlay.Name // where it lives
	port     string
	reported time.Time
}

// spoof is an address that two say is theirs.
type spoof struct {
	text  string
	times int
	last  time.Time
}

func newBindings(s *state) *bindings {
	return &bindings{s: s, of: map[netip.Addr]*binding{}, spoofs: map[netip.Addr]*spoof{}}
}

// placed notes the addresses that the directory has of a MAC that lives elsewhere.
func (b *bindings) placed(now time.Time, p control.Place) {
	for _, ip := range p.IPs {
		if holder := b.of[ip]; holder == nil || holder.mac == p.MAC || !b.alive(now, holder) {
			b.hold(now, ip, p.MAC, p.Node, p.Port)
		}
	}
}

// speaks notes that mac says at a port that ip is its own; false when it is another's.
func (b *bindings) speaks(now time.Time, ip netip.Addr, mac ether.MAC, at *localPort) bool {
	holder := b.of[ip]
	if holder == nil || holder.mac == mac || !b.alive(now, holder) {
		b.hold(now, ip, mac, b.s.n.name, at.name)
		return true
	}
	one := b.spoofs[ip]
	if one == nil {
		if len(b.spoofs) >= maxSpoofs {
			b.forget(now)
		}
		one = &spoof{}
		b.spoofs[ip] = one
	}
	one.times++
	one.last = now
	one.text = fmt.Sprintf("%s at port %s says that %s is its address, which belongs to %s at %s, port %s", mac, at.name, ip, holder.mac, holder.node, holder.port)
	if now.Sub(holder.reported) >= spoofReport {
		holder.reported = now
		b.s.n.event(Event{Kind: "address.spoofed", Text: one.text, Fields: map[string]string{
			"ip": ip.String(), "mac": mac.String(), "holder": holder.mac.String(), "port": at.name}})
	}
	return false
}

func (b *bindings) hold(now time.Time, ip netip.Addr, mac ether.MAC, node overlay.Name, port string) {
	holder := b.of[ip]
	if holder == nil {
		if len(b.of) >= maxBindings {
			return
		}
		holder = &binding{}
		b.of[ip] = holder
	}
	if holder.mac != mac {
		b.stale = true
	}
	holder.mac, holder.seen, holder.node, holder.port = mac, now, node, port
}

// alive says whether the holder of an address is still there: else another may have it, as DHCP gives addresses on.
func (b *bindings) alive(now time.Time, holder *binding) bool {
	_, here := b.s.local[holder.mac]
	_, there := b.s.places[holder.mac]
	return (here || there) && now.Sub(holder.seen) <= 2*ageing
}

// forget drops the spoof that was seen longest ago, and with it those of which status speaks no more.
func (b *bindings) forget(now time.Time) {
	var oldest netip.Addr
	for ip, one := range b.spoofs {
		if first := b.spoofs[oldest]; first == nil || one.last.Before(first.last) {
			oldest = ip
		}
		if now.Sub(one.last) > spoofShown {
			delete(b.spoofs, ip)
		}
	}
	delete(b.spoofs, oldest)
}

// warnings are what status says.
func (b *bindings) warnings(now time.Time) (list []string) {
	for _, one := range b.spoofs {
		if ago := now.Sub(one.last); ago <= spoofShown {
			list = append(list, fmt.Sprintf("%s (%d times, last %v ago)", one.text, one.times, ago.Round(time.Second)))
		}
	}
	return list
}

// age forgets addresses whose holders are gone.
func (b *bindings) age(now time.Time) {
	for ip, holder := range b.of {
		if !b.alive(now, holder) {
			delete(b.of, ip)
			b.stale = true
		}
	}
}

// publish gives workers what they drop spoofed neighbour talk by, if a port wants that.
func (b *bindings) publish() {
	b.stale = false
	for _, at := range b.s.n.ports {
		if r := at.gate.rule.Load(); r != nil && r.limit.DropSpoof {
			all := make(map[netip.Addr]ether.MAC, len(b.of))
			for ip, holder := range b.of {
				all[ip] = holder.mac
			}
			b.s.n.holders.Store(&all)
			return
		}
	}
	b.s.n.holders.Store(nil)
}

// spoofed says whether neighbour talk from a port is in the name of an address that is another's. It looks only where the user
// wants such frames dropped.
func (n *Node) spoofed(at *localPort, f ether.Frame) bool {
	r := at.gate.rule.Load()
	if r == nil || !r.limit.DropSpoof {
		return false
	}
	holders := n.holders.Load()
	talk, ok := parseNeighbour(f)
	if holders == nil || !ok || !talk.sender.IsValid() {
		return false
	}
	mac, known := (*holders)[talk.sender]
	return known && mac != f.Src()
}

// cachedLimit is a limit as the cache keeps it.
type cachedLimit struct {
	Port      string   `json:"port"`
	MACs      []string `json:"macs,omitempty"`
	Storm     int      `json:"storm,omitempty"`
	DropSpoof bool     `json:"drop_spoof,omitempty"`
	Fixed     bool     `json:"fixed,omitempty"`
}

func limitsOut(limits []overlay.PortLimit) []cachedLimit {
	out := []cachedLimit{}
	for _, l := range limits {
		c := cachedLimit{Port: l.Port, Storm: l.Storm, DropSpoof: l.DropSpoof, Fixed: l.Fixed}
		for _, mac := range l.MACs {
			c.MACs = append(c.MACs, mac.String())
		}
		out = append(out, c)
	}
	return out
}

func limitsOf(at overlay.Name, list []cachedLimit) (limits []overlay.PortLimit, err error) {
	for _, c := range list {
		l := overlay.PortLimit{Node: at, Port: c.Port, Storm: c.Storm, DropSpoof: c.DropSpoof, Fixed: c.Fixed}
		for _, text := range c.MACs {
			mac, err := ether.ParseMAC(text)
			if err != nil {
				return nil, err
			}
			l.MACs = append(l.MACs, mac)
		}
		if err := l.Check(); err != nil {
			return nil, err
		}
		limits = append(limits, l)
	}
	return limits, nil
}

// restoreLimits reads the limits that held before the restart.
func (s *state) restoreLimits() {
	var list []cachedLimit
	if !s.load(keyLimits, &list) {
		return
	}
	limits, err := limitsOf(s.n.name, list)
	if err != nil {
		s.n.cfg.Log.Warn("cached limits of ports left out", "error", err)
		return
	}
	s.limit(limits)
}

// limited takes what the Proxy says of the ports.
func (s *state) limited(limits []overlay.PortLimit) {
	s.limit(limits)
	if !s.n.isProxy() { // its record is the cache
		s.save(keyLimits, limitsOut(limits))
	}
}
