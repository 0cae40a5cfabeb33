package proxy

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// probeTime is how long the reports of a probe are awaited: each node on its way needs a link's delay, and its report a
// round trip at most.
const probeTime = 3 * time.Second

// journey is what is needed to follow a frame.
type journey struct {
	src, dst ether.MAC
	from     overlay.Name
	port     string
	hosts    []overlay.Name // to ask
	record   *overlay.Overlay
	id       uint64 // of the probe
	frame    ether.Frame
	reports  chan node.Event
}

// Trace tells the way of a frame.
func (p *Proxy) Trace(ctx context.Context, req *vnetv1.TraceRequest) (*vnetv1.TraceResponse, error) {
	if req.GetEthertype() > 0xffff {
		return nil, invalid("cannot trace EtherType %#x: it has 16 bits", req.GetEthertype())
	}
	var j journey
	var refused error
	if err := p.ask(ctx, func(h *hub) { j, refused = h.journey(req) }); err != nil {
		return nil, err
	}
	if refused != nil {
		return nil, refused
	}
	out := &vnetv1.TraceResponse{SrcMac: j.src.String(), DstMac: j.dst.String()}
	held := p.holdings(ctx, j.hosts)
	o, c := j.overlay(held)
	if !req.GetLive() {
		j.computed(out, o, c)
	} else if err := p.live(ctx, &j, out); err != nil {
		return nil, err
	}
	for _, hop := range out.Hops {
		hop.Carrier = carrierAt(held, hop)
	}
	return out, nil
}

// journey resolves who is meant.
func (h *hub) journey(req *vnetv1.TraceRequest) (j journey, err error) {
	live := h.live()
	if j.src, err = live.MACOf(req.GetSrc()); err != nil {
		return j, notFound("%w", err)
	}
	if j.dst, err = live.MACOf(req.GetDst()); err != nil {
		return j, notFound("%w", err)
	}
	place, ok := h.places.Place(j.src)
	if !ok || j.src.IsGroup() {
		return j, precondition("cannot trace from %s: nobody knows where it is; it has to send a frame first", j.src)
	}
	j.from, j.port, j.record = place.Node, place.Port, h.record.Clone()
	for name := range h.record.Nodes {
		if name != h.record.Proxy && h.present(name) {
			j.hosts = append(j.hosts, name)
		}
	}
	if req.GetLive() {
		h.lastTrace++
		j.id, j.reports = h.lastTrace, make(chan node.Event, 64)
		j.frame = node.TraceProbe(h.key, j.id, j.src, j.dst)
		h.traces[j.id] = j.reports
	}
	return j, nil
}

// overlay is what the nodes hold, and which of their links are down. What they learned by themselves is added as they do it:
// each VM behind its port, elsewhere behind the star.
func (j *journey) overlay(held map[overlay.Name]control.Hello) (*overlay.Overlay, overlay.Condition) {
	o := holding(j.record, held)
	var c overlay.Condition
	for name := range o.Nodes {
		if _, heard := held[name]; !heard {
			c.DownLinks = append(c.DownLinks, overlay.MakeLink(name, o.Proxy, 0))
		}
	}
	for name, hello := range held {
		for _, l := range hello.Links {
			if !l.Up {
				c.DownLinks = append(c.DownLinks, overlay.MakeLink(name, l.Peer, 0))
			}
		}
	}
	next := o.NextID()
	for _, mac := range slices.SortedFunc(keys(o.VMs), ether.MAC.Compare) {
		vm := o.VMs[mac]
		learn := func(at overlay.Name, out overlay.Side) {
			if n := o.Nodes[at]; n != nil {
				n.Rules = append(n.Rules, overlay.Rule{ID: next, Src: overlay.Match{Kind: overlay.Any}, Dst: overlay.ExactMAC(mac), Out: out, Origin: overlay.OriginLearned})
				next++
			}
		}
		for _, name := range o.Names() {
			switch name {
			case vm.Node:
				learn(name, overlay.AtPort(vm.Port))
			case o.Proxy:
				learn(name, overlay.AtLink(vm.Node))
			default:
				learn(name, overlay.AtLink(o.Proxy))
			}
		}
	}
	return o, c
}

func keys[V any](m map[ether.MAC]V) func(func(ether.MAC) bool) {
	return func(yield func(ether.MAC) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// computed follows the frame on paper.
func (j *journey) computed(out *vnetv1.TraceResponse, o *overlay.Overlay, c overlay.Condition) {
	path := o.TraceIn(j.from, overlay.AtPort(j.port), j.src, j.dst, c)
	for _, h := range path.Hops {
		one := &vnetv1.TraceHop{Node: string(h.Node), Arrival: h.Arrival.String(), Reason: h.Reason.String()}
		if h.Out.Kind != overlay.AnySide {
			one.Out = []string{h.Out.String()}
		}
		if h.Rule.ID != 0 {
			one.Rule, one.Rank, one.Origin = h.Rule.String(), int32(h.Rank), h.Rule.Origin.String()
			if h.Rule.Origin != overlay.OriginLearned {
				one.RuleId = h.Rule.ID
			}
		}
		out.Hops = append(out.Hops, one)
	}
	out.End = path.End.String()
	out.Text = j.sentence(out)
}

// sentence says how it ends.
func (j *journey) sentence(out *vnetv1.TraceResponse) string {
	if len(out.Hops) == 0 {
		return "lost: not even the node of its sender has seen it"
	}
	last := out.Hops[len(out.Hops)-1]
	switch out.End {
	case overlay.Delivered.String():
		hops := "1 hop"
		if n := len(out.Hops) - 1; n != 1 {
			hops = fmt.Sprintf("%d hops", n)
		}
		return fmt.Sprintf("delivered at %s of %s after %s", strings.Join(last.Out, " "), last.Node, hops)
	case overlay.Loop.String():
		return fmt.Sprintf("a loop: the frame comes to %s by %s again", last.Node, last.Arrival)
	case overlay.Flooded.String():
		if j.dst.IsGroup() {
			return fmt.Sprintf("flooded from %s: %s is a group, whose frames go to everybody", out.Hops[0].Node, j.dst)
		}
		return fmt.Sprintf("flooded from %s: nobody knows where %s is", out.Hops[0].Node, j.dst)
	case overlay.Dropped.String():
		return fmt.Sprintf("a dead end: dropped at %s (%s)", last.Node, last.Reason)
	}
	return fmt.Sprintf("lost behind %s: nobody further on has seen it within %v", last.Node, probeTime)
}

// live sends the probe and puts the nodes' reports in order.
func (p *Proxy) live(ctx context.Context, j *journey, out *vnetv1.TraceResponse) error {
	defer p.mail.leave(func(h *hub) { delete(h.traces, j.id) })
	if err := p.node.SendProbe(ctx, j.from, node.Probe{Port: j.port, Frame: j.frame}); err != nil {
		return unavailable("%w", err)
	}
	timeout := time.NewTimer(probeTime)
	defer timeout.Stop()
	seen := map[string][]*vnetv1.TraceHop{} // by node and arrival
	for !j.order(out, seen) {
		select {
		case ev := <-j.reports:
			hop := hopOf(ev)
			key := hop.Node + " " + hop.Arrival
			seen[key] = append(seen[key], hop)
		case <-timeout.C:
			out.End = "lost"
			out.Text = j.sentence(out)
			return nil
		case <-ctx.Done():
			return fmt.Errorf("cannot wait for the probe: %w", ctx.Err())
		}
	}
	out.Text = j.sentence(out)
	return nil
}

func hopOf(ev node.Event) *vnetv1.TraceHop {
	f := ev.Fields
	hop := &vnetv1.TraceHop{Node: ev.Node, Arrival: f["arrival"], Rule: f["rule"], Origin: f["origin"], Reason: f["reason"], Out: strings.Fields(f["outs"])}
	rank, err := strconv.Atoi(f["rank"])
	if err == nil && hop.Rule != "" {
		hop.Rank = int32(rank)
	}
	if id, err := strconv.ParseUint(f["id"], 10, 64); err == nil && hop.Origin != overlay.OriginLearned.String() {
		hop.RuleId = id
	}
	return hop
}

// order follows the reports from the sender on. It is true when none is missing: then the end is known.
func (j *journey) order(out *vnetv1.TraceResponse, seen map[string][]*vnetv1.TraceHop) (complete bool) {
	out.Hops, out.End = nil, overlay.Dropped.String()
	type step struct{ node, arrival string }
	next := []step{{string(j.from), overlay.AtPort(j.port).String()}}
	visited := map[step]bool{}
	vm := j.record.VMs[j.dst]
	goal := overlay.AtPort(vm.Port).String()
	for len(next) > 0 {
		at := next[0]
		next = next[1:]
		hops := seen[at.node+" "+at.arrival]
		if len(hops) == 0 {
			return false
		}
		hop := hops[0]
		out.Hops = append(out.Hops, hop)
		if len(hops) > 1 || visited[at] {
			out.End = overlay.Loop.String()
			return true
		}
		visited[at] = true
		for _, side := range hop.Out {
			if peer, ok := strings.CutPrefix(side, "link:"); ok {
				next = append(next, step{peer, "link:" + at.node})
			} else if hop.Reason == overlay.RuleMatched.String() || overlay.Name(at.node) == vm.Node && side == goal {
				out.End = overlay.Delivered.String()
			}
		}
		if len(hop.Out) > 0 && hop.Reason != overlay.RuleMatched.String() && out.End == overlay.Dropped.String() {
			out.End = overlay.Flooded.String()
		}
	}
	return true
}

// carrierAt is what carries the link that a hop leaves by.
func carrierAt(held map[overlay.Name]control.Hello, hop *vnetv1.TraceHop) string {
	if len(hop.Out) != 1 {
		return ""
	}
	peer, ok := strings.CutPrefix(hop.Out[0], "link:")
	if !ok {
		return ""
	}
	for name, hello := range held {
		for _, l := range hello.Links {
			if string(name) == hop.Node && string(l.Peer) == peer || string(name) == peer && string(l.Peer) == hop.Node {
				return l.Carrier
			}
		}
	}
	return ""
}

// tracedAt passes a report on to who waits for it.
func (h *hub) tracedAt(ev node.Event) {
	id, err := strconv.ParseUint(ev.Fields["trace"], 10, 64)
	if err != nil {
		return
	}
	select {
	case h.traces[id] <- ev: // of a trace that is over there is no channel
	default:
	}
}
