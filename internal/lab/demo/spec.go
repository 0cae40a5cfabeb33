package demo

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

const (
	// wireRate is each host's and the Proxy's line, each way: the paper's cluster had 100 Mbit/s Ethernet (§4.1).
	wireRate = 100_000_000
	// wireQueue is the FIFO in front of each line, in time at its rate.
	wireQueue = 50 * time.Millisecond
	// proxyDelay is one way to the Proxy's network: 5 ms there and back, as across a city. The relay and the
	// kernel add about a fifth of a millisecond each way.
	proxyDelay = 2300 * time.Microsecond
	// exchange is what two neighbours send each other in an iteration, in bytes.
	exchange = 250_000
)

// Config says what to show; the zero value is a ring of four.
type Config struct {
	VMs     int    // 4
	Pattern string // ring
	Seed    uint64 // of the order of the VMs; 0 takes one from the clock
}

func (c Config) cooked() Config {
	if c.VMs == 0 {
		c.VMs = 4
	}
	if c.Pattern == "" {
		c.Pattern = "ring"
	}
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano())
	}
	return c
}

// schedule is what the application will do; it refuses sizes that the pattern does not have.
func (c Config) schedule() (*workload.Schedule, error) {
	return workload.New(c.Pattern, c.VMs, workload.Options{Bytes: exchange})
}

// spec lays out one site of hosts with a VM each, and the Proxy's network across the city.
func (c Config) spec() *lab.Spec {
	s := &lab.Spec{
		Name:    "demo",
		Sites:   []lab.Site{{Name: "cloud"}, {Name: "home"}},
		Hosts:   []lab.Host{{Name: "proxy", Site: "home", Up: wireRate, Down: wireRate, Queue: wireQueue}},
		Paths:   []lab.WAN{{A: "cloud", B: "home", There: wan.Path{Delay: proxyDelay}, Back: wan.Path{Delay: proxyDelay}}},
		Overlay: lab.Overlay{Proxy: "proxy"},
	}
	for i := range c.VMs {
		host := fmt.Sprintf("host%d", i+1)
		s.Hosts = append(s.Hosts, lab.Host{Name: host, Site: "cloud", Up: wireRate, Down: wireRate, Queue: wireQueue})
		s.VMs = append(s.VMs, lab.VM{Name: vmName(i), Host: host, Address: vmAddress(i)})
	}
	return s
}

func vmName(i int) string { return fmt.Sprintf("vm%d", i+1) }

func vmAddress(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 80, byte((i + 1) >> 8), byte(i + 1)}), 16)
}

// ranks deals the application's ranks out to the VMs, so that neighbours in the application are not neighbours by name.
func (c Config) ranks() []int {
	return rand.New(rand.NewPCG(c.Seed, 1)).Perm(c.VMs)
}
