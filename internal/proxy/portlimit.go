package proxy

import (
	"context"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/lang"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// SetPortLimit changes what a port lets in. The node is told at once, or when it is there again.
func (p *Proxy) SetPortLimit(ctx context.Context, req *vnetv1.SetPortLimitRequest) (*vnetv1.SetPortLimitResponse, error) {
	name := p.about(req.GetNode())
	out := &vnetv1.SetPortLimitResponse{}
	var refused error
	err := p.ask(ctx, func(h *hub) {
		n, err := at(h.record, name)
		if err != nil {
			refused = err
			return
		}
		if !n.HasPort(req.GetPort()) {
			refused = notFound("cannot limit port %q: %s has %s", req.GetPort(), n.Name, portNames(n))
			return
		}
		limit, err := limitIn(h.live(), h.will.PortLimit(name, req.GetPort()), req)
		if err == nil {
			err = limit.Check()
		}
		if err != nil {
			refused = invalid("%w", err)
			return
		}
		refused = h.setWill(time.Now(), h.will.WithPort(limit), h.named)
		out.Limit = limitOut(h.will.PortLimit(name, req.GetPort()))
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, err
	}
	return out, p.saved(ctx, nil)
}

// limitIn is a limit with what a request changes of it. VMs may be named.
func limitIn(live lang.Live, l overlay.PortLimit, req *vnetv1.SetPortLimitRequest) (overlay.PortLimit, error) {
	if req.Macs != nil {
		l.MACs = nil
		for _, text := range req.GetMacs().GetMacs() {
			mac, err := live.MACOf(text)
			if err != nil {
				return l, err
			}
			l.MACs = append(l.MACs, mac)
		}
	}
	if req.Storm != nil {
		l.Storm = int(req.GetStorm())
	}
	if req.DropSpoof != nil {
		l.DropSpoof = req.GetDropSpoof()
	}
	if req.Fixed != nil {
		l.Fixed = req.GetFixed()
	}
	return l, nil
}

func limitOut(l overlay.PortLimit) *vnetv1.PortLimit {
	out := &vnetv1.PortLimit{Storm: int32(l.Storm), DropSpoof: l.DropSpoof, Fixed: l.Fixed}
	for _, mac := range l.MACs {
		out.Macs = append(out.Macs, mac.String())
	}
	return out
}
