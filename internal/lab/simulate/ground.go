package simulate

import (
	"fmt"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

const (
	// siteDelay is one way between two machines of a site: a switch and two kernels.
	siteDelay = 100 * time.Microsecond
	// stackDelay is what two kernels and a router add to a path between sites, as in the lab.
	stackDelay = 200 * time.Microsecond
	// hostDelay is between two VMs of one host.
	hostDelay = 30 * time.Microsecond
	// framing is the share of a wire that application content gets: a full segment of 1,448 bytes crosses it as a frame of
	// 1,514 that is cut into two datagrams, each with 14 of Ethernet, 28 of IP and UDP, and 40 of our header, seal and record.
	framing = 1448.0 / (1514 + 2*(14+28+40))
	// wire is how many bytes of Ethernet a VM's port sees for each byte of content.
	wire = 1514.0 / 1448
)

// ground is the underlay of a lab file: wires and how long they are.
type ground struct {
	spec     *lab.Spec
	up, down map[string]*pipe    // of hosts; nil where they are not limited
	between  map[[2]string]*pipe // of sites, by direction
	paths    map[[2]string]wan.Path
	pipes    []*pipe
}

func newGround(spec *lab.Spec) *ground {
	g := &ground{spec: spec, up: map[string]*pipe{}, down: map[string]*pipe{}, between: map[[2]string]*pipe{}, paths: map[[2]string]wan.Path{}}
	for _, h := range spec.Hosts {
		g.up[h.Name] = g.pipe("out of "+h.Name, h.Up, h.Queue)
		g.down[h.Name] = g.pipe("into "+h.Name, h.Down, h.Queue)
	}
	for _, p := range spec.Paths {
		for ends, path := range map[[2]string]wan.Path{{p.A, p.B}: p.There, {p.B, p.A}: p.Back} {
			g.paths[ends] = path
			g.between[ends] = g.pipe(fmt.Sprintf("from %s to %s", ends[0], ends[1]), path.Rate, path.Depth())
		}
	}
	return g
}

func (g *ground) pipe(name string, rate int64, queue time.Duration) *pipe {
	if rate == 0 {
		return nil
	}
	p := &pipe{name: name, rate: float64(rate) / 8 * framing, queue: queue}
	g.pipes = append(g.pipes, p)
	return p
}

// hop is what frames cross between two hosts, and how long it takes without queues. It is false where no path leads.
func (g *ground) hop(from, to string) (pipes []*pipe, delay time.Duration, ok bool) {
	a, _ := g.spec.Host(from)
	b, _ := g.spec.Host(to)
	ends := [2]string{a.Site, b.Site}
	delay = siteDelay
	if a.Site != b.Site {
		path, known := g.paths[ends]
		if !known {
			return nil, 0, false
		}
		delay = path.Delay + stackDelay
	}
	for _, p := range []*pipe{g.up[from], g.between[ends], g.down[to]} {
		if p != nil {
			pipes = append(pipes, p)
		}
	}
	return pipes, delay, true
}
