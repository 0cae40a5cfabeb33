package node

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Service is a host as the API sees it: what it has it tells itself, what the
// whole overlay is about it asks the Proxy.
type Service struct{ *Node }

// Name is the node's name.
func (s Service) Name() string { return string(s.Node.name) }

// Forward has another node answer, through the Proxy.
func (s Service) Forward(ctx context.Context, to, method string, body []byte) ([]byte, error) {
	return s.Node.Forward(ctx, overlay.Name(to), method, body)
}

// Forward carries a request to another node and its answer back.
func (n *Node) Forward(ctx context.Context, to overlay.Name, method string, body []byte) ([]byte, error) {
	a, err := n.Call(ctx, to, method, body)
	if err != nil {
		return nil, vnetv1.Errorf(connect.CodeUnavailable, "%v", err).WithHint("see: vnet status")
	}
	if a.Code != "" {
		return nil, vnetv1.ErrorOf(a.Code, a.Error)
	}
	return a.Body, nil
}

// relay has the Proxy answer a question about node to.
func relay[R any, P interface {
	*R
	proto.Message
}](ctx context.Context, n *Node, to overlay.Name, method string, req proto.Message) (P, error) {
	body, err := proto.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the question: %w", err)
	}
	answer, err := n.Forward(ctx, to, method, body)
	if err != nil {
		return nil, err
	}
	out := P(new(R))
	if err := proto.Unmarshal(answer, out); err != nil {
		return nil, fmt.Errorf("cannot read the answer: %w", err)
	}
	return out, nil
}

// proxyName is whom a host asks.
func (s Service) proxyName() overlay.Name { return overlay.Name(s.Node.cfg.ProxyName) }

// AddLink asks the Proxy for a link from this node.
func (s Service) AddLink(ctx context.Context, req *vnetv1.AddLinkRequest) (*vnetv1.AddLinkResponse, error) {
	req.Node = s.Name()
	return relay[vnetv1.AddLinkResponse](ctx, s.Node, s.name, "AddLink", req)
}

// DeleteLink asks the Proxy to close a link of this node.
func (s Service) DeleteLink(ctx context.Context, req *vnetv1.DeleteLinkRequest) (*vnetv1.DeleteLinkResponse, error) {
	req.Node = s.Name()
	return relay[vnetv1.DeleteLinkResponse](ctx, s.Node, s.name, "DeleteLink", req)
}

// SetPortLimit asks the Proxy to change what a port of this node lets in.
func (s Service) SetPortLimit(ctx context.Context, req *vnetv1.SetPortLimitRequest) (*vnetv1.SetPortLimitResponse, error) {
	req.Node = s.Name()
	return relay[vnetv1.SetPortLimitResponse](ctx, s.Node, s.name, "SetPortLimit", req)
}

// AddRule asks the Proxy for a rule at this node.
func (s Service) AddRule(ctx context.Context, req *vnetv1.AddRuleRequest) (*vnetv1.AddRuleResponse, error) {
	req.Node = s.Name()
	return relay[vnetv1.AddRuleResponse](ctx, s.Node, s.name, "AddRule", req)
}

// DeleteRule asks the Proxy to remove a rule of this node.
func (s Service) DeleteRule(ctx context.Context, req *vnetv1.DeleteRuleRequest) (*vnetv1.DeleteRuleResponse, error) {
	req.Node = s.Name()
	return relay[vnetv1.DeleteRuleResponse](ctx, s.Node, s.name, "DeleteRule", req)
}

// ApplyChange asks the Proxy to carry out many edits as one change.
func (s Service) ApplyChange(ctx context.Context, req *vnetv1.ApplyChangeRequest) (*vnetv1.ApplyChangeResponse, error) {
	req.Node = ""
	return relay[vnetv1.ApplyChangeResponse](ctx, s.Node, s.proxyName(), "ApplyChange", req)
}

// GetCounters gives this node's counters, or has the Proxy ask all nodes.
func (s Service) GetCounters(ctx context.Context, req *vnetv1.GetCountersRequest) (*vnetv1.GetCountersResponse, error) {
	if !req.GetAll() {
		return s.Node.GetCounters(ctx, req)
	}
	return relay[vnetv1.GetCountersResponse](ctx, s.Node, s.proxyName(), "GetCounters", &vnetv1.GetCountersRequest{All: true})
}

// GetOverlay asks the Proxy for the whole overlay.
func (s Service) GetOverlay(ctx context.Context, req *vnetv1.GetOverlayRequest) (*vnetv1.GetOverlayResponse, error) {
	req.Node = ""
	return relay[vnetv1.GetOverlayResponse](ctx, s.Node, s.proxyName(), "GetOverlay", req)
}

// ApplyOverlay asks the Proxy to make the overlay what a file says.
func (s Service) ApplyOverlay(ctx context.Context, req *vnetv1.ApplyOverlayRequest) (*vnetv1.ApplyOverlayResponse, error) {
	req.Node = ""
	return relay[vnetv1.ApplyOverlayResponse](ctx, s.Node, s.proxyName(), "ApplyOverlay", req)
}

// Trace asks the Proxy for the way of a frame.
func (s Service) Trace(ctx context.Context, req *vnetv1.TraceRequest) (*vnetv1.TraceResponse, error) {
	req.Node = ""
	return relay[vnetv1.TraceResponse](ctx, s.Node, s.proxyName(), "Trace", req)
}

// ListNodes asks the Proxy; without it, the host tells whom it knows.
func (s Service) ListNodes(ctx context.Context, req *vnetv1.ListNodesRequest) (*vnetv1.ListNodesResponse, error) {
	req.Node = ""
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	out, err := relay[vnetv1.ListNodesResponse](ctx, s.Node, s.proxyName(), "ListNodes", req)
	if err == nil {
		return out, nil
	}
	return s.knownNodes(), nil
}

// knownNodes are the nodes in the cached directory, with this node's own word on who is reachable.
func (s Service) knownNodes() *vnetv1.ListNodesResponse {
	out := &vnetv1.ListNodesResponse{}
	s.do(func(st *state) {
		vms := map[overlay.Name][]*vnetv1.VM{st.n.name: nil}
		for _, p := range st.places {
			vms[p.Node] = append(vms[p.Node], &vnetv1.VM{Mac: p.MAC.String(), Node: string(p.Node), Port: p.Port, Declared: p.Declared})
		}
		for _, one := range st.slots {
			vms[one.peer] = append(vms[one.peer], nil...)
		}
		for name, list := range vms {
			n := &vnetv1.Node{Name: string(name), Role: vnetv1.Role_ROLE_HOST, State: vnetv1.NodeState_NODE_STATE_DOWN, Vms: list}
			if name == st.proxy {
				n.Role = vnetv1.Role_ROLE_PROXY
			}
			if one, ok := st.byPeer[name]; name == st.n.name || ok && one.current.Load() != nil {
				n.State = vnetv1.NodeState_NODE_STATE_UP
			}
			out.Nodes = append(out.Nodes, n)
		}
	})
	return out
}

// GetBound asks the Proxy.
func (s Service) GetBound(ctx context.Context, req *vnetv1.GetBoundRequest) (*vnetv1.GetBoundResponse, error) {
	req.Node = ""
	return relay[vnetv1.GetBoundResponse](ctx, s.Node, s.proxyName(), "GetBound", req)
}

// SetBound asks the Proxy.
func (s Service) SetBound(ctx context.Context, req *vnetv1.SetBoundRequest) (*vnetv1.SetBoundResponse, error) {
	req.Node = ""
	return relay[vnetv1.SetBoundResponse](ctx, s.Node, s.proxyName(), "SetBound", req)
}

// CreateToken is refused: only the Proxy's own machine may make tokens.
func (s Service) CreateToken(context.Context, *vnetv1.CreateTokenRequest) (*vnetv1.CreateTokenResponse, error) {
	return nil, vnetv1.Errorf(connect.CodeFailedPrecondition, "cannot make a token here: this is a host").
		WithHint("run `vnet token create` on the Proxy %s", s.proxyName())
}

// GetApp asks the Proxy.
func (s Service) GetApp(ctx context.Context, req *vnetv1.GetAppRequest) (*vnetv1.GetAppResponse, error) {
	req.Node = ""
	return relay[vnetv1.GetAppResponse](ctx, s.Node, s.proxyName(), "GetApp", req)
}

// GetTraffic asks the Proxy.
func (s Service) GetTraffic(ctx context.Context, req *vnetv1.GetTrafficRequest) (*vnetv1.GetTrafficResponse, error) {
	req.Node = ""
	return relay[vnetv1.GetTrafficResponse](ctx, s.Node, s.proxyName(), "GetTraffic", req)
}

// SetInference asks the Proxy.
func (s Service) SetInference(ctx context.Context, req *vnetv1.SetInferenceRequest) (*vnetv1.SetInferenceResponse, error) {
	req.Node = ""
	return relay[vnetv1.SetInferenceResponse](ctx, s.Node, s.proxyName(), "SetInference", req)
}

// RecordTraffic is refused: only the Proxy hears of all traffic.
func (s Service) RecordTraffic(context.Context, *vnetv1.RecordTrafficRequest, func(*vnetv1.RecordTrafficResponse) error) error {
	return vnetv1.Errorf(connect.CodeFailedPrecondition, "cannot record traffic here: this is a host").
		WithHint("run `vnet traffic record` on the Proxy %s", s.proxyName())
}

// RekeyLink gives a link a fresh handshake; whoever dialled it does.
func (n *Node) RekeyLink(ctx context.Context, req *vnetv1.RekeyLinkRequest) (*vnetv1.RekeyLinkResponse, error) {
	peer := overlay.Name(req.GetPeer())
	mine, err := n.order(ctx, peer, order{redial: true})
	if err == nil && !mine {
		_, err = relay[vnetv1.RekeyLinkResponse](ctx, n, peer, "RekeyLink", &vnetv1.RekeyLinkRequest{Node: string(peer), Peer: string(n.name)})
	}
	if err != nil {
		return nil, err
	}
	return &vnetv1.RekeyLinkResponse{Link: n.linkTo(peer)}, nil
}

// SetLinkCarrier moves a link to another carrier; whoever dialled it does.
func (n *Node) SetLinkCarrier(ctx context.Context, req *vnetv1.SetLinkCarrierRequest) (*vnetv1.SetLinkCarrierResponse, error) {
	wish := link.Auto
	switch req.GetCarrier() {
	case vnetv1.Carrier_CARRIER_UDP:
		wish = link.UDP
	case vnetv1.Carrier_CARRIER_TCP:
		wish = link.TCP
	}
	peer := overlay.Name(req.GetPeer())
	mine, err := n.order(ctx, peer, order{carrier: &wish})
	if err == nil && !mine {
		_, err = relay[vnetv1.SetLinkCarrierResponse](ctx, n, peer, "SetLinkCarrier", &vnetv1.SetLinkCarrierRequest{
			Node: string(peer), Peer: string(n.name), Carrier: req.GetCarrier()})
	}
	if err != nil {
		return nil, err
	}
	return &vnetv1.SetLinkCarrierResponse{Link: n.linkTo(peer)}, nil
}

// order has the keeper of a link do something; mine is false when the other end
// dialled it and has to be asked.
func (n *Node) order(ctx context.Context, peer overlay.Name, o order) (mine bool, err error) {
	o.done = make(chan error, 1)
	var keeper *keeper
	known := false
	n.do(func(s *state) {
		one, ok := s.byPeer[peer]
		if !ok || one.current.Load() == nil {
			return
		}
		known = true
		if one.current.Load().Dialled() && one.keeper != nil {
			keeper = one.keeper
		}
	})
	if !known {
		return false, vnetv1.Errorf(connect.CodeNotFound, "cannot change the link to %q: %s has none that is up", peer, n.name).
			WithHint("`vnet links` lists them")
	}
	if keeper == nil {
		return false, nil
	}
	keeper.order(o)
	select {
	case err := <-o.done:
		return true, err
	case <-ctx.Done():
		return true, fmt.Errorf("cannot wait for the link to %q: %w", peer, ctx.Err())
	}
}

func (n *Node) linkTo(peer overlay.Name) (out *vnetv1.Link) {
	n.do(func(s *state) {
		if one, ok := s.byPeer[peer]; ok {
			out = s.describeLink(one)
		}
	})
	return out
}

// WatchEvents sends what happens at this node until ctx ends.
func (n *Node) WatchEvents(ctx context.Context, req *vnetv1.WatchEventsRequest, send func(*vnetv1.WatchEventsResponse) error) error {
	if err := checkKinds(req.GetKinds()); err != nil {
		return err
	}
	_, at, _ := n.events.Since(0)
	at = max(0, at-int(min(req.GetBacklog(), eventsKept)))
	for {
		list, next, more := n.events.Since(at)
		at = next
		for _, ev := range list {
			if wanted(req.GetKinds(), ev.Kind) {
				if err := send(&vnetv1.WatchEventsResponse{Event: eventOut(ev)}); err != nil {
					return err
				}
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil
		case <-n.ctx.Done():
			return nil
		}
	}
}

// Told takes a message of the Proxy that runs on this very node.
func (n *Node) Told(message any) { n.fromProxy(nil, message) }

// Serve answers a call with the daemon's own service.
func (n *Node) Serve(c control.Call) control.Answer {
	if n.cfg.Serve == nil {
		return control.Answer{ID: c.ID, Code: connect.CodeUnimplemented.String(), Error: "cannot answer: this daemon serves no API"}
	}
	a := n.cfg.Serve(n.ctx, c.Method, c.Body)
	a.ID = c.ID
	return a
}

// PortList is the node's ports as the record has them.
func (n *Node) PortList() []overlay.Port {
	var list []overlay.Port
	for _, at := range n.ports {
		list = append(list, overlay.Port{Name: at.name, LAN: at.lan})
	}
	return list
}

// Restore installs rules that the node had before a restart.
func (n *Node) Restore(rules []overlay.Rule) (err error) {
	n.do(func(s *state) { _, err = s.edit(rules, nil) })
	return err
}
