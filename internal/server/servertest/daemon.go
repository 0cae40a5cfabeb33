// Package servertest is a daemon made of memory, for tests of what talks to daemons: the server and the command line.
//
// It forwards no frames. Its overlay is always the same: Proxy "proxy" and hosts "host1" to "host4", seen from host1; only
// links, rules, bound and adaptation change when asked.
package servertest

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/lang"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Daemon implements server.Daemon. New makes one.
type Daemon struct {
	name string

	// Peers are the daemons Forward reaches, by name; set before use.
	Peers map[string]func(ctx context.Context, method string, body []byte) ([]byte, error)

	mu       sync.Mutex // guards the rest
	links    []*api.Link
	rules    []*api.Rule
	lastRule uint64
	bound    *api.Bound
	adapt    *api.Adaptation
	plan     []*api.Way
	live     lang.Live
	off      map[string]bool // offloads
	limit    *api.PortLimit  // of port vm1
}

// Start is when the overlay of the tests came up.
func Start() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// New makes the daemon called name.
func New(name string) *Daemon {
	d := &Daemon{name: name, lastRule: 1, bound: measured(), adapt: adaptation(), live: whole()}
	d.links = []*api.Link{{
		Name: "proxy", Kind: api.LinkKind_LINK_KIND_STAR, Origin: "star", Carrier: api.Carrier_CARRIER_TCP,
		CarrierWhy: "no answer over udp in 3s", State: api.LinkState_LINK_STATE_UP, Remote: "192.0.2.1:7946", RttUs: 5100,
		Since: at(time.Second), MtuBytes: 1432, Cipher: "aes-128-gcm", Epoch: 1, FramesSent: 120, FramesReceived: 118,
		WireLost: 2, Dialled: true, Drops: []*api.Drops{{Reason: "queue full", Frames: 3}},
	}}
	d.rules = []*api.Rule{{Id: 1, Arrival: "any", Src: "any", Dst: "none", Out: "link:proxy", Origin: "star", Rank: 1, Active: true, Hits: proto.Uint64(120)}}
	return d
}

func at(after time.Duration) *timestamppb.Timestamp { return timestamppb.New(Start().Add(after)) }

func measured() *api.Bound {
	return &api.Bound{
		Value: durationpb.New(84 * time.Millisecond), Origin: "measured", Samples: 12, Excluded: 1,
		P50: durationpb.New(20 * time.Millisecond), P95: durationpb.New(42 * time.Millisecond), Measured: at(time.Minute),
	}
}

// Name is the node's name.
func (d *Daemon) Name() string { return d.name }

// Forward reaches the daemons in Peers.
func (d *Daemon) Forward(ctx context.Context, node, method string, body []byte) ([]byte, error) {
	peer, ok := d.Peers[node]
	if !ok {
		return nil, api.Errorf(connect.CodeNotFound, "cannot find node %q", node).WithHint("see: vnet nodes")
	}
	return peer(ctx, method, body)
}

// ListLinks gives what AddLink and DeleteLink left.
func (d *Daemon) ListLinks(context.Context, *api.ListLinksRequest) (*api.ListLinksResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &api.ListLinksResponse{Links: clones(d.links)}, nil
}

// AddLink opens a link to one of the four hosts.
func (d *Daemon) AddLink(_ context.Context, req *api.AddLinkRequest) (*api.AddLinkResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.find(req.GetPeer()) >= 0 {
		return nil, api.Errorf(connect.CodeAlreadyExists, "cannot add link: there is one to %s already", req.GetPeer())
	}
	if !slices.Contains([]string{"host1", "host2", "host3", "host4"}, req.GetPeer()) || req.GetPeer() == d.name {
		return nil, api.Errorf(connect.CodeNotFound, "cannot add link: %s knows no other node %q", d.name, req.GetPeer()).WithHint("see: vnet nodes")
	}
	link := &api.Link{
		Name: req.GetPeer(), Kind: api.LinkKind_LINK_KIND_FAST, Origin: "user", Carrier: api.Carrier_CARRIER_UDP, Dialled: true,
		State: api.LinkState_LINK_STATE_UP, Remote: "192.0.2.12:7946", RttUs: 200, Since: at(time.Minute), MtuBytes: 1432, Cipher: "aes-128-gcm", Epoch: 1,
	}
	if req.GetCarrier() == api.Carrier_CARRIER_TCP {
		link.Carrier, link.CarrierWhy = api.Carrier_CARRIER_TCP, "asked for"
	}
	d.links = append(d.links, link)
	return &api.AddLinkResponse{Link: proto.CloneOf(link)}, nil
}

// DeleteLink closes a link that is not the star link.
func (d *Daemon) DeleteLink(_ context.Context, req *api.DeleteLinkRequest) (*api.DeleteLinkResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, err := d.link("delete", req.GetPeer())
	if err != nil {
		return nil, err
	}
	if d.links[i].GetKind() == api.LinkKind_LINK_KIND_STAR {
		return nil, api.Errorf(connect.CodeFailedPrecondition, "cannot delete link %s: it is the star link, the overlay's way of last resort", req.GetPeer())
	}
	d.links = slices.Delete(d.links, i, i+1)
	return &api.DeleteLinkResponse{}, nil
}

// RekeyLink adds one to the epoch.
func (d *Daemon) RekeyLink(_ context.Context, req *api.RekeyLinkRequest) (*api.RekeyLinkResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, err := d.link("rekey", req.GetPeer())
	if err != nil {
		return nil, err
	}
	d.links[i].Epoch++
	return &api.RekeyLinkResponse{Link: proto.CloneOf(d.links[i])}, nil
}

// SetLinkCarrier changes the carrier at once.
func (d *Daemon) SetLinkCarrier(_ context.Context, req *api.SetLinkCarrierRequest) (*api.SetLinkCarrierResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, err := d.link("move", req.GetPeer())
	if err != nil {
		return nil, err
	}
	d.links[i].Carrier, d.links[i].CarrierWhy = req.GetCarrier(), "asked for"
	return &api.SetLinkCarrierResponse{Link: proto.CloneOf(d.links[i])}, nil
}

// SetLinkCipher changes the cipher at once.
func (d *Daemon) SetLinkCipher(_ context.Context, req *api.SetLinkCipherRequest) (*api.SetLinkCipherResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, err := d.link("change", req.GetPeer())
	if err != nil {
		return nil, err
	}
	d.links[i].Cipher = req.GetCipher()
	if req.GetCipher() == "auto" {
		d.links[i].Cipher = "aes-128-gcm"
	}
	return &api.SetLinkCipherResponse{Link: proto.CloneOf(d.links[i])}, nil
}

// SetLinkPorts has all but the last of the ports carry.
func (d *Daemon) SetLinkPorts(_ context.Context, req *api.SetLinkPortsRequest) (*api.SetLinkPortsResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, err := d.link("change", req.GetPeer())
	if err != nil {
		return nil, err
	}
	d.links[i].ExtraPorts = nil
	for n := range req.GetExtraPorts() {
		one := &api.ExtraPort{Port: 40000 + n, Up: n+1 < req.GetExtraPorts()}
		if !one.Up {
			one.Why = "it is being tried"
		}
		d.links[i].ExtraPorts = append(d.links[i].ExtraPorts, one)
	}
	return &api.SetLinkPortsResponse{Link: proto.CloneOf(d.links[i])}, nil
}

// SetSeal tells nobody.
func (d *Daemon) SetSeal(context.Context, *api.SetSealRequest) (*api.SetSealResponse, error) {
	return &api.SetSealResponse{Told: []string{"host1", "host2"}}, nil
}

func (d *Daemon) find(peer string) int {
	return slices.IndexFunc(d.links, func(l *api.Link) bool { return l.GetName() == peer })
}

func (d *Daemon) link(verb, peer string) (int, error) {
	if i := d.find(peer); i >= 0 {
		return i, nil
	}
	return 0, api.Errorf(connect.CodeNotFound, "cannot %s link: %s has none to %q", verb, d.name, peer).WithHint("see: vnet links")
}

// ListRules gives what AddRule and DeleteRule left.
func (d *Daemon) ListRules(_ context.Context, req *api.ListRulesRequest) (*api.ListRulesResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rules := slices.DeleteFunc(clones(d.rules), func(r *api.Rule) bool { return req.GetOrigin() != "" && r.GetOrigin() != req.GetOrigin() })
	return &api.ListRulesResponse{Rules: rules}, nil
}

// AddRule accepts what internal/overlay can read and whose sides exist.
func (d *Daemon) AddRule(_ context.Context, req *api.AddRuleRequest) (*api.AddRuleResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	in := req.GetRule()
	rule, err := overlay.ParseRule("from " + cmp.Or(in.GetArrival(), "any") + " src " + in.GetSrc() + " dst " + in.GetDst() + " to " + in.GetOut())
	if err != nil {
		return nil, api.Errorf(connect.CodeInvalidArgument, "%v", err)
	}
	for _, side := range []overlay.Side{rule.Arrival, rule.Out} {
		unknownLink := side.Kind == overlay.LinkSide && d.find(side.Name) < 0
		if unknownLink || side.Kind == overlay.PortSide && side.Name != "vm1" {
			return nil, api.Errorf(connect.CodeNotFound, "cannot add rule: %s has no %s", d.name, side).WithHint("see: vnet links, vnet ports")
		}
	}
	rank, err := overlay.Rank(rule.Src, rule.Dst)
	if err != nil {
		return nil, api.Errorf(connect.CodeInvalidArgument, "%v", err)
	}
	d.lastRule++
	out := &api.Rule{
		Id: d.lastRule, Arrival: rule.Arrival.String(), Src: rule.Src.String(), Dst: rule.Dst.String(), Out: rule.Out.String(),
		Origin: "user", Rank: int32(rank), Active: true,
	}
	d.rules = append(d.rules, out)
	return &api.AddRuleResponse{Rule: proto.CloneOf(out)}, nil
}

// DeleteRule deletes by id.
func (d *Daemon) DeleteRule(_ context.Context, req *api.DeleteRuleRequest) (*api.DeleteRuleResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.rules, func(r *api.Rule) bool { return r.GetId() == req.GetId() })
	if i < 0 {
		return nil, api.Errorf(connect.CodeNotFound, "cannot delete rule: %s has none with id %d", d.name, req.GetId()).WithHint("see: vnet rules")
	}
	rule := d.rules[i]
	d.rules = slices.Delete(d.rules, i, i+1)
	return &api.DeleteRuleResponse{Rule: rule}, nil
}

// ApplyChange adds and deletes rules of this node; links it leaves alone.
func (d *Daemon) ApplyChange(ctx context.Context, req *api.ApplyChangeRequest) (*api.ApplyChangeResponse, error) {
	out := &api.ApplyChangeResponse{Took: durationpb.New(time.Millisecond)}
	for _, r := range req.GetDeleteRules() {
		if _, err := d.DeleteRule(ctx, &api.DeleteRuleRequest{Id: r.GetRule().GetId()}); err != nil {
			return nil, err
		}
	}
	for _, r := range req.GetAddRules() {
		added, err := d.AddRule(ctx, &api.AddRuleRequest{Rule: r.GetRule()})
		if err != nil {
			return nil, err
		}
		out.Rules = append(out.Rules, &api.RuleEdit{Node: d.name, Rule: added.GetRule()})
	}
	return out, nil
}

// GetBound gives the bound in force.
func (d *Daemon) GetBound(context.Context, *api.GetBoundRequest) (*api.GetBoundResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &api.GetBoundResponse{Bound: proto.CloneOf(d.bound)}, nil
}

// SetBound overrides the measured bound, or goes back to it.
func (d *Daemon) SetBound(_ context.Context, req *api.SetBoundRequest) (*api.SetBoundResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bound = measured()
	if req.GetValue() != nil {
		d.bound.Value, d.bound.Origin = req.GetValue(), "user"
	}
	return &api.SetBoundResponse{Bound: proto.CloneOf(d.bound)}, nil
}

// clones copies messages, so that what is sent does not change while it is encoded.
func clones[M proto.Message](in []M) []M {
	out := make([]M, len(in))
	for i, m := range in {
		out[i] = proto.CloneOf(m)
	}
	return out
}
