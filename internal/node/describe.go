package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
)

// GetStatus says what a person wants to know first.
func (n *Node) GetStatus(ctx context.Context, _ *vnetv1.GetStatusRequest) (*vnetv1.GetStatusResponse, error) {
	out := &vnetv1.Status{
		Node: string(n.name), Role: vnetv1.Role_ROLE_HOST, Overlay: n.cfg.Identity.Overlay, Version: Version,
		Started: timestamppb.New(n.started), Uptime: durationpb.New(time.Since(n.started)),
		Ports: uint32(len(n.ports)), BootId: strconv.FormatUint(n.cfg.Boot, 10), Drops: drops(n.Totals().Drops),
	}
	if n.isProxy() {
		out.Role = vnetv1.Role_ROLE_PROXY
	}
	ok := n.do(func(s *state) {
		out.Rules = uint32(len(s.rules) + len(s.learnedRules))
		out.Nodes = 1
		for _, one := range s.slots {
			if !one.wanted && len(one.live) == 0 && !n.isProxy() {
				continue
			}
			out.Links++
			if one.kind == link.Star {
				out.Nodes++
			}
			if l := one.current.Load(); l != nil {
				out.LinksUp++
				out.Warnings = append(out.Warnings, shutPorts(one.peer, l)...)
			}
		}
		s.describeStar(out)
		s.seals.describe(out)
		for _, text := range s.warning {
			out.Warnings = append(out.Warnings, text)
		}
		out.Warnings = append(out.Warnings, s.bound.warnings(time.Now())...)
		for _, at := range n.ports {
			if at.guard != nil && at.guard.blocked.Load() {
				out.Warnings = append(out.Warnings, at.blockedText())
			}
			if text := at.deafText(); text != "" {
				out.Warnings = append(out.Warnings, text)
			}
		}
	})
	out.Warnings = append(out.Warnings, n.trustWarnings(n.Wall())...)
	out.Offloads = n.offloads()
	out.TurnedAway = drops(n.endpoint.Refused())
	_, out.Trust = n.trust.List()
	out.CertificateEnds = timestamppb.New(n.Identity().Expires())
	slices.Sort(out.Warnings)
	return &vnetv1.GetStatusResponse{Status: out}, gone(ok)
}

// shutPorts tells which extra ports a link does without.
func shutPorts(peer overlay.Name, l *link.Link) (out []string) {
	for i, p := range l.ExtraPorts() {
		if !p.Up {
			out = append(out, fmt.Sprintf("link to %s does without extra port %d: %s", peer, i+1, p.Why))
		}
	}
	return out
}

// describeStar tells of the link to the Proxy, or of the worst of the Proxy's own.
func (s *state) describeStar(out *vnetv1.Status) {
	for _, one := range s.slots {
		if one.kind != link.Star || s.n.isProxy() && !s.known(one) {
			continue
		}
		l := one.current.Load()
		if l == nil {
			out.Star, out.StarText = vnetv1.LinkState_LINK_STATE_DOWN, "link to "+string(one.peer)+" is down: "+one.lastErr
			if !s.n.isProxy() {
				out.Warnings = append(out.Warnings, out.StarText)
			}
			return
		}
		out.Star = vnetv1.LinkState_LINK_STATE_UP
		out.StarText = l.Carrier().String() + " to " + l.Remote().String() + ", " + l.Stats().RTT.Round(10*time.Microsecond).String()
	}
}

// known tells whether a star slot of the Proxy ever had a session.
func (s *state) known(one *slot) bool { return len(one.live) > 0 || one.lastErr != "" }

// ListPorts lists where this node meets Ethernet.
func (n *Node) ListPorts(context.Context, *vnetv1.ListPortsRequest) (*vnetv1.ListPortsResponse, error) {
	out := &vnetv1.ListPortsResponse{}
	macs := map[string][]string{}
	ok := n.do(func(s *state) {
		for mac, r := range s.local {
			macs[r.at.name] = append(macs[r.at.name], mac.String())
		}
	})
	for _, at := range n.ports {
		info := at.port.Info()
		p := &vnetv1.Port{
			Name: at.name, Kind: info.Kind, Interface: info.Interface, MtuBytes: uint32(info.MTU), Lan: at.lan,
			Queues: uint32(at.port.Queues()), Offloads: info.Offloads, Macs: macs[at.name], State: vnetv1.PortState_PORT_STATE_UP,
		}
		if !info.MAC.IsZero() {
			p.Mac = info.MAC.String()
		}
		p.FramesReceived, p.ReceivedBytes = at.in.frames.Load(), at.in.bytes.Load()
		p.FramesSent, p.SentBytes = at.out.frames.Load(), at.out.bytes.Load()
		p.Drops = drops(info.Drops)
		at.gate.describe(p)
		if at.guard != nil && at.guard.blocked.Load() {
			p.State, p.Why = vnetv1.PortState_PORT_STATE_BLOCKED, at.blockedText()
		}
		slices.Sort(p.Macs)
		out.Ports = append(out.Ports, p)
	}
	return out, gone(ok)
}

// ListInterfaces lists every interface of this machine.
func (n *Node) ListInterfaces(context.Context, *vnetv1.ListInterfacesRequest) (*vnetv1.ListInterfacesResponse, error) {
	var open []port.Port
	for _, at := range n.ports {
		open = append(open, at.port)
	}
	list, err := port.Interfaces(open...)
	if err != nil {
		return nil, err
	}
	out := &vnetv1.ListInterfacesResponse{}
	for _, i := range list {
		one := &vnetv1.Interface{
			Name: i.Name, Mac: i.MAC.String(), MtuBytes: uint32(i.MTU), Kind: i.Kind, Offloads: i.Offloads,
			Use: vnetv1.InterfaceUse_INTERFACE_USE_AVAILABLE, Why: i.Why,
		}
		if name, ok := strings.CutPrefix(i.Use, "port "); ok {
			one.Use, one.Port = vnetv1.InterfaceUse_INTERFACE_USE_PORT, name
		} else if i.Use == port.UseRefused { // what is available may have a remark too
			one.Use = vnetv1.InterfaceUse_INTERFACE_USE_REFUSED
		}
		out.Interfaces = append(out.Interfaces, one)
	}
	return out, nil
}

// ListLinks lists this node's ends of its links.
func (n *Node) ListLinks(context.Context, *vnetv1.ListLinksRequest) (*vnetv1.ListLinksResponse, error) {
	out := &vnetv1.ListLinksResponse{}
	ok := n.do(func(s *state) {
		for _, one := range s.slots {
			if one.wanted || len(one.live) > 0 || one.kind == link.Star && s.known(one) {
				out.Links = append(out.Links, s.describeLink(one))
			}
		}
	})
	return out, gone(ok)
}

func (s *state) describeLink(one *slot) *vnetv1.Link {
	out := &vnetv1.Link{
		Name: string(one.peer), Kind: vnetv1.LinkKind_LINK_KIND_FAST, Origin: one.origin.String(),
		State: vnetv1.LinkState_LINK_STATE_DOWN, Since: timestamppb.New(one.since), WhyDown: one.lastErr,
	}
	if one.kind == link.Star {
		out.Kind, out.Origin = vnetv1.LinkKind_LINK_KIND_STAR, overlay.OriginStar.String()
	}
	l := one.current.Load()
	if l == nil {
		if one.keeper != nil {
			out.State = vnetv1.LinkState_LINK_STATE_CONNECTING
		}
		return out
	}
	st := l.Stats()
	out.State, out.Remote, out.Dialled = vnetv1.LinkState_LINK_STATE_UP, l.Remote().String(), l.Dialled()
	out.Carrier, out.CarrierWhy = carrierOut(l.Carrier()), l.CarrierWhy()
	out.RttUs, out.MtuBytes, out.Epoch = uint64(st.RTT.Microseconds()), uint32(st.MTU), uint32(st.Epoch)
	out.Cipher = l.Cipher()
	for _, p := range l.ExtraPorts() {
		out.ExtraPorts = append(out.ExtraPorts, &vnetv1.ExtraPort{Port: uint32(p.Port), Up: p.Up, Why: p.Why})
	}
	out.FramesSent, out.FramesReceived = st.FramesSent, st.FramesReceived
	out.WireLost, out.Duplicates, out.Drops = st.WireLost, st.Duplicates, drops(linkDrops(st))
	return out
}

func carrierOut(c link.Carrier) vnetv1.Carrier {
	switch c {
	case link.UDP:
		return vnetv1.Carrier_CARRIER_UDP
	case link.TCP:
		return vnetv1.Carrier_CARRIER_TCP
	}
	return vnetv1.Carrier_CARRIER_AUTO
}

// ListRules lists the forwarding table as this node holds it.
func (n *Node) ListRules(_ context.Context, req *vnetv1.ListRulesRequest) (*vnetv1.ListRulesResponse, error) {
	if req.GetOrigin() != "" {
		if _, err := overlay.ParseOrigin(req.GetOrigin()); err != nil {
			return nil, err
		}
	}
	out := &vnetv1.ListRulesResponse{}
	ok := n.do(func(s *state) {
		list := s.sortedRules()
		for _, r := range s.learnedRules {
			list = append(list, r)
		}
		slices.SortFunc(list, func(a, b overlay.Rule) int { return cmp.Compare(a.ID, b.ID) })
		for _, r := range list {
			if o := req.GetOrigin(); o == "" || o == r.Origin.String() {
				out.Rules = append(out.Rules, s.describeRule(r))
			}
		}
	})
	return out, gone(ok)
}

func (s *state) describeRule(r overlay.Rule) *vnetv1.Rule {
	one := RuleOut(r)
	one.Active = true
	if peer := r.Out.Peer(); peer != "" {
		to, ok := s.byPeer[peer]
		one.Active = ok && to.current.Load() != nil
	}
	return one
}

// RuleOut is a rule as clients see it.
func RuleOut(r overlay.Rule) *vnetv1.Rule {
	return &vnetv1.Rule{
		Id: r.ID, Arrival: r.Arrival.String(), Src: r.Src.String(), Dst: r.Dst.String(), Out: r.Out.String(),
		Origin: r.Origin.String(), Rank: int32(r.Rank()), Active: true,
	}
}

func drops(by map[string]uint64) []*vnetv1.Drops {
	var out []*vnetv1.Drops
	for reason, frames := range by {
		if frames > 0 {
			out = append(out, &vnetv1.Drops{Reason: reason, Frames: frames})
		}
	}
	slices.SortFunc(out, func(a, b *vnetv1.Drops) int {
		if a.Frames != b.Frames {
			return cmp.Compare(b.Frames, a.Frames)
		}
		return slices.Compare([]byte(a.Reason), []byte(b.Reason))
	})
	return out
}

// gone is the error of a question that the node did not live to answer.
func gone(ok bool) error {
	if ok {
		return nil
	}
	return errStopping
}

func linkDrops(st link.Stats) map[string]uint64 {
	by := map[string]uint64{}
	for reason, frames := range st.Drops {
		by[reason.String()] = frames
	}
	return by
}
