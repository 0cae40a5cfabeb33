package servertest

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

// GetStatus tells of a host with one warning.
func (d *Daemon) GetStatus(context.Context, *api.GetStatusRequest) (*api.GetStatusResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &api.GetStatusResponse{Status: &api.Status{
		Node: d.name, Role: api.Role_ROLE_HOST, Overlay: "vnet", Version: "0.1.0", BootId: "b1", Started: at(0), Uptime: durationpb.New(90 * time.Second),
		Star: api.LinkState_LINK_STATE_UP, StarText: "tcp to 192.0.2.1:7946, 5.1 ms", Ports: 2, Links: uint32(len(d.links)), LinksUp: uint32(len(d.links)),
		Rules: uint32(len(d.rules)), Nodes: 5, Drops: []*api.Drops{{Reason: "queue full", Frames: 3}},
		Offloads: d.offloads(),
		Warnings: []string{"port lan0 is blocked: it hears port lan0 of host2"},
	}}, nil
}

// ListNodes tells of the Proxy and four hosts, of which one is down.
func (d *Daemon) ListNodes(context.Context, *api.ListNodesRequest) (*api.ListNodesResponse, error) {
	nodes := []*api.Node{{Name: "proxy", Role: api.Role_ROLE_PROXY, Version: "0.1.0", BootId: "b0", State: api.NodeState_NODE_STATE_UP, Addresses: []string{"192.0.2.1:7946"}, Since: at(0)}}
	for i, name := range []string{"host1", "host2", "host3", "host4"} {
		n := string(rune('1' + i))
		node := &api.Node{
			Name: name, Role: api.Role_ROLE_HOST, Version: "0.1.0", BootId: "b" + n, State: api.NodeState_NODE_STATE_UP, Addresses: []string{"192.0.2.1" + n + ":7946"}, Since: at(time.Second),
			Vms: []*api.VM{{Mac: "02:00:00:00:00:0" + n, Name: "vm" + n, Node: name, Port: "vm" + n, Declared: i == 0, Seen: at(time.Minute)}},
		}
		if name == "host4" {
			node.State = api.NodeState_NODE_STATE_DOWN
		}
		nodes = append(nodes, node)
	}
	return &api.ListNodesResponse{Nodes: nodes}, nil
}

// ListPorts tells of a TAP and a blocked LAN port.
func (d *Daemon) ListPorts(context.Context, *api.ListPortsRequest) (*api.ListPortsResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &api.ListPortsResponse{Ports: []*api.Port{
		{
			Name: "vm1", Kind: "tap", Interface: "vnet-vm1", Mac: "02:00:00:00:01:01", MtuBytes: 1500, Queues: 2, Offloads: []string{"csum", "tso4", "uso"},
			Macs: []string{"02:00:00:00:00:01"}, State: api.PortState_PORT_STATE_UP, FramesReceived: 120, FramesSent: 118, ReceivedBytes: 84000, SentBytes: 83000,
			Limit: proto.CloneOf(d.limit),
		},
		{
			Name: "lan0", Kind: "lan", Interface: "eth0", Mac: "02:00:00:00:02:01", MtuBytes: 1500, Lan: true, Queues: 1,
			State: api.PortState_PORT_STATE_BLOCKED, Why: "it hears port lan0 of host2", Drops: []*api.Drops{{Reason: "blocked", Frames: 7}},
		},
	}}, nil
}

// ListInterfaces tells of one interface of each use.
func (d *Daemon) ListInterfaces(context.Context, *api.ListInterfacesRequest) (*api.ListInterfacesResponse, error) {
	return &api.ListInterfacesResponse{Interfaces: []*api.Interface{
		{Name: "eth0", Mac: "02:00:00:00:02:01", MtuBytes: 1500, Kind: "device", Offloads: []string{"csum", "tso4"}, Use: api.InterfaceUse_INTERFACE_USE_PORT, Port: "lan0"},
		{Name: "eth1", Mac: "02:00:00:00:02:02", MtuBytes: 9000, Kind: "device", Use: api.InterfaceUse_INTERFACE_USE_AVAILABLE},
		{Name: "wg0", MtuBytes: 1420, Kind: "wireguard", Use: api.InterfaceUse_INTERFACE_USE_REFUSED, Why: "it is a tunnel: it carries no Ethernet"},
	}}, nil
}

// CreateToken refuses: this is a host.
func (d *Daemon) CreateToken(_ context.Context, req *api.CreateTokenRequest) (*api.CreateTokenResponse, error) {
	if d.name != "proxy" {
		return nil, api.Errorf(connect.CodeFailedPrecondition, "cannot make a token at %s: it is a host", d.name).WithHint("ask the Proxy: vnet token create --node proxy")
	}
	ttl := time.Hour
	if req.GetTtl() != nil {
		ttl = req.GetTtl().AsDuration()
	}
	return &api.CreateTokenResponse{Token: "vnet1.made-up", Expires: at(ttl)}, nil
}

// GetApp tells of a ring of four at work, and of two that have fallen silent.
func (d *Daemon) GetApp(context.Context, *api.GetAppRequest) (*api.GetAppResponse, error) {
	group := &api.Group{Name: "ring", Names: []string{"ring", "hypercube"}, Confidence: 0.97, Order: []string{"vm1", "vm3", "vm2", "vm4"}, Active: true, Since: at(2 * time.Second),
		Goal: &api.Goal{Period: durationpb.New(161 * time.Millisecond), Confidence: 0.72, Trend: -0.021, DeliveredBps: 157e6}}
	for i, a := range group.Order {
		b := group.Order[(i+1)%4]
		group.Edges = append(group.Edges, &api.Edge{
			A: a, B: b, AMac: "02:00:00:00:00:0" + a[2:], BMac: "02:00:00:00:00:0" + b[2:], Weight: 1 - float64(i)/8, RateBps: 40e6, Since: at(2 * time.Second),
		})
	}
	silent := &api.Group{Name: "pair", Names: []string{"pair"}, Confidence: 1, Order: []string{"vm5", "vm6"}, Since: at(time.Second),
		Edges: []*api.Edge{{A: "vm5", B: "vm6", AMac: "02:00:00:00:00:05", BMac: "02:00:00:00:00:06", Weight: 1, RateBps: 2e6, Since: at(time.Second)}},
		Goal:  &api.Goal{Period: durationpb.New(90 * time.Millisecond), Confidence: 0.31, RequestsPerSecond: 120, RoundTripUs: 2150}}
	return &api.GetAppResponse{App: &api.App{Version: 3, Since: at(2 * time.Second), Groups: []*api.Group{group, silent}}}, nil
}

// GetTraffic tells of one pair, one way of which loses frames.
func (d *Daemon) GetTraffic(context.Context, *api.GetTrafficRequest) (*api.GetTrafficResponse, error) {
	return &api.GetTrafficResponse{Window: durationpb.New(time.Second), Entries: []*api.TrafficEntry{
		{Src: "vm1", Dst: "vm3", SrcMac: "02:00:00:00:00:01", DstMac: "02:00:00:00:00:03", OfferedBytes: 250000, OfferedFrames: 170, DeliveredBytes: 250000, DeliveredFrames: 170, OfferedBps: 2e6, DeliveredBps: 2e6},
		{Src: "vm3", Dst: "vm1", SrcMac: "02:00:00:00:00:03", DstMac: "02:00:00:00:00:01", OfferedBytes: 250000, OfferedFrames: 170, DeliveredBytes: 247000, DeliveredFrames: 168, OfferedBps: 2e6, DeliveredBps: 1.976e6},
	}}, nil
}

// SetInference gives back what it was told.
func (d *Daemon) SetInference(_ context.Context, req *api.SetInferenceRequest) (*api.SetInferenceResponse, error) {
	return &api.SetInferenceResponse{Inference: req.GetInference()}, nil
}

// RecordTraffic sends the lines of an empty recording.
func (d *Daemon) RecordTraffic(_ context.Context, _ *api.RecordTrafficRequest, send func(*api.RecordTrafficResponse) error) error {
	return send(&api.RecordTrafficResponse{Line: []byte(`{"start":{"format":1}}`)})
}

// GetCounters tells of 170 frames in, 3 dropped, 2 lost on the wire; of all nodes, host4 does not answer.
func (d *Daemon) GetCounters(_ context.Context, req *api.GetCountersRequest) (*api.GetCountersResponse, error) {
	c := func() *api.Counters {
		return &api.Counters{
			EdgeIn: 170, Copies: 10, EdgeOut: 175, Drops: []*api.Drops{{Reason: "queue full", Frames: 3}},
			LinkFramesSent: 120, LinkFramesReceived: 118, WireLost: 2,
		}
	}
	out := &api.GetCountersResponse{Nodes: []*api.NodeCounters{{Node: d.name, BootId: "b1", Counters: c()}}, Total: c()}
	if req.GetAll() {
		out.Silent = []string{"host4"}
	}
	return out, nil
}

// WatchEvents sends two events and, unless a backlog was all that was asked for, waits for the client to leave.
func (d *Daemon) WatchEvents(ctx context.Context, req *api.WatchEventsRequest, send func(*api.WatchEventsResponse) error) error {
	for _, event := range []*api.Event{
		{Time: at(time.Second), Node: d.name, Kind: "link.up", Text: "link to proxy is up over tcp", Fields: map[string]string{"peer": "proxy", "carrier": "tcp"}},
		{Time: at(2 * time.Second), Node: d.name, Kind: "rule.added", Text: "rule 2 added", Fields: map[string]string{"rule": "2"}},
	} {
		if err := send(&api.WatchEventsResponse{Event: event}); err != nil {
			return err
		}
	}
	if req.GetBacklog() == 0 {
		<-ctx.Done()
	}
	return nil
}

// offloads is one that is on, one that the kernel lacks, and those of SetOffload; the lock is held.
func (d *Daemon) offloads() []*api.Offload {
	all := []*api.Offload{
		{Name: "gso"}, {Name: "gro"}, {Name: "csum", Port: "vm1"}, {Name: "tso4", Port: "vm1"}, {Name: "tso6", Port: "vm1"},
		{Name: "uso", Port: "vm1", Why: "not by this kernel: TUNSETOFFLOAD: invalid argument"},
	}
	for _, o := range all {
		if o.Why == "" {
			o.On = !d.off[o.Name]
		}
		if d.off[o.Name] {
			o.Why = "switched off"
		}
	}
	return all
}

// SetOffload remembers the switch.
func (d *Daemon) SetOffload(_ context.Context, req *api.SetOffloadRequest) (*api.SetOffloadResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off == nil {
		d.off = map[string]bool{}
	}
	for _, name := range map[string][]string{"tso": {"tso4", "tso6"}}[req.GetName()] {
		d.off[name] = !req.GetOn()
	}
	d.off[req.GetName()] = !req.GetOn()
	return &api.SetOffloadResponse{Offloads: d.offloads()}, nil
}

// SetPortLimit gives back what was asked for.
func (d *Daemon) SetPortLimit(_ context.Context, req *api.SetPortLimitRequest) (*api.SetPortLimitResponse, error) {
	if req.GetPort() != "vm1" {
		return nil, api.Errorf(connect.CodeNotFound, "cannot limit port %q: %s has ports vm1, lan0", req.GetPort(), d.name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.limit == nil {
		d.limit = &api.PortLimit{}
	}
	if req.Macs != nil {
		d.limit.Macs = req.GetMacs().GetMacs()
	}
	if req.Storm != nil {
		d.limit.Storm = req.GetStorm()
	}
	if req.DropSpoof != nil {
		d.limit.DropSpoof = req.GetDropSpoof()
	}
	if req.Fixed != nil {
		d.limit.Fixed = req.GetFixed()
	}
	return &api.SetPortLimitResponse{Limit: proto.CloneOf(d.limit)}, nil
}
