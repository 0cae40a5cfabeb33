package proxy

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// GetStatus is the node's status and what the Proxy adds to it.
func (p *Proxy) GetStatus(ctx context.Context, req *vnetv1.GetStatusRequest) (*vnetv1.GetStatusResponse, error) {
	out, err := p.node.GetStatus(ctx, req)
	if err != nil {
		return nil, err
	}
	err = p.ask(ctx, func(h *hub) {
		s := out.Status
		h.describeStar(s)
		s.Adaptation = h.oneLine()
		for _, name := range h.record.Names() {
			if name != h.record.Proxy && !h.linked(name) {
				s.Warnings = append(s.Warnings, fmt.Sprintf("%s is away", name))
			}
		}
		for _, t := range h.places.Troubles(time.Now()) {
			s.Warnings = append(s.Warnings, fmt.Sprintf("%s (%s at %s): %s", t.Place.MAC, t.Place.Port, t.Place.Node, t.Why))
		}
	})
	return out, err
}

// describeStar tells of the hosts that belong to the overlay: one that left or was put out has had a link, too.
func (h *hub) describeStar(s *vnetv1.Status) {
	all, up := 0, 0
	for _, name := range h.record.Names() {
		if name == h.record.Proxy {
			continue
		}
		if all++; h.linked(name) {
			up++
		}
	}
	s.Nodes, s.Links = uint32(len(h.record.Nodes)), uint32(all)
	switch {
	case all == 0:
		s.Star, s.StarText = vnetv1.LinkState_LINK_STATE_UNSPECIFIED, ""
	case up == all:
		s.Star, s.StarText = vnetv1.LinkState_LINK_STATE_UP, "to "+counted(all, "host")
	default:
		s.Star, s.StarText = vnetv1.LinkState_LINK_STATE_DOWN, fmt.Sprintf("to %d of %s", all-up, counted(all, "host"))
	}
}

// linked says whether a host has its star link.
func (h *hub) linked(name overlay.Name) bool {
	at, ok := h.hosts[name]
	return ok && at.session != nil
}

// counted is "1 port" or "2 ports".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// oneLine says what adaptation is about.
func (h *hub) oneLine() string {
	var groups []string
	for _, g := range h.topology.Groups {
		groups = append(groups, fmt.Sprintf("%s of %d VMs", g.Name, len(g.VMs)))
	}
	seen := "no application topology"
	if len(groups) > 0 {
		seen = strings.Join(groups, ", ")
	}
	fast := 0
	for _, l := range h.record.Links {
		if l.Origin == overlay.OriginAdapted {
			fast++
		}
	}
	return fmt.Sprintf("%s: %s, %s", h.settings.Mode, seen, counted(fast, "fast path"))
}

// ListNodes lists the overlay's nodes with the VMs at each.
func (p *Proxy) ListNodes(ctx context.Context, _ *vnetv1.ListNodesRequest) (*vnetv1.ListNodesResponse, error) {
	out := &vnetv1.ListNodesResponse{}
	err := p.ask(ctx, func(h *hub) {
		for _, name := range h.record.Names() {
			out.Nodes = append(out.Nodes, h.describeNode(name))
		}
		out.Unlinkable = h.unlinkable()
	})
	return out, err
}

// unlinkable are the pairs between which no link could be made, in order.
func (h *hub) unlinkable() (list []*vnetv1.Unlinkable) {
	for ends, f := range h.failures {
		if f.why == "" {
			continue
		}
		list = append(list, &vnetv1.Unlinkable{
			A: string(ends.A), B: string(ends.B), Why: f.why, Since: timestamppb.New(f.since), Until: timestamppb.New(f.until),
		})
	}
	slices.SortFunc(list, func(a, b *vnetv1.Unlinkable) int { return strings.Compare(a.A+" "+a.B, b.A+" "+b.B) })
	return list
}

func (h *hub) describeNode(name overlay.Name) *vnetv1.Node {
	n := &vnetv1.Node{Name: string(name), Role: vnetv1.Role_ROLE_HOST, State: vnetv1.NodeState_NODE_STATE_DOWN}
	if at, ok := h.hosts[name]; ok {
		n.Version, n.BootId, n.Since = at.hello.Version, strconv.FormatUint(at.hello.Boot, 10), timestamppb.New(at.since)
		if at.session != nil {
			n.State = vnetv1.NodeState_NODE_STATE_UP
		}
		for _, c := range at.hello.Candidates {
			n.Addresses = append(n.Addresses, c.String())
		}
	}
	if name == h.record.Proxy {
		n.Role, n.State, n.Version = vnetv1.Role_ROLE_PROXY, vnetv1.NodeState_NODE_STATE_UP, node.Version
		n.BootId = strconv.FormatUint(h.p.cfg.Node.Boot, 10)
		for _, c := range h.node.Candidates() {
			n.Addresses = append(n.Addresses, c.String())
		}
	}
	for _, place := range h.places.Snapshot() {
		if place.Node == name {
			n.Vms = append(n.Vms, &vnetv1.VM{
				Mac: place.MAC.String(), Name: h.vmName(place), Node: string(name), Port: place.Port, Declared: place.Declared,
			})
		}
	}
	return n
}

// GetBound tells the configuration-time bound and where it comes from.
func (p *Proxy) GetBound(ctx context.Context, _ *vnetv1.GetBoundRequest) (*vnetv1.GetBoundResponse, error) {
	out := &vnetv1.GetBoundResponse{}
	err := p.ask(ctx, func(h *hub) { out.Bound = h.describeBound() })
	return out, err
}

// SetBound sets the bound, or gives it back to measurement.
func (p *Proxy) SetBound(ctx context.Context, req *vnetv1.SetBoundRequest) (*vnetv1.SetBoundResponse, error) {
	out := &vnetv1.SetBoundResponse{}
	var refused error
	err := p.ask(ctx, func(h *hub) {
		if refused = h.bound.Set(req.GetValue().AsDuration()); refused == nil {
			h.infer.Bound(h.bound.Value().Value)
			h.saveBound()
		}
		out.Bound = h.describeBound()
	})
	if refused != nil {
		return nil, invalid("%w", refused)
	}
	return out, p.saved(ctx, err)
}

func (h *hub) describeBound() *vnetv1.Bound {
	v := h.bound.Value()
	out := &vnetv1.Bound{
		Value: durationpb.New(v.Value), Origin: string(v.Origin), Samples: uint32(v.Samples), Excluded: uint32(v.Failed),
		P95: durationpb.New(v.P95),
	}
	if !h.timed.IsZero() {
		out.Measured = timestamppb.New(h.timed)
	}
	if samples := slices.Sorted(slices.Values(h.bound.Samples())); len(samples) > 0 {
		out.P50 = durationpb.New(samples[len(samples)/2])
	}
	return out
}

// GetApp tells the application topology as inferred now.
func (p *Proxy) GetApp(ctx context.Context, _ *vnetv1.GetAppRequest) (*vnetv1.GetAppResponse, error) {
	out := &vnetv1.GetAppResponse{}
	err := p.ask(ctx, func(h *hub) { out.App = h.describeApp() })
	return out, err
}

func (h *hub) describeApp() *vnetv1.App {
	out := &vnetv1.App{Version: h.topology.Version, Inference: h.describeInference()}
	if !h.topology.Since.IsZero() {
		out.Since = timestamppb.New(h.topology.Since)
	}
	for _, g := range h.topology.Groups {
		out.Groups = append(out.Groups, h.describeGroup(g))
	}
	return out
}

func (h *hub) describeGroup(g vttif.Group) *vnetv1.Group {
	out := &vnetv1.Group{Name: g.Name, Names: g.Names, Confidence: g.Confidence, Active: g.Active, Goal: describeGoal(g.Goal), Since: timestamppb.New(g.Since)}
	for _, mac := range g.VMs {
		out.Vms = append(out.Vms, h.title(mac))
	}
	for _, mac := range g.Order {
		out.Order = append(out.Order, h.title(mac))
	}
	for _, e := range g.Edges {
		out.Edges = append(out.Edges, &vnetv1.Edge{
			A: h.title(e.A), B: h.title(e.B), AMac: e.A.String(), BMac: e.B.String(),
			Weight: e.Weight, RateBps: 8 * e.Rate, Since: timestamppb.New(e.Since), Lan: e.LAN,
		})
	}
	return out
}

func describeGoal(g vttif.Goal) *vnetv1.Goal {
	out := &vnetv1.Goal{
		Confidence: g.Confidence, Trend: g.Trend, DeliveredBps: 8 * g.Delivered,
		RequestsPerSecond: g.Requests, RoundTripUs: uint64(g.RoundTrip.Microseconds()),
	}
	if g.Period > 0 {
		out.Period = durationpb.New(g.Period)
	}
	return out
}

// GetTraffic gives the traffic matrix.
func (p *Proxy) GetTraffic(ctx context.Context, _ *vnetv1.GetTrafficRequest) (*vnetv1.GetTrafficResponse, error) {
	out := &vnetv1.GetTrafficResponse{}
	err := p.ask(ctx, func(h *hub) {
		out.Window = durationpb.New(h.inferring.Cooked().Window)
		other := h.infer.Other()
		out.Other = &vnetv1.TrafficEntry{
			OfferedBytes: other.OfferedBytes, OfferedFrames: other.OfferedFrames,
			DeliveredBytes: other.DeliveredBytes, DeliveredFrames: other.DeliveredFrames,
		}
		for _, e := range h.infer.Matrix(time.Now()) {
			out.Entries = append(out.Entries, &vnetv1.TrafficEntry{
				Src: h.title(e.Src), Dst: h.title(e.Dst), SrcMac: e.Src.String(), DstMac: e.Dst.String(),
				OfferedBytes: e.Total.OfferedBytes, OfferedFrames: e.Total.OfferedFrames,
				DeliveredBytes: e.Total.DeliveredBytes, DeliveredFrames: e.Total.DeliveredFrames,
				OfferedBps: 8 * e.Offered, DeliveredBps: 8 * e.Delivered,
			})
		}
	})
	return out, err
}

// GetCounters gives the conservation of frames: of the Proxy, or with all of every node that answers. Those that do not are named.
func (p *Proxy) GetCounters(ctx context.Context, req *vnetv1.GetCountersRequest) (*vnetv1.GetCountersResponse, error) {
	out, err := p.node.GetCounters(ctx, req)
	if err != nil || !req.GetAll() {
		return out, err
	}
	var hosts []overlay.Name
	if err := p.ask(ctx, func(h *hub) {
		for _, name := range h.record.Names() {
			switch {
			case name == h.record.Proxy:
			case h.present(name):
				hosts = append(hosts, name)
			default:
				out.Silent = append(out.Silent, string(name))
			}
		}
	}); err != nil {
		return nil, err
	}
	answers := make([]*vnetv1.GetCountersResponse, len(hosts))
	asking, stop := context.WithTimeout(ctx, auditTimeout)
	defer stop()
	var all sync.WaitGroup
	for i, name := range hosts {
		all.Go(func() {
			var one vnetv1.GetCountersResponse
			if p.fetch(asking, name, "GetCounters", &vnetv1.GetCountersRequest{}, &one) == nil {
				answers[i] = &one
			}
		})
	}
	all.Wait()
	total := &vnetv1.Counters{}
	sum(total, out.Total)
	for i, one := range answers {
		if one == nil {
			out.Silent = append(out.Silent, string(hosts[i]))
			continue
		}
		out.Nodes = append(out.Nodes, one.Nodes...)
		sum(total, one.Total)
	}
	slices.Sort(out.Silent)
	out.Total = total
	return out, nil
}

func sum(to, from *vnetv1.Counters) {
	to.EdgeIn += from.GetEdgeIn()
	to.Copies += from.GetCopies()
	to.EdgeOut += from.GetEdgeOut()
	to.LinkFramesSent += from.GetLinkFramesSent()
	to.LinkFramesReceived += from.GetLinkFramesReceived()
	to.WireLost += from.GetWireLost()
	to.Duplicates += from.GetDuplicates()
	to.HopLimitHits += from.GetHopLimitHits()
	to.Cuts += from.GetCuts()
	to.Forged += from.GetForged()
	to.Strays += from.GetStrays()
	for _, d := range from.GetDrops() {
		i := slices.IndexFunc(to.Drops, func(t *vnetv1.Drops) bool { return t.Reason == d.Reason })
		if i < 0 {
			to.Drops = append(to.Drops, &vnetv1.Drops{Reason: d.Reason, Frames: d.Frames})
		} else {
			to.Drops[i].Frames += d.Frames
		}
	}
}

// linksOf asks a node for its links.
func (p *Proxy) linksOf(ctx context.Context, name overlay.Name) ([]*vnetv1.Link, error) {
	if name == p.node.Name() {
		out, err := p.node.ListLinks(ctx, &vnetv1.ListLinksRequest{})
		return out.GetLinks(), err
	}
	var out vnetv1.ListLinksResponse
	err := p.fetch(ctx, name, "ListLinks", &vnetv1.ListLinksRequest{}, &out)
	return out.Links, err
}

func ruleIn(r *vnetv1.Rule) (out overlay.Rule, err error) {
	if out.Arrival, err = overlay.ParseSide(cmpOr(r.GetArrival(), "any")); err != nil {
		return out, err
	}
	if out.Src, err = overlay.ParseMatch(r.GetSrc()); err != nil {
		return out, err
	}
	if out.Dst, err = overlay.ParseMatch(r.GetDst()); err != nil {
		return out, err
	}
	if out.Out, err = overlay.ParseSide(r.GetOut()); err != nil {
		return out, err
	}
	out.Origin = overlay.OriginUser
	return out, out.Check()
}

func cmpOr(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func ruleOut(r overlay.Rule) *vnetv1.Rule { return node.RuleOut(r) }

func carrierText(c vnetv1.Carrier) string {
	switch c {
	case vnetv1.Carrier_CARRIER_UDP:
		return "udp"
	case vnetv1.Carrier_CARRIER_TCP:
		return "tcp"
	}
	return ""
}

var _ = control.BoundUser
