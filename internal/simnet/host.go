package simnet

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// ephemeral is the first port given to sockets that do not ask for one, as Linux does.
const ephemeral = 32768

// Host is one machine with one address. The network's lock guards it.
type Host struct {
	net  *Net
	addr netip.Addr
	next uint16 // ephemeral port to try first
	udp  map[uint16]*portGroup
	tcp  map[uint16]*listener
}

func newHost(n *Net, addr netip.Addr) *Host {
	return &Host{net: n, addr: addr, next: ephemeral, udp: map[uint16]*portGroup{}, tcp: map[uint16]*listener{}}
}

// Addr is the host's address.
func (h *Host) Addr() netip.Addr { return h.addr }

// Crash is a loss of power: every socket of the host fails and nobody is told. Who sends to it finds no
// socket, and who has a TCP connection is reset when it next sends. The host may open new sockets at once;
// a host that stays dead is cut off as well.
func (h *Host) Crash() {
	h.net.mu.Lock()
	defer h.net.unlock()
	for _, group := range h.udp {
		for _, s := range group.sockets {
			s.shut()
		}
	}
	for _, l := range h.tcp {
		l.shut()
	}
	clear(h.udp)
	clear(h.tcp)
	for c := range h.net.conns {
		if c.local.Addr() == h.addr {
			c.vanish()
		}
	}
}

// bind resolves an address to listen on: any address means the host's, port 0 a free one.
func (h *Host) bind(at netip.AddrPort, taken func(uint16) bool) (netip.AddrPort, error) {
	if a := at.Addr(); a.IsValid() && !a.IsUnspecified() && a != h.addr {
		return at, fmt.Errorf("cannot listen on %s: the host's address is %s: %w", at, h.addr, syscall.EADDRNOTAVAIL)
	}
	port := at.Port()
	if port == 0 {
		for port = h.port(); taken(port); port = h.port() {
		}
	} else if taken(port) {
		return at, fmt.Errorf("cannot listen on %s: %w", at, syscall.EADDRINUSE)
	}
	return netip.AddrPortFrom(h.addr, port), nil
}

// port returns the next ephemeral port.
func (h *Host) port() uint16 {
	p := h.next
	h.next = max(h.next+1, ephemeral) // 65535 + 1 is 0
	return p
}

// headers is the length of the IP header plus that of the transport.
func headers(addr netip.Addr, transport int) int {
	const v4, v6 = 20, 40 // bytes, without options
	if addr.Is4() || addr.Is4In6() {
		return v4 + transport
	}
	return v6 + transport
}

// failed wraps an error as the net package does.
func failed(op, network string, local, remote net.Addr, err error) error {
	return &net.OpError{Op: op, Net: network, Source: local, Addr: remote, Err: err}
}
