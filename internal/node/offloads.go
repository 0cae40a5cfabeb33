package node

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"connectrpc.com/connect"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
)

// The offloads of a node, by the names that Config.Off and SetOffload know.
const (
	offloadGSO      = "gso"
	offloadGRO      = "gro"
	offloadChecksum = "csum"
	offloadTSO4     = "tso4"
	offloadTSO6     = "tso6"
	offloadUSO      = "uso"
	offloadQueue    = "queue"
	offloadTSO      = "tso" // short for tso4 and tso6
)

// portOffloads are those of ports, underlayOffloads those of the sockets of links.
func portOffloads() []string {
	return []string{offloadChecksum, offloadTSO4, offloadTSO6, offloadUSO, offloadQueue}
}

func underlayOffloads() []string { return []string{offloadGSO, offloadGRO} }

// ParseOffload returns the offloads that a name stands for.
func ParseOffload(name string) ([]string, error) {
	if name == offloadTSO {
		return []string{offloadTSO4, offloadTSO6}, nil
	}
	if all := slices.Concat(underlayOffloads(), portOffloads()); !slices.Contains(all, name) {
		return nil, vnetv1.Errorf(connect.CodeInvalidArgument, "cannot switch offload %q: there are %s and %s", name, strings.Join(all, ", "), offloadTSO)
	}
	return []string{name}, nil
}

// switches are the offloads that the user has switched off. What the kernel lacks or has refused its users know themselves.
type switches struct {
	mu  sync.Mutex // guards off, and that what it says is done in order
	off map[string]bool
}

// SetOffload switches an offload on all sockets or all ports, while frames flow.
func (n *Node) SetOffload(_ context.Context, req *vnetv1.SetOffloadRequest) (*vnetv1.SetOffloadResponse, error) {
	names, err := ParseOffload(req.GetName())
	if err != nil {
		return nil, err
	}
	if err := n.switchOffloads(names, req.GetOn()); err != nil {
		return nil, vnetv1.Errorf(connect.CodeInternal, "%v", err)
	}
	return &vnetv1.SetOffloadResponse{Offloads: n.offloads()}, nil
}

// switchOffloads carries a switch out; the endpoint must be ready.
func (n *Node) switchOffloads(names []string, on bool) error {
	n.offload.mu.Lock()
	defer n.offload.mu.Unlock()
	if n.offload.off == nil {
		n.offload.off = map[string]bool{}
	}
	ports := false
	for _, name := range names {
		n.offload.off[name] = !on
		switch name {
		case offloadGSO:
			n.endpoint.SetGSO(on)
		case offloadGRO:
			n.endpoint.SetGRO(on)
		default:
			ports = true
		}
	}
	if !ports {
		return nil
	}
	return n.setPorts()
}

// setPorts has every port use what is not switched off: without checksums no segmentation, whose pieces have unfinished ones. The bound of a
// queue needs none.
func (n *Node) setPorts() error {
	use := []string{}
	for _, name := range portOffloads() {
		if !n.offload.off[name] && (name == offloadQueue || !n.offload.off[offloadChecksum]) {
			use = append(use, name)
		}
	}
	for _, at := range n.ports {
		if p, ok := at.port.(port.Switcher); ok {
			if err := p.SetOffloads(use); err != nil {
				return err
			}
		}
	}
	n.joinUDP()
	return nil
}

// joinUDP has datagrams joined where some port takes them so.
func (n *Node) joinUDP() {
	n.endpoint.JoinUDP(slices.ContainsFunc(n.ports, func(at *localPort) bool {
		return slices.Contains(at.port.Info().Offloads, offloadUSO)
	}))
}

// startOffloads switches off what the configuration says.
func (n *Node) startOffloads() error {
	n.joinUDP()
	for _, name := range n.cfg.Off {
		names, err := ParseOffload(name)
		if err == nil {
			err = n.switchOffloads(names, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// offloads says what is in use, and why the rest is not.
func (n *Node) offloads() []*vnetv1.Offload {
	select {
	case <-n.endpoint.Ready():
	default:
		return nil // nothing has been probed yet
	}
	out := []*vnetv1.Offload{{Name: offloadGSO}, {Name: offloadGRO}}
	out[0].On, out[0].Why = n.endpoint.GSO()
	out[1].On, out[1].Why = n.endpoint.GRO()
	for _, at := range n.ports {
		info := at.port.Info()
		for _, name := range info.Offloads {
			out = append(out, &vnetv1.Offload{Name: name, Port: at.name, On: true})
		}
		for _, name := range slices.Sorted(maps.Keys(info.Off)) {
			out = append(out, &vnetv1.Offload{Name: name, Port: at.name, Why: info.Off[name]})
		}
	}
	return out
}
