package proxy

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Forward has another node answer. What changes the overlay is the Proxy's own
// work, whichever node it is about; the rest is asked of the node itself.
func (p *Proxy) Forward(ctx context.Context, to, method string, body []byte) ([]byte, error) {
	switch method {
	case "AddRule":
		return own(ctx, body, p.AddRule)
	case "DeleteRule":
		return own(ctx, body, p.DeleteRule)
	case "AddLink":
		return own(ctx, body, p.AddLink)
	case "DeleteLink":
		return own(ctx, body, p.DeleteLink)
	case "ApplyChange":
		return own(ctx, body, p.ApplyChange)
	case "GetOverlay":
		return own(ctx, body, p.GetOverlay)
	case "ApplyOverlay":
		return own(ctx, body, p.ApplyOverlay)
	case "SetSeal":
		return own(ctx, body, p.SetSeal)
	case "Trace":
		return own(ctx, body, p.Trace)
	case "SetPortLimit":
		return own(ctx, body, p.SetPortLimit)
	case "SetLinkCipher":
		if req := new(vnetv1.SetLinkCipherRequest); proto.Unmarshal(body, req) == nil && !req.GetOneEnd() {
			return own(ctx, body, p.SetLinkCipher)
		}
	case "SetLinkPorts":
		if req := new(vnetv1.SetLinkPortsRequest); proto.Unmarshal(body, req) == nil && !req.GetOneEnd() {
			return own(ctx, body, p.SetLinkPorts)
		}
	}
	known := false
	if err := p.ask(ctx, func(h *hub) { _, known = h.record.Nodes[overlay.Name(to)] }); err != nil {
		return nil, err
	}
	if !known {
		return nil, notFound("cannot find node %q; `vnet nodes` lists them", to)
	}
	a, err := p.node.Call(ctx, overlay.Name(to), method, body)
	if err != nil {
		return nil, unavailable("%w", err)
	}
	if a.Code != "" {
		return nil, vnetv1.ErrorOf(a.Code, a.Error)
	}
	return a.Body, nil
}

// own decodes a request, makes the Proxy's own call and encodes the response.
func own[Q any, P interface {
	*Q
	proto.Message
}, R proto.Message](ctx context.Context, body []byte, call func(context.Context, P) (R, error)) ([]byte, error) {
	req := P(new(Q))
	if err := proto.Unmarshal(body, req); err != nil {
		return nil, invalid("cannot decode the request: %v", err)
	}
	resp, err := call(ctx, req)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(resp)
}

// allowed says whether a host may ask for a method: what its user may do there, not what only the Proxy's own may.
func (p *Proxy) allowed(method string) error {
	if p.cfg.Allowed == nil {
		return nil
	}
	return p.cfg.Allowed(method)
}

// call answers a host's question off the hub: for the Proxy itself, or on
// behalf of another node.
func (h *hub) call(from overlay.Name, c control.Call) {
	p := h.p
	desk := p.desks.at(from)
	busy := !desk.asks.Allow()
	if !busy {
		select {
		case desk.calls <- struct{}{}:
		default:
			busy = true
		}
	}
	if busy {
		h.tell(from, control.Answer{ID: c.ID, Code: connect.CodeResourceExhausted.String(), Error: "too many questions at once; ask again"})
		return
	}
	h.calls.Go(func() {
		defer func() { <-desk.calls }()
		a := control.Answer{ID: c.ID}
		if a, ok := p.personal(from, c); ok {
			if err := p.node.SendTo(from, a); err != nil {
				p.cfg.Log.Debug("answer not sent", "to", from, "error", err)
			}
			return
		}
		if err := p.allowed(c.Method); err != nil {
			e := vnetv1.AsError(err)
			a.Code, a.Error = e.Code.String(), e.Text()
		} else if c.Node == "" || c.Node == p.node.Name() {
			a = p.node.Serve(c)
		} else if body, err := p.Forward(h.ctx, string(c.Node), c.Method, c.Body); err != nil {
			e := vnetv1.AsError(err)
			a.Code, a.Error = e.Code.String(), e.Text()
		} else {
			a.Body = body
		}
		if err := p.node.SendTo(from, a); err != nil {
			p.cfg.Log.Debug("answer not sent", "to", from, "error", err)
		}
	})
}
