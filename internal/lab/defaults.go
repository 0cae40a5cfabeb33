package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

const (
	defaultMTU = 1500 // bytes: Ethernet's
	// defaultQueues gives a VM two TAP queues: the least that exercises the multi-queue path.
	defaultQueues = 2
	maxQueues     = 64 // descriptors that fit one SCM_RIGHTS message (253) several times over
	// defaultQueue is the FIFO in front of a limited host link: what most access routers have, and the demo's.
	defaultQueue = 50 * time.Millisecond
	// firstHost leaves addresses .2 to .9 of a site for what a test brings itself.
	firstHost = 10
)

// Complete fills in every default; what the caller set stays. It is part of [Parse], and is for specs made in Go.
func (s *Spec) Complete() {
	if s.Name == "" {
		s.Name = "lab"
	}
	if s.Overlay.Name == "" {
		s.Overlay.Name = defaultOverlay
	}
	next := map[string]netip.Addr{}
	for i := range s.Sites {
		site := &s.Sites[i]
		if !site.Subnet.IsValid() {
			site.Subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64, byte(i + 1), 0}), 24)
		}
		site.Subnet = site.Subnet.Masked()
		next[site.Name] = nth(site.Subnet, firstHost)
	}
	for i := range s.Hosts {
		s.completeHost(&s.Hosts[i], i, next)
	}
	for i := range s.VMs {
		completeVM(&s.VMs[i], i)
	}
}

// AddressNone, as a host's or VM's address, leaves its interface without one (for DHCP).
func AddressNone() netip.Prefix { return netip.PrefixFrom(netip.IPv4Unspecified(), 0) }

func (s *Spec) completeHost(h *Host, i int, next map[string]netip.Addr) {
	if site, ok := s.Site(h.Site); ok && !h.Address.IsValid() {
		h.Address = netip.PrefixFrom(next[h.Site], site.Subnet.Bits())
		next[h.Site] = next[h.Site].Next()
	}
	if site, ok := s.Site(h.LAN); ok && !h.LANAddr.IsValid() {
		h.LANAddr = AddressNone()
		if h.LAN != h.Site {
			h.LANAddr = netip.PrefixFrom(next[h.LAN], site.Subnet.Bits())
			next[h.LAN] = next[h.LAN].Next()
		}
	}
	if h.MAC.IsZero() {
		h.MAC = localMAC('h', i)
	}
	if h.MTU == 0 {
		h.MTU = defaultMTU
	}
	if h.Queue == 0 {
		h.Queue = defaultQueue
	}
}

func completeVM(vm *VM, i int) {
	if !vm.Address.IsValid() {
		vm.Address = netip.PrefixFrom(nth(netip.MustParsePrefix("10.80.0.0/16"), uint32(i+1)), 16)
	}
	if vm.MAC.IsZero() {
		vm.MAC = localMAC('v', i)
	}
	if vm.MTU == 0 {
		vm.MTU = defaultMTU
	}
	if vm.Queues == 0 {
		vm.Queues = defaultQueues
	}
}

// localMAC is a locally administered address: 02:6c:KIND:00:NN:NN.
func localMAC(kind byte, i int) ether.MAC {
	m := ether.MAC{0x02, 'l', kind, 0, 0, 0}
	binary.BigEndian.PutUint16(m[4:], uint16(i+1))
	return m
}

// nth is address number n of an IPv4 prefix.
func nth(p netip.Prefix, n uint32) netip.Addr {
	b := p.Masked().Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+n)
	return netip.AddrFrom4(b)
}

// router is the address of a site's router: the first of its subnet.
func (s Site) router() netip.Addr { return nth(s.Subnet, 1) }

func (s Site) String() string { return fmt.Sprintf("%s (%s)", s.Name, s.Subnet) }
